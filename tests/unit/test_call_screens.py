"""Popups of live calls: whose screen opens and closes when, and what is not worth showing."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.calls import answered
from tests.support.cards import told
from tests.support.crm import HandClock, MemoryDirectory
from vochi_agent.call_screens import FRESH_S, CallScreens
from vochi_agent.calls.model import CallFinished, CallMerged, Direction, Phase
from vochi_agent.errors import CrmUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import Popup

LINKEDID = "1795165024.84"


class Screen:
    """A CRM that notes what it shows; the first `failures` requests fail."""

    name = "bitrix24"

    def __init__(self, failures: int = 0) -> None:
        self.shown: list[Popup] = []
        self._failures = failures

    async def show(self, popup: Popup) -> str:
        """Note it."""
        if self._failures:
            self._failures -= 1
            raise CrmUnavailable("away")
        self.shown.append(popup)
        return "remote-1"

    def story(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Phase, who began, who ended."""
        return [(popup.progress.phase.value, popup.began, popup.ended) for popup in self.shown]


class Stage:
    """One CRM's screens with a clock moved by hand."""

    def __init__(self, screen: Screen) -> None:
        self.noted: list[tuple[str, str, str, str]] = []
        self.clock, self.customers, self.metrics = HandClock(), MemoryDirectory(), Metrics()
        self.screens = CallScreens(
            {"0901": [screen]}, self.customers, self.note, metrics=self.metrics, clock=self.clock
        )

    async def note(self, enterprise_number: str, crm: str, linkedid: str, remote_id: str) -> None:
        """Keep the CRM's id."""
        self.noted.append((enterprise_number, crm, linkedid, remote_id))

    def count(self, result: str) -> float:
        """Popups by result."""
        labels = {"enterprise": "0901", "source": "bitrix24", "result": result}
        return self.metrics.registry.get_sample_value("vochi_crm_popups_total", labels) or 0.0


@asynccontextmanager
async def running(stage: Stage):
    """Shows while the block runs; leaves time for what was told."""
    task = asyncio.create_task(stage.screens.run())
    yield
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def live(phase: Phase, *agents: str, **facts: Any) -> Any:
    return told(phase, agents=agents, **facts)


async def test_screens_open_where_phones_ring_and_close_where_they_stop() -> None:
    screen = Screen()
    stage = Stage(screen)
    async with running(stage):
        for update in (
            live(Phase.START),
            live(Phase.DIAL, "150"),
            live(Phase.DIAL, "150", "151"),
            live(Phase.DIAL, "152"),
            live(Phase.BRIDGE, "152"),
            live(Phase.BRIDGE, "152", "150"),
            CallFinished(answered(linkedid=LINKEDID)),
        ):
            stage.screens.tell(update)

    assert screen.story() == [
        ("start", (), ()),
        ("dial", ("150",), ()),
        ("dial", ("151",), ()),
        ("dial", ("152",), ("150", "151")),
        ("bridge", ("152",), ()),
        ("bridge", ("150",), ("152",)),
        ("hangup", (), ("150",)),
    ]
    assert screen.shown[-1].finished == answered(linkedid=LINKEDID)


async def test_the_crms_own_id_comes_back_in_later_phases_and_is_kept_for_the_record() -> None:
    screen = Screen()
    stage = Stage(screen)
    async with running(stage):
        for update in (live(Phase.DIAL, "150"), live(Phase.BRIDGE, "150"), CallFinished(answered(linkedid=LINKEDID))):
            stage.screens.tell(update)

    assert [popup.remote_id for popup in screen.shown] == ["", "remote-1", "remote-1"]
    assert stage.noted == [("0901", "bitrix24", LINKEDID, "remote-1")]


async def test_a_call_that_the_crm_registered_itself_is_shown_under_its_id_from_the_first_phase_on() -> None:
    screen = Screen()
    stage = Stage(screen)
    others = [("0901", "another", LINKEDID, "remote-2"), ("0902", "bitrix24", LINKEDID, "remote-3")]
    for expected in (("0901", "bitrix24", LINKEDID, "remote-1"), *others):
        await stage.screens.expect(*expected)
    async with running(stage):
        stage.screens.tell(live(Phase.START))

    assert [popup.remote_id for popup in screen.shown] == ["remote-1"]
    assert stage.noted == [("0901", "bitrix24", LINKEDID, "remote-1"), *others]


async def test_a_popup_that_waited_too_long_is_dropped_but_the_end_still_closes() -> None:
    screen = Screen()
    stage = Stage(screen)
    stage.screens.tell(live(Phase.DIAL, "150"))
    stage.screens.tell(CallFinished(answered(linkedid=LINKEDID)))
    stage.clock.now += FRESH_S + 1
    async with running(stage):
        pass

    assert screen.story() == [("hangup", (), ("150",))]
    assert stage.count("stale") == 1


async def test_a_popup_that_failed_is_not_repeated() -> None:
    screen = Screen(failures=1)
    stage = Stage(screen)
    async with running(stage):
        stage.screens.tell(live(Phase.DIAL, "150"))
        stage.screens.tell(live(Phase.BRIDGE, "150"))

    assert screen.story() == [("bridge", ("150",), ())]
    assert (stage.count("failed"), stage.count("shown")) == (1, 1)


@pytest.mark.parametrize(
    "update",
    [
        live(Phase.DIAL, "150", direction=Direction.INTERNAL),
        live(Phase.DIAL, "150", enterprise_number="0902"),
        CallFinished(answered(linkedid="never.heard")),
        CallMerged(enterprise_number="0901", linkedid="never.heard", into="1.1"),
    ],
    ids=["internal", "another enterprise", "a recovered end", "a merge"],
)
async def test_what_no_screen_is_about(update: Any) -> None:
    screen = Screen()
    stage = Stage(screen)
    async with running(stage):
        stage.screens.tell(update)

    assert not screen.shown
