"""What calls cost while they live, and that nothing of them stays."""

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from vochi_agent.calls import events as ev
from vochi_agent.calls.events import Event, Origin
from vochi_agent.calls.groups import REMEMBER_S
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load

LAB = Path(__file__).parents[2] / "scenarios" / "lab.toml"
CALLS = 10_000
BYTES_A_CALL = 8 * 1024
# Caches of the interpreter and of the allocator; a leak of one small object a call would be several times more.
SLACK_BYTES = 128 * 1024
HOUR_S = 3600.0
# Few: numbers once parsed are remembered, a bounded number of them.
CUSTOMERS = 50


def talking(number: int) -> Iterator[Event]:
    """A caller who talks with 101 while 103 has rung too; the texts are new ones, as from the wire."""
    at = number / 100  # seconds
    call, rings, gives_up = (f"{1795165024 + leg}.{number}" for leg in range(3))
    legs = {call: f"PJSIP/trunk-{number:08x}", rings: f"PJSIP/101-{number:08x}", gives_up: f"PJSIP/103-{number:08x}"}
    yield ev.ChannelStarted(
        at, call, call, legs[call], Origin.ENTERED, "375172000001", f"3752900000{number % CUSTOMERS:02d}"
    )
    for uniqueid in list(legs)[1:]:
        yield ev.ChannelStarted(at, uniqueid, call, legs[uniqueid], Origin.CREATED, "s", "101")
        yield ev.DialStarted(at, uniqueid, call, legs[uniqueid], call, f"10{uniqueid[9]}")
        yield ev.ChannelRinging(at, uniqueid, call, legs[uniqueid])
    yield ev.DialEnded(at + 1, gives_up, call, legs[gives_up], "CANCEL")
    yield ev.ChannelEnded(at + 1, gives_up, call, legs[gives_up], 26)
    yield ev.ChannelUp(at + 1, rings, call, legs[rings])
    for uniqueid in (rings, call):
        yield ev.BridgeEntered(at + 1, uniqueid, call, legs[uniqueid], f"9b7f3a60-{number:08x}", holding=False)


def endings(number: int) -> Iterator[Event]:
    """The same call hangs up."""
    call, rings = (f"{1795165024 + leg}.{number}" for leg in range(2))
    yield ev.HangupRequested(HOUR_S, call, call, f"PJSIP/trunk-{number:08x}")
    yield ev.ChannelEnded(HOUR_S, rings, call, f"PJSIP/101-{number:08x}", 16)
    yield ev.ChannelEnded(HOUR_S, call, call, f"PJSIP/trunk-{number:08x}", 16)


def memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_ten_thousand_calls_at_once_cost_little_and_leave_nothing() -> None:
    tracker = Tracker(Layout(load(LAB).enterprises[0]))
    for number in range(CALLS, CALLS + CUSTOMERS):  # what is made once for all calls is made now
        for event in (*talking(number), *endings(number)):
            tracker.receive(event)
    tracker.expire(HOUR_S + REMEMBER_S)
    tracemalloc.start()
    try:
        before = memory()
        for number in range(CALLS):
            for event in talking(number):
                tracker.receive(event)
        assert sum(1 for _ in tracker.live()) == CALLS
        at_once = memory() - before
        finished = 0
        for number in range(CALLS):
            for event in endings(number):
                finished += sum(isinstance(update, CallFinished) for update in tracker.receive(event))
        tracker.expire(HOUR_S + REMEMBER_S)
        left = memory() - before
    finally:
        tracemalloc.stop()

    assert finished == CALLS
    assert at_once <= CALLS * BYTES_A_CALL, f"{at_once / CALLS:.0f} bytes a call"
    assert left <= SLACK_BYTES, f"{left} bytes are left"
