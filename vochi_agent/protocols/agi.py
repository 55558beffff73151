"""FastAGI, the agent's half: bytes from Asterisk become requests and replies, variables become commands. Pure.

Invariants: nothing is decoded before it is complete; whatever arrives is bounded; whatever is sent is one line that
Asterisk reads back as exactly one variable and one value. Asterisk takes strictly one command at a time: it reads
through a buffered FILE but polls the descriptor, so a second command in the same segment hangs the session for ever
(Asterisk 22.10). Sending them one by one is the caller's duty.

The other half, what Asterisk itself says and understands, is `agi_pbx`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from vochi_agent.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_COMMAND_BYTES",
    "MAX_HEADER_BYTES",
    "MAX_HEADER_LINES",
    "AgiEvent",
    "AgiHangup",
    "AgiReader",
    "AgiReply",
    "AgiRequest",
    "set_variable",
]

# A caller's name and number may be ten kilobytes each; he is answered like anybody.
MAX_HEADER_BYTES = 32768
MAX_HEADER_LINES = 64
MAX_REPLY_BYTES = 8192
# Asterisk before July 2025 reads a command into 2048 bytes, NUL included, and takes the rest for the next command.
MAX_COMMAND_BYTES = 2047

FIELD_PREFIX = "agi_"
ARGUMENT = "arg_"
GREETING = FIELD_PREFIX.encode()
# What Asterisk writes where it has no value (setup_env in res_agi.c).
UNSET = "unknown"

END = b'"\n'
FIELD = re.compile(f"^{FIELD_PREFIX}([^:\n]*):(.*)", re.MULTILINE)
REPLY = re.compile(r"(?P<code>\d{3})(?P<more>[ -])(?P<text>.*)", re.DOTALL)
RESULT = re.compile(r"result=(?P<result>\S*)(?: \((?P<data>.*)\))?(?: .*)?", re.DOTALL)
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\([A-Za-z]+\))?")
# C0, DEL, C1 and the two Unicode line ends: none of them has business in a variable.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class AgiRequest:
    """The environment Asterisk sends first. Every value is hostile: names and numbers come from telephone lines.

    Attributes:
        fields: Values by name without the `agi_` prefix; of a repeated name the first, of arguments the last.
        path: What stands after the host in `agi://host/a/b`: ("a", "b"); a query is cut off.
        arguments: `agi_arg_1` and so on; empty arguments are kept in their place.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The first part of the path, "" when there is none."""
        return self.path[0] if self.path else ""

    @property
    def caller_number(self) -> str:
        """`CALLERID(num)` as the line gave it, "" when unset."""
        return self._known("callerid")

    @property
    def caller_name(self) -> str:
        """`CALLERID(name)` before we touch it, "" when unset."""
        return self._known("calleridname")

    @property
    def dnid(self) -> str:
        """The number that was dialled from outside, "" when unset."""
        return self._known("dnid")

    @property
    def extension(self) -> str:
        """The extension of the dialplan that runs the AGI."""
        return self.fields.get("extension", "")

    @property
    def context(self) -> str:
        """The context of the dialplan that runs the AGI."""
        return self.fields.get("context", "")

    @property
    def channel(self) -> str:
        """The channel's name, like `PJSIP/gsm1-0000002a`."""
        return self.fields.get("channel", "")

    @property
    def uniqueid(self) -> str:
        """The channel's Uniqueid; for the first channel of a call also its Linkedid."""
        return self.fields.get("uniqueid", "")

    def _known(self, name: str) -> str:
        value = self.fields.get(name, "")
        return "" if value == UNSET else value


@dataclass(frozen=True, slots=True)
class AgiReply:
    """The answer to one command.

    Attributes:
        code: 200 done, 510 unknown command, 511 not on a dead channel, 520 wrong usage.
        result: What follows `result=` of a 200, else "".
        data: What stands in parentheses behind it; of other codes the text, of a 520 all its lines.
    """

    code: int
    result: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True)
class AgiHangup:
    """The line `HANGUP`: the caller is gone. Asterisk would still answer commands, but nobody needs them."""


AgiEvent = AgiRequest | AgiReply | AgiHangup

# What Asterisk says to nearly every command, so it is known without being read.
DONE_LINE = b"200 result=1\n"
DONE = AgiReply(200, "1")


