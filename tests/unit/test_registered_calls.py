"""Calls that a CRM registered by itself at a click: known before they begin, and closed when they never do."""

import asyncio

import pytest

from tests.support.calls import answered, internal
from tests.support.cards import told
from vochi_agent.calls.model import CallFinished, CallUpdate, Direction, Phase
from vochi_agent.change_ports import Click
from vochi_agent.errors import CrmUnavailable, StoreUnavailable
from vochi_agent.registered_calls import RegisteredCalls

CLICK = Click(phone="80290000022", user="8", remote_id="externalCall.1")
LINKEDID = "vochi-1.1"


class Portal:
    """Fulfils `change_ports.ClickRegistry`; notes what is closed."""

    name = "bitrix24"

    def __init__(self, *, away: bool = False) -> None:
        self.closed: list[Click] = []
        self._away = away

    async def extension_of(self, user: str) -> str:
        """Of everybody."""
        return f"10{user}"

    async def close_click(self, click: Click) -> None:
        """Note it."""
        self.closed.append(click)
        if self._away:
            raise CrmUnavailable("away")


class Stage:
    """The registered calls of a portal, closing."""

    def __init__(
        self, portal: Portal, *, ours: bool = True, store_away: bool = False, came_about_s: float = 0.05
    ) -> None:
        self.portal, self.noted = portal, list[tuple[str, ...]]()
        self._store_away = store_away
        self.calls = RegisteredCalls("0901", portal, note=self.note, ours=lambda: ours, came_about_s=came_about_s)

    async def note(self, *facts: str) -> None:
        """Keep it."""
        if self._store_away:
            raise StoreUnavailable("away")
        self.noted.append(facts)

    async def closed(self, *, after_s: float = 0.0) -> list[Click]:
        """What is closed by then."""
        task = asyncio.create_task(self.calls.run())
        await asyncio.sleep(after_s)
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return self.portal.closed


async def test_the_portals_id_is_noted_before_the_phone_rings() -> None:
    stage = Stage(Portal())
    await stage.calls.begins(LINKEDID, CLICK)

    assert stage.noted == [("0901", "bitrix24", LINKEDID, "externalCall.1")]


@pytest.mark.parametrize(
    "update",
    [
        told(Phase.START, Direction.OUT, linkedid=LINKEDID),
        CallFinished(answered(linkedid=LINKEDID, direction=Direction.OUT)),
    ],
)
async def test_a_call_that_came_about_is_left_to_its_end(update: CallUpdate) -> None:
    stage = Stage(Portal())
    await stage.calls.begins(LINKEDID, CLICK)
    stage.calls.tell(update)

    assert await stage.closed(after_s=0.1) == []


async def test_a_phone_that_nobody_picked_up_closes_the_click() -> None:
    stage = Stage(Portal())
    await stage.calls.begins(LINKEDID, CLICK)
    stage.calls.tell(told(Phase.START, Direction.OUT, linkedid="another"))

    assert await stage.closed(after_s=0.1) == [CLICK]


async def test_a_call_that_never_left_the_house_closes_the_click_at_once() -> None:
    stage = Stage(Portal())
    await stage.calls.begins(LINKEDID, CLICK)
    stage.calls.tell(CallFinished(internal(linkedid=LINKEDID)))

    assert await stage.closed() == [CLICK]


async def test_what_another_daemon_writes_is_his_to_judge() -> None:
    stage = Stage(Portal(), ours=False)
    await stage.calls.begins(LINKEDID, CLICK)

    assert await stage.closed(after_s=0.1) == []


async def test_a_refused_click_is_closed_once_and_one_that_may_ring_is_waited_for() -> None:
    stage = Stage(Portal(), came_about_s=60.0)
    stage.calls.doubtful(CLICK)
    await stage.calls.begins(LINKEDID, CLICK)
    stage.calls.doubtful(CLICK)
    early = list(await stage.closed())
    stage.calls.refused(CLICK)

    assert early == [CLICK]
    assert await stage.closed() == [CLICK, CLICK]


async def test_a_click_of_a_crm_that_registers_nothing_is_nobodys_to_close() -> None:
    stage, click = Stage(Portal()), Click(phone="80290000022", user="8")
    await stage.calls.begins(LINKEDID, click)
    stage.calls.refused(click)

    assert (stage.noted, await stage.closed(after_s=0.1)) == ([], [])


async def test_a_database_and_a_portal_that_are_away_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(Portal(away=True), store_away=True)
    await stage.calls.begins(LINKEDID, CLICK)
    other = Click(phone="80290000022", user="8", remote_id="externalCall.2")
    stage.calls.refused(other)

    assert await stage.closed(after_s=0.1) == [other, CLICK]
    assert "its id is not kept" in caplog.text
