"""The benchmarks of the whole daemon run to their end and give rows that can be read; nobody asks how quick."""

import asyncio
import math
import sys

import pytest

from benchmarks.row import Row
from benchmarks.support.recorded import MIX, SCENARIOS, Recording, Until
from vochi_agent.asterisk.translate_ami import WANTED, translate
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load
from vochi_agent.protocols.ami import AmiReader

TINY = {
    "starting": (["--starts", "1", "--calls", "3", "12"], 5),
    "many_pbxs": (["--pbxs", "1", "2", "--calls", "6", "--rounds", "1"], 1),
}


@pytest.mark.parametrize("name", TINY)
async def test_every_row_can_be_read_again(name: str) -> None:
    arguments, count = TINY[name]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{name}", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    rows = [Row.from_json(line) for line in out.decode().splitlines()]
    assert len({row.work for row in rows}) == count
    assert all(math.isfinite(row.figure) and row.ours and row.unit for row in rows)


@pytest.mark.parametrize("until", Until)
def test_repeated_recordings_are_calls_of_their_own_as_far_as_they_go(until: Until) -> None:
    tracker = Tracker(Layout(load(SCENARIOS / "lab.toml").enterprises[0]))
    reader = AmiReader(WANTED)
    calls = {}
    for serial, name in enumerate(MIX * 2):
        for message in reader.receive_data(Recording(name, until).play(serial)):
            event = translate(message, 0.0)
            for update in tracker.receive(event) if event else ():
                if isinstance(update, CallFinished):
                    calls[update.call.linkedid] = update.call

    assert not tracker.anomalies
    assert len(calls) + len(tracker.live_linkedids) == len(MIX) * 2
    if until is Until.OVER:
        assert not tracker.live_linkedids
        assert len({call.phone for call in calls.values()}) == len(MIX) * 2
