"""The quick way through AMI, which skips and looks up, against a plain one, which decodes everything: the same facts.

The plain reader below shares no line with the codec. It has the whole recording at once, makes text of it, and keeps
every header of every frame.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.asterisk.translate_ami import ONLY, WANTED, translate
from vochi_agent.calls.events import Event
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished, CallUpdate
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load
from vochi_agent.protocols.ami import AmiReader, Message

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/ami.raw"))
LAYOUT = Layout(load(SCENARIOS / "lab.toml").enterprises[0])
ESCAPES = {r"\"": '"', r"\'": "'", r"\\": "\\", r"\?": "?", r"\n": "\n", r"\r": "\r", r"\t": "\t"}


class PlainMessage:
    """A frame as a dictionary."""

    def __init__(self, frame: str) -> None:
        self._headers: dict[str, str] = {}
        for line in frame.split("\r\n"):
            name, _, value = line.partition(":")
            self._headers.setdefault(name, value.removeprefix(" "))
        self.event = self._headers["Event"] if frame.startswith("Event:") else ""
        for name in self._headers:
            if name.endswith(("CallerIDName", "ConnectedLineName")) or (self.event == "VarSet" and name == "Value"):
                self._headers[name] = re.sub(r"\\.", lambda found: ESCAPES[found[0]], self._headers[name])

    def get(self, name: str, default: str = "") -> str:
        """The value."""
        return self._headers.get(name, default)

    def values(self, names: Iterable[str]) -> list[str]:
        """The values."""
        return [self.get(name) for name in names]


def wire(name: str) -> bytes:
    return (SCENARIOS / name / "ami.raw").read_bytes()


def plainly(stream: bytes) -> list[Event]:
    """Every frame is decoded, none is left out for its name."""
    frames = (frame.strip("\r\n") for frame in stream.decode().split("\r\n\r\n"))
    messages = (cast("Message", PlainMessage(frame)) for frame in frames)
    return [event for message in messages if (event := translate(message, 0.0)) is not None]


def quickly(pieces: Iterable[bytes], *, answers: bool = False) -> list[Event]:
    """As the daemon reads."""
    reader = AmiReader(WANTED, only=ONLY)
    messages = (message for piece in pieces for message in reader.receive_data(piece, answers=answers))
    return [event for message in messages if (event := translate(message, 0.0)) is not None]


def finished(events: Iterable[Event]) -> list[CallFinished]:
    tracker = Tracker(LAYOUT)
    updates: Iterator[CallUpdate] = (update for event in events for update in tracker.receive(event))
    return [update for update in updates if isinstance(update, CallFinished)]


def whole(stream: bytes) -> Iterable[bytes]:
    return [stream]


def in_segments(stream: bytes) -> Iterable[bytes]:
    return (stream[start : start + 1448] for start in range(0, len(stream), 1448))


def byte_by_byte(stream: bytes) -> Iterable[bytes]:
    return (stream[start : start + 1] for start in range(len(stream)))


@pytest.mark.parametrize("cut", [whole, in_segments, byte_by_byte])
@pytest.mark.parametrize("name", NAMES)
def test_both_ways_read_the_same_facts_and_end_the_same_calls(
    name: str, cut: Callable[[bytes], Iterable[bytes]]
) -> None:
    """Byte by byte is every cut there is."""
    facts = plainly(wire(name))

    assert facts
    assert facts == quickly(cut(wire(name)))
    assert finished(facts) == finished(quickly(cut(wire(name)), answers=True))


def test_what_is_skipped_would_have_stated_nothing() -> None:
    """Every frame alone: a wanted one is never skipped, a skipped one is no fact."""
    frames = [frame for name in NAMES for frame in wire(name).split(b"\r\n\r\n") if frame.strip()]

    for frame in frames:
        assert plainly(frame) == quickly([b"Event: None\r\n\r\n", frame, b"\r\n\r\n"]), frame


HEADERS = ["Uniqueid", "Uniqueid2", "Channel", "ChannelState", "Cause", "Cause-txt", "CallerIDName", "Event"]
VALUE = st.text(st.sampled_from("ab:\\n' \r\nё\u2028"), max_size=6).filter(lambda text: "\r\n" not in text)


@given(st.lists(st.tuples(st.sampled_from(HEADERS), VALUE), max_size=12))
def test_a_lookup_gives_the_first_of_the_decoded_headers(fields: list[tuple[str, str]]) -> None:
    """However often a header is repeated, and whatever its value looks like."""
    lines = ["Event: Hangup", *(f"{name}: {value}" for name, value in fields)]
    (message,) = AmiReader().receive_data(("\r\n".join(lines) + "\r\n\r\n").encode()) or [None]
    assert message is not None
    decoded = dict(reversed(message.headers))

    assert [decoded.get(name, "") for name in HEADERS] == message.values(tuple(HEADERS))
    assert [decoded.get(name, "-") for name in HEADERS] == [message.get(name, "-") for name in HEADERS]
    assert [name in decoded for name in HEADERS] == [name in message for name in HEADERS]
