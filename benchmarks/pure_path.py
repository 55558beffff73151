"""AMI bytes to finished call records: the whole pure path, reader, translation and call machine, on one core.

    python -m benchmarks.pure_path [--copies 20] [--rounds 5]

The recordings take place over and over on one PBX, fifty begin in a second, so that hundreds of calls live at once
and the events of all of them are mixed. Every update is taken, and the machine draws its conclusions of silence once
a second of the PBX's time, as the daemon lets it. What the stream gives is checked before it is timed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.row import Reach, Row
from benchmarks.support.pbx_recordings import LAB, busy_pbx, count, recordings, segments
from vochi_agent.asterisk.translate_ami import ONLY, WANTED, translate
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load
from vochi_agent.protocols.ami import AmiReader

EVENTS_PER_SECOND: Final = Reach(at_least=100_000)
RECORDINGS_PER_SECOND: Final = 50.0


class Followed(NamedTuple):
    """What a stream gave: its calls, the updates about them, and how many lived at once."""

    calls: int
    updates: int
    at_once: int
    partial: int


def main(copies: int, rounds: int) -> None:
    """Measure and print the row."""
    layout = Layout(load(LAB).enterprises[0])
    print("making the traffic", file=sys.stderr)
    stream = busy_pbx(copies, per_second=RECORDINGS_PER_SECOND)
    events, pieces = count(stream), segments(stream)
    followed = follow(layout, pieces)
    expected = copies * sum(follow(layout, segments(recording)).calls for recording in recordings())
    if (followed.calls, followed.partial) != (expected, 0):
        raise SystemExit(f"{expected} calls went in, {followed.calls} came out, {followed.partial} of them partial")
    took: list[float] = []
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
        began = time.process_time()
        follow(layout, pieces)
        took.append(time.process_time() - began)
    rates = [events / seconds for seconds in took]
    seconds = statistics.median(took)
    an_event, a_call = 1e6 * seconds / events, 1e6 * seconds / followed.calls
    row = Row(
        work="AMI events → finished calls",
        ours=f"{events / seconds:,.0f} events/s: {an_event:.1f} µs an event, {a_call:.0f} µs a call",
        figure=events / seconds,
        unit="events/s",
        reach=EVENTS_PER_SECOND,
        details={
            "events": events,
            "us_an_event": an_event,
            "us_a_call": a_call,
            "rounds": rates,
            **followed._asdict(),
        },
    )
    print(row.to_json())


def follow(layout: Layout, pieces: Sequence[bytes]) -> Followed:
    """What the daemon's core does with the bytes of a PBX."""
    reader, tracker = AmiReader(WANTED, only=ONLY), Tracker(layout)
    calls: set[str] = set()
    updates = partial = at_once = 0
    tick = 0.0
    for piece in pieces:
        for message in reader.receive_data(piece, answers=False):
            event = translate(message, tick)
            if event is None:
                continue
            for update in tracker.receive(event):
                updates += 1
                if isinstance(update, CallFinished):
                    calls.add(update.call.linkedid)
                    partial += update.call.partial
            if event.at >= tick:
                updates += len(tracker.expire(event.at))
                tick = event.at + 1
                at_once = max(at_once, sum(1 for _ in tracker.live()))
    return Followed(len(calls), updates, at_once, partial)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=20, help="how often each recording takes place")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.copies, arguments.rounds)
