"""What real PBXs said, as much of it as a benchmark wants: the recordings of tests/scenarios, over and over.

They are whole streams of Asterisk 22.10 and 16.28 with every class of events on, so the mix is real: half of it is
VarSet, one event in five is a fact about a call.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["LAB", "SEGMENT_BYTES", "busy_pbx", "recordings", "segments"]

SCENARIOS: Final = Path(__file__).parents[2] / "tests" / "scenarios"
LAB: Final = SCENARIOS / "lab.toml"
# As much as our connection takes from its socket at once (`READ_BYTES`), which a busy PBX fills.
SEGMENT_BYTES: Final = 1 << 16
FRAME_END: Final = b"\r\n\r\n"

_TIMESTAMP: Final = re.compile(rb"\r\nTimestamp: (\d+\.\d+)")
# What names a channel, a call, a bridge or a moment: the second of a uniqueid or a timestamp with the serial or the
# microseconds, the first block of a bridge's UUID, the serial at the end of a channel's name.
_OWN: Final = re.compile(
    rb"\b(?P<second>17\d{8})\.(?P<rest>\d{1,6})\b|\b(?P<bridge>[0-9a-f]{8})(?=-[0-9a-f]{4}-)|-(?P<channel>[0-9a-f]{8})\b"
)
MICROSECONDS: Final = 6


def recordings() -> list[bytes]:
    """Every recorded stream as it came."""
    return [path.read_bytes() for path in sorted(SCENARIOS.glob("*/ami.raw"))]


def segments(stream: bytes) -> list[bytes]:
    """The stream as a socket gives it when there is much to read."""
    return [stream[start : start + SEGMENT_BYTES] for start in range(0, len(stream), SEGMENT_BYTES)]


def busy_pbx(copies: int, *, per_second: float) -> bytes:
    """One stream in which every recording takes place so many times, each time as calls of its own, many at once.

    Args:
        copies: How often each recording takes place.
        per_second: Recordings that begin in a second.
    """
    events: list[tuple[float, bytes]] = []
    streams = recordings()
    began = 1_800_000_000
    for serial in range(copies * len(streams)):
        start = began + int(serial / per_second)
        events.extend(_again(streams[serial % len(streams)], start, serial))
    events.sort(key=lambda event: event[0])
    return b"".join(frame for _, frame in events)


def _again(stream: bytes, start: int, serial: int) -> Iterator[tuple[float, bytes]]:
    """The events of a recording with their times, as if it began then, with names of its own."""
    frames = [frame.lstrip(b"\r\n") for frame in stream.split(FRAME_END)]
    timed = [(float(found[1]), frame) for frame in frames if (found := _TIMESTAMP.search(frame))]
    shift = start - int(timed[0][0])

    def own(found: re.Match[bytes]) -> bytes:
        if second := found["second"]:
            rest = found["rest"]
            # A moment moves; a uniqueid gets a serial that no other copy has.
            rest = rest if len(rest) == MICROSECONDS else b"%d" % (int(rest) + 1000 * serial)
            return b"%d.%b" % (int(second) + shift, rest)
        if bridge := found["bridge"]:
            return b"%08x" % ((int(bridge, 16) + serial) % (1 << 32))
        return b"-%08x" % ((int(found["channel"], 16) + (serial << 12)) % (1 << 32))

    for at, frame in timed:
        yield at + shift, _OWN.sub(own, frame) + FRAME_END


def count(stream: bytes) -> int:
    """How many messages it has."""
    return sum(1 for frame in stream.split(FRAME_END) if frame.strip())
