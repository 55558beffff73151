"""AMI bytes to typed events: ours, panoramisk with the same named events, and the limit of splitting frames at all.

    python -m benchmarks.ami_events [--copies 69] [--rounds 7]

All three read the same bytes in the same segments, by turns, and the seconds are the processor's own. Ours is what the
daemon does: codec, filter, translation to a fact. Of panoramisk no fact is asked: its handlers count. The limit takes
one frame after the other off the stream, looks its name up and keeps the wanted ones as bytes. (`bytes.split` of a
whole segment is quicker still and knows no names; it is told in the details.) panoramisk reads a part of the copies in
each round, so that its rounds together are as many events as one of ours.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, Self

from benchmarks.row import Reach, Row
from benchmarks.support.pbx_recordings import FRAME_END, count, recordings, segments
from vochi_agent.asterisk.translate_ami import ONLY, WANTED, translate
from vochi_agent.protocols.ami import AmiReader

TIMES_PANORAMISK: Final = Reach(at_least=12)
OF_THE_LIMIT: Final = Reach(at_least=0.25)
PEERS: Final = Path("var/peers-venv/bin/python")


def main(copies: int, rounds: int) -> None:
    """Measure and print the rows."""
    stream = b"".join(recordings())
    pieces, events = segments(stream), count(stream)
    ours: list[float] = []
    limit: list[float] = []
    at_once: list[float] = []
    theirs: list[float] = []
    few = -(-copies // rounds)
    with Peer() as peer:
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            ours.append(events * copies / seconds(read, pieces, copies))
            limit.append(events * copies / seconds(split, pieces, copies))
            at_once.append(events * copies / seconds(split_at_once, pieces, copies))
            theirs.append(events * few / peer.seconds(few))
    mine = statistics.median(ours)
    details = {
        "events": events * copies,
        "facts": read(pieces),
        "bytes_an_event": len(stream) / events,
        "us_an_event": 1e6 / mine,
        "ours": ours,
    }
    for row in (
        Row(
            work="AMI bytes → typed events",
            ours=f"{mine:,.0f} events/s",
            against=f"panoramisk {peer.version}",
            theirs=f"{statistics.median(theirs):,.0f} events/s",
            figure=median_ratio(ours, theirs),
            unit="×",
            reach=TIMES_PANORAMISK,
            details=details | {"theirs": theirs},
        ),
        Row(
            work="AMI bytes → typed events, of the limit",
            ours=f"{mine:,.0f} events/s",
            against="taking frames, a look at each name",
            theirs=f"{statistics.median(limit):,.0f} events/s",
            figure=median_ratio(ours, limit),
            unit="×",
            reach=OF_THE_LIMIT,
            details=details | {"theirs": limit, "split_at_once": at_once},
        ),
    ):
        print(row.to_json())


def median_ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Of what was measured side by side."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def seconds(work: Callable[[Sequence[bytes]], object], pieces: Sequence[bytes], copies: int) -> float:
    """What the work on so many copies of the stream costs the processor."""
    began = time.process_time()
    for _ in range(copies):
        work(pieces)
    return time.process_time() - began


def read(pieces: Sequence[bytes]) -> int:
    """What the daemon does with bytes; how many facts they give."""
    reader = AmiReader(WANTED, only=ONLY)
    facts = 0
    for piece in pieces:
        # Between two Pings nobody waits for an answer.
        for message in reader.receive_data(piece, answers=False):
            if translate(message, 0.0) is not None:
                facts += 1
    return facts


def split(pieces: Sequence[bytes]) -> int:
    """The least that can be done; how many frames have a wanted name."""
    wanted = frozenset(b"Event: " + name.encode() for name in WANTED)
    kept, buffer = 0, b""
    for piece in pieces:
        buffer += piece
        frames, start = [], 0
        while (end := buffer.find(FRAME_END, start)) >= 0:
            if buffer[start : buffer.find(b"\r\n", start)] in wanted:
                frames.append(buffer[start:end])
            start = end + len(FRAME_END)
        buffer = buffer[start:]
        kept += len(frames)
    return kept


def split_at_once(pieces: Sequence[bytes]) -> int:
    """The same by splitting whole segments."""
    wanted = frozenset(b"Event: " + name.encode() for name in WANTED)
    kept, tail = 0, b""
    for piece in pieces:
        *frames, tail = (tail + piece).split(FRAME_END)
        kept += len([frame for frame in frames if frame[: frame.find(b"\r\n")] in wanted])
    return kept


class Peer:
    """panoramisk in an environment and a process of its own, which waits for its turn."""

    def __init__(self) -> None:
        # It is among the tools of the tests as well; its own environment has its own old dependencies.
        python = str(PEERS) if PEERS.exists() else sys.executable
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.ami_events", "--peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = ""

    def __enter__(self) -> Self:
        self.version = self._answer()["version"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, copies: int) -> float:
        """What so many copies cost it."""
        assert self._process.stdin is not None
        print(copies, file=self._process.stdin, flush=True)
        return float(self._answer()["seconds"])

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("panoramisk did not start: `make peers` makes its environment")
        return json.loads(line)


def serve() -> None:
    """The other process: for every number on stdin, one turn of panoramisk."""
    pieces = segments(b"".join(recordings()))
    # The eight events more that it sees follow an empty line too many, which the bare splitting stumbles over.
    if (seen := read_by_panoramisk(pieces)) < (wanted := split(pieces)):
        raise SystemExit(f"panoramisk saw {seen} of {wanted} events")
    print(json.dumps({"version": metadata.version("panoramisk")}), flush=True)
    for line in sys.stdin:
        copies = int(line)
        took = seconds(read_by_panoramisk, pieces, copies)
        print(json.dumps({"seconds": took}), flush=True)


def read_by_panoramisk(pieces: Sequence[bytes]) -> int:
    """How many events its handlers saw."""
    return asyncio.run(drive_panoramisk(pieces))


async def drive_panoramisk(pieces: Sequence[bytes]) -> int:
    """Its Manager and protocol as a loop drives them, with a handler for each event that ours wants."""
    from panoramisk import Manager  # noqa: PLC0415 - only here, in its own process
    from panoramisk.ami_protocol import AMIProtocol  # noqa: PLC0415

    seen = 0

    def handler(_manager: object, _event: object) -> None:
        nonlocal seen
        seen += 1

    loop = asyncio.get_running_loop()
    manager = Manager(loop=loop)
    for name in WANTED:
        manager.register_event(name, handler)
    protocol = AMIProtocol()
    protocol.connection_made(asyncio.Transport())
    connected = loop.create_future()
    connected.set_result((asyncio.Transport(), protocol))
    manager.connection_made(connected)
    for piece in pieces:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=69, help="how often ours reads all recordings in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        serve()
    else:
        main(arguments.copies, arguments.rounds)
