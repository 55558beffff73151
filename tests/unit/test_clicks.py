"""Clicks on phone numbers: who may, how often, and that one click is one call."""

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager

import pytest

from tests.support.crm import HandClock
from vochi_agent.change_ports import Click
from vochi_agent.clicks import FRESH_S, MINUTE_S, MOST_A_MINUTE, MOST_WAITING, REPETITION_S, Clicks
from vochi_agent.errors import NotPossible, NotReachable, TooOften
from vochi_agent.metrics import Metrics

CLICK = Click(phone="80290000022", user="7")


class Desk:
    """One CRM's clicks, a clock moved by hand and a PBX that notes what it should call."""

    def __init__(self, agents: Mapping[str, str] | None = None, failure: Exception | None = None) -> None:
        self.clock, self.metrics, self.placed = HandClock(), Metrics(), list[tuple[str, str]]()
        self._failure = failure
        self.clicks = Clicks(
            "0901",
            "retailcrm",
            agents={"7": "151"} if agents is None else agents,
            country="BY",
            prefixes=(),
            place=self.place,
            clock=self.clock,
            metrics=self.metrics,
        )

    async def place(self, extension: str, phone: str) -> str:
        """Note it."""
        if self._failure:
            raise self._failure
        self.placed.append((extension, phone))
        return "vochi-1.1"

    def count(self, result: str) -> float:
        """Clicks by result."""
        labels = {"enterprise": "0901", "source": "retailcrm", "result": result}
        return self.metrics.registry.get_sample_value("vochi_crm_clicks_total", labels) or 0.0


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
