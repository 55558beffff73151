"""AMI on the wire: bytes to messages and back. Pure; knows neither sockets nor logins.

Invariant: only complete frames are looked at, and each is decoded as a whole, so the result does not depend on how
TCP cut the stream. Used by the client (`asterisk/`) and by the PBX simulator alike.

A frame is a list of `Name: value` lines ended by an empty line. The first line says what it is: `Event`, `Response`
or `Action`. Header names are compared exactly: Asterisk prints them from constants in its source, some differ in case
only (`CallerIDName` is escaped, the `CallerIDname` of a CEL event is not), and folding would cost time on every lookup.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from vochi_agent.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["AmiReader", "Message", "Only", "encode_action", "encode_message", "escape_c", "unescape_c"]

MAX_FRAME_BYTES = 1 << 20
LINE_END = b"\r\n"
FRAME_END = LINE_END * 2
EVENT = b"Event: "
ACTION_ID = b"\r\nActionID: "

# The table behind ast_escape_c() in Asterisk's main/utils.c.
ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v"} | {c: c for c in "\\'\"?"}
UNESCAPES = {letter: char for char, letter in ESCAPES.items()}
TO_ESCAPE = str.maketrans({char: "\\" + letter for char, letter in ESCAPES.items()})
ESCAPED = re.compile(r"\\([abfnrtv\\'\"?])")

# Asterisk escapes the names of a channel snapshot, under any prefix (DestCallerIDName), and the value of VarSet.
# The same names printed outside a snapshot are raw (seen on 22.10 with quotes and backslashes in the caller's name).
SNAPSHOT_NAMES = ("CallerIDName", "ConnectedLineName")
RAW_NAME = "EffectiveConnectedLineName"
RAW_EVENTS = frozenset({"OriginateResponse", "QueueEntry"})

Only = Mapping[str, tuple[str, Collection[str]]]

FORBIDDEN = re.compile(r"[\r\n\0]")


class Message:
    """One frame. `headers` has every header in order, repeated and empty ones too; lookups give the first value.

    First, not last: what a stranger can add to a frame (fields of a UserEvent) comes after what Asterisk says itself,
    in Asterisk's own spelling, `Name: value`, which goes before `Name:value`.

    A frame off the wire stays bytes and decodes what it is asked for: of twenty headers of an event five are read.

    Attributes:
        event: The event's name; empty when the frame is no event.
    """

    __slots__ = ("_wire", "event")

    def __init__(self, frame: bytes, event: str) -> None:
        """`frame` is complete, without the empty lines around it; `event` is what its first line says."""
        self._wire = LINE_END + frame  # so that every header stands behind a line end
        self.event = event

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values, decoded anew each time."""
        return _decode(self._wire[len(LINE_END) :], self.event)

    def get(self, name: str, default: str = "") -> str:
        """The first value of a header, `default` when there is none."""
        value = self._find(name)
        return default if value is None else value

    def values(self, names: tuple[str, ...]) -> list[str]:
        """The first value of each of these headers, empty where there is none."""
        wire = self._wire
        if b"\\" in wire:
            return [self.get(name) for name in names]
        found: list[str] = []
        for start in _starts(names):
            _, there, rest = wire.partition(start)
            value = rest.partition(LINE_END)[0].decode("utf-8", "replace") if there else self.get(names[len(found)])
            found.append(value)
        return found

    def __getitem__(self, name: str) -> str:
        value = self._find(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def all(self, name: str) -> list[str]:
        """Every value of a repeated header, in order (`Output`, `Variable`, `ChanVariable`)."""
        return [value for header, value in self.headers if header == name]

    @property
    def response(self) -> str:
        """`Success`, `Error`, `Goodbye`; empty when the frame is no response."""
        return _opening(self._wire[len(LINE_END) :], b"Response")

    @property
    def action_id(self) -> str:
        """The action this frame answers; events of other people's actions carry one too."""
        return self.get("ActionID")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.headers == other.headers

    def __hash__(self) -> int:
        return hash(self.headers)

    def __repr__(self) -> str:
        # Values may be phone numbers and secrets, and a repr ends in logs.
        headers = self.headers
        return f"<Message {': '.join(headers[0])}, {len(headers)} headers>"

    def _find(self, name: str) -> str | None:
        _, there, rest = self._wire.partition(_start(name))
        if there:
            value = rest.partition(LINE_END)[0].decode("utf-8", "replace")
            return unescape_c(value) if "\\" in value and _is_escaped(self.event, name) else value
        if LINE_END + name.encode() in self._wire:  # `Name:value`, or a longer name
            return next((value for header, value in self.headers if header == name), None)
        return None


class _Kind(NamedTuple):
    """How events of one name are read: all, or those with one of some values behind the line that starts so."""

    event: str
    start: bytes = b""
    values: frozenset[bytes] | None = None


class AmiReader:
    """Turns a byte stream into messages.

    An event that is not wanted is dropped before anything of it is decoded, unless it carries an ActionID: then it may
    be an item of a list somebody asked for.

    Args:
        wanted: Names of the events to read; None reads all.
        only: Of these events only such with one of some values in a header: name, header and values, as in
            `{"VarSet": ("Variable", {"DIALSTATUS"})}`. VarSet is half of what a PBX says.
        max_frame: Bytes a frame may have.

    Attributes:
        banner: The greeting (`Asterisk Call Manager/11.0.0`), None until it came or when the peer sends none.
    """

    def __init__(
        self,
        wanted: Collection[str] | None = None,
        max_frame: int = MAX_FRAME_BYTES,
        *,
        only: Only | None = None,
    ) -> None:
        self.banner: str | None = None
        self._reads_all = wanted is None
        self._kinds = {EVENT + name.encode(): _kind(name, only or {}) for name in wanted or ()}
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._searched = 0
        self._started = False

    def receive_data(self, data: bytes, *, answers: bool = True) -> list[Message]:
        """The messages that `data` completes, in order.

        Args:
            answers: Somebody waits for the answer of an action; without, an ActionID does not save an unwanted event.

        Raises:
            RemoteProtocolError: a frame is longer than `max_frame`; nothing of `data` is returned.
        """
        self._buffer += data
        if not self._started and not self._start():
            return []
        # Only what is new is searched, so that a frame that drips in costs no more than one that comes whole.
        if self._buffer.find(FRAME_END, max(0, self._searched - len(FRAME_END) + 1)) < 0:
            self._searched = len(self._buffer)
            self._check_size(self._buffer)
            return []
        *frames, tail = bytes(self._buffer).split(FRAME_END)
        if len(self._buffer) > self._max_frame:
            for frame in (*frames, tail):
                self._check_size(frame)
        self._buffer = bytearray(tail)
        self._searched = len(tail)
        return list(self._read(frames, answers=answers))

    def receive_eof(self) -> int:
        """The peer closed. Returns how many bytes of an unfinished frame are lost with it."""
        lost = len(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return lost

    def _start(self) -> bool:
        """Take the banner off the stream; False while the first line is not complete."""
        end = self._buffer.find(LINE_END)
        if end < 0:
            self._check_size(self._buffer)
            return False
        self._started = True
        if b":" not in self._buffer[:end]:
            self.banner = self._buffer[:end].decode(errors="replace")
            del self._buffer[: end + 2]
        return True

    def _read(self, frames: Iterable[bytes], *, answers: bool) -> Iterator[Message]:
        kinds, looks_closer = self._kinds, answers or self._reads_all
        for frame in frames:
            kind = kinds.get(frame.partition(LINE_END)[0])
            if kind is not None:
                event, start, values = kind
                if values is None or frame.partition(start)[2].partition(LINE_END)[0] in values:
                    yield Message(frame, event)
                    continue
            if looks_closer or not frame.startswith(EVENT):
                yield from self._read_other(frame, answers=answers)

    def _read_other(self, frame: bytes, *, answers: bool) -> Iterator[Message]:
        """A frame that does not begin as an event that is wanted."""
        bare = frame.lstrip(LINE_END)
        if len(bare) < len(frame):
            # Some events (a TestEvent of 22.10) end in two empty lines, so the next frame opens with one.
            yield from self._read([bare] if bare else (), answers=answers)
        elif self._reads_all or not frame.startswith(EVENT) or (answers and ACTION_ID in frame):
            yield Message(frame, _opening(frame, b"Event"))

    def _check_size(self, frame: bytes | bytearray) -> None:
        if len(frame) > self._max_frame:
            raise RemoteProtocolError(f"an AMI message of more than {self._max_frame} bytes")


def encode_action(name: str, fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), action_id: str = "") -> bytes:
    """An action for the PBX. Pairs may repeat a header (`Variable`).

    Raises:
        LocalProtocolError: a name or value would break out of its line; nothing is produced.
    """
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    # ActionID comes second: Asterisk names it even when it refuses a later line.
    opening = [("Action", name), ("ActionID", action_id)] if action_id else [("Action", name)]
    return _encode([*opening, *pairs])


def encode_message(headers: Iterable[tuple[str, str]]) -> bytes:
    """What a PBX sends: the inverse of `AmiReader`, with Asterisk's escapes where Asterisk escapes.

    Raises:
        LocalProtocolError: a name or value would break out of its line.
    """
    pairs = list(headers)
    event = pairs[0][1] if pairs and pairs[0][0] == "Event" else ""
    return _encode((name, escape_c(value) if _is_escaped(event, name) else value) for name, value in pairs)


def escape_c(text: str) -> str:
    r"""As Asterisk's ast_escape_c(): `О'Нил` becomes `О\'Нил`."""
    return text.translate(TO_ESCAPE)


def unescape_c(text: str) -> str:
    """Undo `escape_c`; a backslash that begins no escape stays."""
    return ESCAPED.sub(lambda match: UNESCAPES[match[1]], text)


def _kind(event: str, only: Only) -> _Kind:
    if event not in only:
        return _Kind(event)
    header, values = only[event]
    return _Kind(event, _start(header), frozenset(value.encode() for value in values))


@lru_cache(maxsize=1024)
def _start(name: str) -> bytes:
    """What stands before the value of a header, the way Asterisk writes them all."""
    return b"\r\n%b: " % name.encode()


@lru_cache(maxsize=1024)
def _starts(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(_start(name) for name in names)


def _opening(frame: bytes, kind: bytes) -> str:
    """What the first line says, when it says that the frame is of this kind."""
    name, _, value = frame.partition(LINE_END)[0].partition(b":")
    return value.decode(errors="replace").removeprefix(" ") if name == kind else ""


def _decode(frame: bytes, event: str) -> tuple[tuple[str, str], ...]:
    # Not splitlines(): a caller's name may hold U+2028 or \x85, which are no line ends on this wire.
    parts = [line.partition(":") for line in frame.decode(errors="replace").split("\r\n")]
    headers = ((name, value.removeprefix(" ")) for name, _, value in parts)
    return tuple((name, unescape_c(value) if _is_escaped(event, name) else value) for name, value in headers)


def _is_escaped(event: str, header: str) -> bool:
    if header == "Value":
        return event == "VarSet"
    return header.endswith(SNAPSHOT_NAMES) and header != RAW_NAME and event not in RAW_EVENTS


def _encode(headers: Iterable[tuple[str, str]]) -> bytes:
    lines = []
    for name, value in headers:
        if not name or ":" in name or FORBIDDEN.search(name) or FORBIDDEN.search(value):
            # The value stays out of the message: it may be a secret, and it is hostile.
            raise LocalProtocolError(f"an AMI header {name[:40]!r} with a forbidden character")
        lines.append(f"{name}: {value}\r\n")
    try:
        return ("".join(lines) + "\r\n").encode()
    except UnicodeEncodeError as exc:
        raise LocalProtocolError("an AMI header that is no Unicode text") from exc
