"""Clicks on phone numbers: who may, how often, and that one click is one call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

import pytest

from tests.support.crm import HandClock
from vochi_agent.change_ports import Click
from vochi_agent.clicks import FRESH_S, LATE_S, MINUTE_S, MOST_A_MINUTE, MOST_WAITING, REPETITION_S, Clicks
from vochi_agent.errors import NotPermitted, NotPossible, NotReachable, TooOften
from vochi_agent.metrics import Metrics
from vochi_agent.registered_calls import RegisteredCalls

CLICK = Click(phone="80290000022", user="7")


class Desk:
    """One CRM's clicks, a clock moved by hand and a PBX that notes what it should call."""

    def __init__(
        self,
        agents: Mapping[str, str] | None = None,
        failure: Exception | None = None,
        portal: "Portal | None" = None,
    ) -> None:
        self.clock, self.metrics, self.placed = HandClock(), Metrics(), list[tuple[str, str]]()
        self._failure = failure
        self.clicks = Clicks(
            "0901",
            "retailcrm",
            agents={"7": "151"} if agents is None else agents,
            country="BY",
            prefixes=(),
            place=self.place,
            registered=RegisteredCalls("0901", portal, note=portal.note, ours=lambda: True) if portal else None,
            clock=self.clock,
            metrics=self.metrics,
        )

    async def place(self, extension: str, phone: str, *, begins: Callable[[str], Awaitable[None]] | None = None) -> str:
        """Note it."""
        if begins:
            await begins("vochi-1.1")
        if self._failure:
            raise self._failure
        self.placed.append((extension, phone))
        return "vochi-1.1"

    def count(self, result: str) -> float:
        """Clicks by result."""
        labels = {"enterprise": "0901", "source": "retailcrm", "result": result}
        return self.metrics.registry.get_sample_value("vochi_crm_clicks_total", labels) or 0.0


class Portal:
    """Fulfils `change_ports.ClickRegistry`: user 8 has an extension there."""

    name = "bitrix24"

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.closed: list[str] = []

    async def extension_of(self, user: str) -> str:
        """As the user's card says."""
        return {"8": "103"}.get(user, "")

    async def close_click(self, click: Click) -> None:
        """Note it."""
        self.closed.append(click.remote_id)

    async def note(self, *facts: str) -> None:
        """The id that is kept."""
        self.noted.append(facts[-1])


@asynccontextmanager
async def working(desk: Desk):
    """Works while the block runs, and until nothing is left."""
    task = asyncio.create_task(desk.clicks.run())
    yield
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_click_rings_the_extension_of_who_clicked() -> None:
    desk = Desk()
    async with working(desk):
        desk.clicks.take(CLICK)

    assert desk.placed == [("151", "+375290000022")]
    assert desk.count("placed") == 1


@pytest.mark.parametrize("click", [Click(phone="80290000022"), Click(phone="80290000022", user="8"),
                                   Click(phone="80290000022", user="8", extension="152")])  # fmt: skip
def test_who_is_no_colleague_rings_nobody_and_never_the_first(click: Click) -> None:
    desk = Desk()
    with pytest.raises(NotPossible, match="agents"):
        desk.clicks.take(click)

    assert desk.count("refused") == 1


async def test_an_extension_that_the_crm_names_is_taken_when_it_is_a_colleagues_or_none_are_configured() -> None:
    named = Click(phone="80290000022", extension="151")
    for desk in (Desk(), Desk(agents={})):
        async with working(desk):
            desk.clicks.take(named)
        assert desk.placed == [("151", "+375290000022")]


@pytest.mark.parametrize("phone", ["152", "*72", "+79000000001"])
def test_a_number_that_may_not_be_called_is_refused(phone: str) -> None:
    with pytest.raises(NotPossible):
        Desk().clicks.take(Click(phone=phone, user="7"))


async def test_a_repetition_is_one_call_and_a_later_click_another() -> None:
    desk = Desk()
    async with working(desk):
        desk.clicks.take(CLICK)
        desk.clicks.take(Click(phone="+375 29 000-00-22", user="7"))
        desk.clock.now += REPETITION_S
        desk.clicks.take(CLICK)

    assert len(desk.placed) == 2


async def test_nobody_clicks_without_end_and_after_a_minute_he_may_again() -> None:
    desk = Desk(agents={"7": "151", "8": "152"})
    async with working(desk):
        for number in range(MOST_A_MINUTE):
            desk.clicks.take(Click(phone=f"8029000{number:04}", user="7"))
            await asyncio.sleep(0)
        with pytest.raises(TooOften):
            desk.clicks.take(CLICK)
        desk.clicks.take(Click(phone="80290000022", user="8"))
        await asyncio.sleep(0)
        desk.clock.now += MINUTE_S
        desk.clicks.take(CLICK)

    assert len(desk.placed) == MOST_A_MINUTE + 2