class AgiReader:
    """Turns the bytes of one session into events: one request, then replies and perhaps a hangup."""

    __slots__ = ("_buffer", "_in_header", "_usage")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_header = True
        self._usage: list[str] = []

    def feed(self, data: bytes) -> list[AgiEvent]:
        """Take the next bytes, however they are cut, and return what they complete.

        Raises:
            RemoteProtocolError: not AGI, or beyond a limit; the session is of no use any more.
        """
        if data == DONE_LINE and not (self._buffer or self._usage or self._in_header):
            return [DONE]
        scanned = max(0, len(self._buffer) - 1)
        self._buffer += data
        events: list[AgiEvent] = []
        if self._in_header:
            request = self._take_request(scanned)
            if request is None:
                return events
            events.append(request)
            self._in_header = False
        while (line := self._take_line()) is not None:
            if (event := self._read_line(line)) is not None:
                events.append(event)
        return events

    def _take_line(self) -> str | None:
        end = self._buffer.find(b"\n")
        if (len(self._buffer) if end < 0 else end) > MAX_REPLY_BYTES:
            raise RemoteProtocolError(f"an AGI reply is longer than {MAX_REPLY_BYTES} bytes")
        if end < 0:
            return None
        line = _text(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _take_request(self, scanned: int) -> AgiRequest | None:
        buffer = self._buffer
        if not buffer.startswith(GREETING) and not GREETING.startswith(buffer):
            raise RemoteProtocolError("the peer does not speak AGI")
        end = buffer.find(b"\n\n", scanned)
        whole = end >= 0
        # The first newline of the two that end the header may be here without the second.
        if (end if whole else len(buffer) - 1) > MAX_HEADER_BYTES:
            raise RemoteProtocolError(f"an AGI environment is longer than {MAX_HEADER_BYTES} bytes")
        if buffer.count(b"\n", 0, end + 1 if whole else len(buffer)) > MAX_HEADER_LINES:
            raise RemoteProtocolError(f"an AGI environment has more than {MAX_HEADER_LINES} lines")
        if not whole:
            return None
        header = _text(buffer[:end])
        del buffer[: end + 2]
        return _request(header)

    def _read_line(self, line: str) -> AgiReply | AgiHangup | None:
        if self._usage:
            return self._read_usage_line(line)
        if line == "HANGUP":
            return AgiHangup()
        match = REPLY.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("an AGI reply does not begin with a code")
        if match["more"] == "-":
            self._usage = [line]
            return None
        return _reply(int(match["code"]), match["text"])

    def _read_usage_line(self, line: str) -> AgiReply | None:
        """The text of a 520 runs until its code comes again followed by a space."""
        code = self._usage[0][:3]
        self._usage.append(line)
        if line.startswith(f"{code} "):
            text, self._usage = "\n".join(usage[4:] if usage[:3] == code else usage for usage in self._usage), []
            return AgiReply(int(code), data=text)
        if sum(map(len, self._usage)) > MAX_REPLY_BYTES:
            raise RemoteProtocolError(f"an AGI reply is longer than {MAX_REPLY_BYTES} bytes")
        return None


def set_variable(name: str, value: str) -> bytes:
    """The command that sets a channel variable or a dialplan function such as `CALLERID(name)`.

    The value is quoted for Asterisk's own splitter (parse_args in res_agi.c: quotes join, a backslash escapes), control
    characters are left out, and what would make the line too long is cut off between two characters.

    Raises:
        LocalProtocolError: `name` is no name of a variable.
    """
    head = _head(name)
    # What is printable holds no control character, and nearly everything is.
    shown = value if value.isprintable() else CONTROLS.sub("", value)
    command = head + _escaped(shown) + END
    if len(command) <= MAX_COMMAND_BYTES:
        return command
    return head + _beginning(shown, MAX_COMMAND_BYTES - len(head) - len(END)) + END


@lru_cache
def _head(name: str) -> bytes:
    """The command up to its value; the agent sets a dozen of variables in all its life."""
    if not VARIABLE_NAME.fullmatch(name):
        raise LocalProtocolError(f"{name!r} is no name of a channel variable")
    return f'SET VARIABLE {name} "'.encode()


def _beginning(value: str, room: int) -> bytes:
    """As much of `value` as fits, escaped, into so many bytes."""
    kept, used = [], 0
    for character in value:
        piece = _escaped(character)
        used += len(piece)
        if used > room:
            break
        kept.append(piece)
    return b"".join(kept)


def _escaped(value: str) -> bytes:
    """As Asterisk reads it inside quotes; a lone surrogate becomes `?`."""
    return value.replace("\\", r"\\").replace('"', r"\"").encode("utf-8", "replace")


def _text(raw: bytearray) -> str:
    """Names in other encodings than UTF-8 do come from telephone lines; they cost letters, never the session."""
    return raw.decode("utf-8", "replace")


def _request(header: str) -> AgiRequest:
    """A line that is no field is skipped: part of a hostile value must not cost the caller his name.

    PJSIP unescapes `%0a` in a caller's number (seen on 16.28 and 22.10), so callers may write lines of their own. What
    Asterisk knows better stands before the caller's number, but the arguments, which stand last.
    """
    lines = FIELD.findall(header)
    fields = {name: value.strip() for name, value in reversed(lines)}
    fields |= {name: value.strip() for name, value in lines if name.startswith(ARGUMENT)}
    script = fields.get("network_script", "").partition("?")[0]
    return AgiRequest(fields, tuple(part for part in script.split("/") if part), _arguments(fields))


def _arguments(fields: Mapping[str, str]) -> tuple[str, ...]:
    arguments: list[str] = []
    while (value := fields.get(f"{ARGUMENT}{len(arguments) + 1}")) is not None:
        arguments.append(value)
    return tuple(arguments)


def _reply(code: int, text: str) -> AgiReply:
    match = RESULT.fullmatch(text)
    if match is None:
        return AgiReply(code, data=text)
    return AgiReply(code, match["result"], match["data"] or "")
