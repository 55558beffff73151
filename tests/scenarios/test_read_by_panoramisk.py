"""A second reader of the recordings, that somebody else wrote: it sees the same events with the same headers.

Its known losses are left out of the comparison: it forgets a header that is empty at the end of a message, and does not
undo Asterisk's escapes.
"""

from pathlib import Path

import pytest
from panoramisk.message import Message as Theirs

from vochi_agent.protocols.ami import AmiReader, escape_c

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/ami.raw"))


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_see_the_same_events(name):
    """Names and headers of every event, in order."""
    raw = (HERE / name / "ami.raw").read_bytes()

    ours = [message for message in AmiReader().receive_data(raw) if message.event]
    frames = (Theirs.from_line(frame.strip()) for frame in raw.decode().split("\r\n\r\n"))
    theirs = [message for message in frames if message is not None and "Event" in message]

    assert [message.event for message in ours] == [message["Event"] for message in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for header, value in mine.headers:
            seen = other.get(header, "")
            seen = [text.strip() for text in (seen if isinstance(seen, list) else [seen])]
            assert value.strip() in seen or escape_c(value).strip() in seen, (mine.event, header)