def test_more_clicks_than_the_pbx_takes_are_refused() -> None:
    desk = Desk(agents={str(user): f"{user}" for user in range(100, 100 + MOST_WAITING + 1)})
    for user in range(100, 100 + MOST_WAITING):
        desk.clicks.take(Click(phone="80290000022", user=str(user)))
    with pytest.raises(TooOften):
        desk.clicks.take(Click(phone="80290000022", user=str(100 + MOST_WAITING)))


async def test_a_click_that_waited_too_long_rings_nobody() -> None:
    desk = Desk()
    desk.clicks.take(CLICK)
    desk.clock.now += FRESH_S + 1
    async with working(desk):
        pass

    assert desk.placed == []
    assert desk.count("failed") == 1


async def test_a_pbx_that_is_away_costs_the_click_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(failure=NotReachable("ARI does not answer"))
    async with working(desk):
        desk.clicks.take(CLICK)

    assert desk.count("failed") == 1
    assert "rang no phone: ARI does not answer" in caplog.text
    assert "0290000022" not in caplog.text


def in_portal(number: int, *, user: str = "8", phone: str = "80290000022") -> Click:
    """A click whose call the portal has registered."""
    return Click(phone=phone, user=user, remote_id=f"externalCall.{number}")


async def test_who_is_only_known_to_the_portal_rings_by_the_extension_of_his_card() -> None:
    portal = Portal()
    desk = Desk(agents={"7": "151"}, portal=portal)
    async with working(desk):
        desk.clicks.take(in_portal(1))
        desk.clicks.take(in_portal(2, user="7"))

    assert sorted(desk.placed) == [("103", "+375290000022"), ("151", "+375290000022")]
    assert (sorted(portal.noted), portal.closed) == (["externalCall.1", "externalCall.2"], [])


async def test_a_click_that_is_told_twice_rings_once_and_stays_open() -> None:
    portal = Portal()
    desk = Desk(portal=portal)
    async with working(desk):
        desk.clicks.take(in_portal(1))
        desk.clock.now += REPETITION_S + 1
        desk.clicks.take(in_portal(1))

    assert (len(desk.placed), portal.closed) == (1, [])


async def test_what_rings_nobody_is_closed_in_the_portal() -> None:
    portal = Portal()
    desk = Desk(portal=portal)
    async with working(desk):
        desk.clicks.take(in_portal(1))
        desk.clicks.take(in_portal(2))  # his second click on the same number
        desk.clicks.take(in_portal(3, user="9"))  # has no extension anywhere
        with pytest.raises(NotPossible):
            desk.clicks.take(in_portal(4, phone="104"))

    assert (len(desk.placed), sorted(portal.closed)) == (1, [f"externalCall.{number}" for number in (2, 3, 4)])


async def test_a_click_that_was_long_on_its_way_rings_nobody_and_is_closed_unless_its_call_may_go_on() -> None:
    portal = Portal()
    desk = Desk(portal=portal)
    async with working(desk):
        for number, age_s in ((1, LATE_S), (2, LATE_S + 1), (3, 2 * MINUTE_S)):
            late = replace(in_portal(number, phone=f"8029000001{number}"), age_s=age_s)
            with pytest.raises(NotPossible, match="too late") if number > 1 else nullcontext():
                desk.clicks.take(late)

    assert (len(desk.placed), portal.closed, desk.count("refused")) == (1, ["externalCall.2"], 2)


async def test_a_pbx_that_refuses_closes_the_click_and_one_that_may_have_heard_does_not() -> None:
    for failure, closed in ((NotPermitted("no right"), ["externalCall.1"]), (NotReachable("no answer"), [])):
        portal = Portal()
        desk = Desk(failure=failure, portal=portal)
        async with working(desk):
            desk.clicks.take(in_portal(1))
        assert (desk.count("failed"), portal.closed) == (1, closed)


async def test_who_waits_for_what_comes_of_it_is_told_at_once() -> None:
    desk = Desk(agents={})

    assert await desk.clicks.ring("152", "+375290000022")
    assert not await desk.clicks.ring("152", "+375290000022"), "a finger that came down twice"
    assert desk.placed == [("152", "+375290000022")]
    assert desk.count("placed") == 1


@pytest.mark.parametrize(
    ("phone", "failure", "result"),
    [
        ("+4915112345678", NotPossible, "refused"),
        ("+375290000022", NotReachable, "failed"),
        ("+375290000022", TimeoutError, "failed"),
    ],
)
async def test_who_waits_is_told_why_nothing_rings(phone: str, failure: type[Exception], result: str) -> None:
    desk = Desk(agents={}, failure=failure("no"))
    with pytest.raises(failure):
        await desk.clicks.ring("152", phone)

    assert desk.placed == []
    assert desk.count(result) == 1
