"""Calls of a real Asterisk that happen again and again: recordings of tests/scenarios, each time with new identities.

For a daemon that is measured as a whole. A recording is cut where the call rings, talks or is over; its channels, ids,
bridges, people and times are made new in one pass, so that whoever plays a thousand calls is never what is measured.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["MIX", "SCENARIOS", "Recording", "Until"]

SCENARIOS: Final = Path(__file__).parents[2] / "tests/scenarios"
# What an office sees: in and out, a queue, a group, a caller who gives up, a phone that nobody picks up.
MIX: Final = (
    "inbound-answered",
    "inbound-queue-answered",
    "outbound-answered",
    "inbound-ringgroup-one-answers",
    "inbound-caller-hangup-while-ringing",
    "inbound-noanswer",
)

# What belongs to this one call: times, ids of channels and calls, ends of channels' names, bridges, people outside.
OWN: Final = re.compile(
    rb"(?<=Timestamp: )(?P<time>\d{10}\.\d{6})"
    rb"|\b(?P<id>\d{10}\.\d+)\b"
    rb"|(?<=-)(?P<channel>[0-9a-f]{8})\b(?!-)"
    rb"|(?P<bridge>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb"|(?<![0-9])(?:\+?375|80|0)(?P<person>29\d{7})\b"
)
EVENT: Final = b"Event: "
FRAME_END: Final = b"\r\n\r\n"
# No call of the mix has more channels.
CHANNELS: Final = 16


class Until(Enum):
    """How far a call goes: before the first of these events."""

    RINGING = frozenset({b"DialEnd", b"HangupRequest", b"Hangup"})
    TALKING = frozenset({b"BridgeLeave", b"HangupRequest", b"SoftHangupRequest"})
    OVER = frozenset[bytes]()


@dataclass(frozen=True, slots=True)
class _Own:
    """What is another one in every call; `number` counts those of its kind."""

    kind: str
    value: bytes
    number: int


class Recording:
    """One recorded call.

    Args:
        name: Of the scenario.
        until: Where it is cut.
    """

    def __init__(self, name: str, until: Until = Until.OVER) -> None:
        raw = (SCENARIOS / name / "ami.raw").read_bytes()
        frames = [frame.lstrip(b"\r\n") + FRAME_END for frame in raw.split(FRAME_END)]
        events = [frame for frame in frames if frame.startswith(EVENT)]
        names = [event[len(EVENT) : event.find(b"\r\n")] for event in events]
        first = names.index(b"Newchannel")  # before it somebody logs in
        cut = next((at for at in range(first, len(names)) if names[at] in until.value), len(names))
        own: dict[tuple[str, bytes], _Own] = {}
        self._pieces = list(_pieces(b"".join(events[first:cut]), own))
        self._own = list(own.values())
        self._last = max(float(each.value) for each in self._own if each.kind == "time")

    def play(self, serial: int) -> bytes:
        """What a PBX says of the call, the last of it now. `serial`: another one for every call."""
        shift = time.time() - self._last
        new = {each: _new(each, serial, shift) for each in self._own}
        return b"".join([piece if isinstance(piece, bytes) else new[piece] for piece in self._pieces])


def _pieces(raw: bytes, own: dict[tuple[str, bytes], _Own]) -> Iterator[bytes | _Own]:
    """The bytes, cut at everything that is the call's own; that is gathered in `own`."""
    count: Counter[str] = Counter()
    at = 0
    for match in OWN.finditer(raw):
        kind = str(match.lastgroup)
        key = (kind, match[kind])
        if key not in own:
            own[key] = _Own(*key, count[kind])
            count[kind] += 1
        yield raw[at : match.start(kind)]
        yield own[key]
        at = match.end()
    yield raw[at:]


def _new(own: _Own, serial: int, shift: float) -> bytes:
    number = serial * CHANNELS + own.number
    match own.kind:
        case "time":
            return b"%.6f" % (float(own.value) + shift)
        case "id":
            return b"%d.%d" % (int(own.value.partition(b".")[0]) + shift, number)
        case "channel":
            return b"%08x" % number
        case "bridge":
            return b"%08x-0000-4000-8000-%012x" % (number, number)
        case _:
            return b"29%07d" % (number * 7919 % 10_000_000)
