"""Writes the live AMI stream to a file that `replay` reads, with the PBX's time in every event."""

import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

from vochi_agent.errors import LocalProtocolError
from vochi_agent.protocols.ami import Message, encode_message

from .ami_connection import AmiPeer, connect
from .masking import Mask

__all__ = ["Recorder", "record"]

LINE_BREAKS: Final = str.maketrans("\r\n\0", "   ")
# Every AMI stream begins with one line that is no header.
GREETING: Final = b"Asterisk Call Manager, recorded by vochi-agent\r\n"


class Recorder:
    """Takes events and writes them as they came.

    Args:
        stream: Written to and flushed at each event, so that whoever interrupts us loses none.
        mask: Hides numbers and names; None writes them as they are.
        clock: The PBX's time for events that say none (`timestampevents = no`), epoch seconds.

    Attributes:
        events: How many were written.
    """

    def __init__(self, stream: BinaryIO, mask: Mask | None, clock: Callable[[], float]) -> None:
        self.events = 0
        self._stream = stream
        self._mask = mask
        self._clock = clock
        stream.write(GREETING)

    def receive(self, message: Message) -> None:
        """Write an event; what has no name in it is no event."""
        if not message.event:
            return
        headers: Iterable[tuple[str, str]] = message.headers
        if "Timestamp" not in message:
            event, *others = message.headers
            headers = [event, ("Timestamp", f"{self._clock():.6f}"), *others]
        if self._mask is not None:
            headers = self._mask.event(headers)
        try:
            frame = encode_message(headers)
        except LocalProtocolError:
            # A lone line feed inside a value came over the wire; on paper it would end the line.
            frame = encode_message((name, value.translate(LINE_BREAKS)) for name, value in headers if name)
        self._stream.write(frame)
        self._stream.flush()
        self.events += 1


async def record(peer: AmiPeer, recorder: Recorder) -> None:
    """Write what the PBX says until cancelled.

    Raises:
        NotReachable: nobody answers there, or the connection ended; what was written is whole.
        LoginRefused: the PBX does not accept the user.
    """
    async with connect(peer, on_event=recorder.receive, clock=time.time) as connection:
        await connection.until_lost()
