"""FastAGI, Asterisk's half: the environment it sends, the commands it understands, its replies. Pure.

For the PBX simulator and for tests that must not take our own word for what Asterisk would read. It follows
res_agi.c: setup_env for the environment, parse_args for the words of a command, agi_handle_command for the replies.
"""

from collections.abc import Mapping, Sequence

from vochi_agent.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["AgiCommandReader", "encode_environment", "encode_reply", "encode_usage_error", "split_command"]

# The buffer of a command in Asterisk before July 2025; later ones take 8192.
COMMAND_BUFFER_BYTES = 2048
# In the order of launch_netscript and setup_env; a client may lean on it, as we must not.
FIELDS = (
    "network",
    "network_script",
    "request",
    "channel",
    "language",
    "type",
    "uniqueid",
    "version",
    "callerid",
    "calleridname",
    "callingpres",
    "callingani2",
    "callington",
    "callingtns",
    "dnid",
    "rdnis",
    "context",
    "extension",
    "priority",
    "enhanced",
    "accountcode",
    "threadid",
)
DEFAULTS = {
    "network": "yes",
    "language": "en",
    "type": "PJSIP",
    "version": "22.10.1",
    "callerid": "unknown",
    "calleridname": "unknown",
    "callingpres": "0",
    "callingani2": "0",
    "callington": "0",
    "callingtns": "0",
    "dnid": "unknown",
    "rdnis": "unknown",
    "priority": "1",
    "enhanced": "0.0",
    "threadid": "139619934234304",
}


def encode_environment(fields: Mapping[str, str], arguments: Sequence[str] = ()) -> bytes:
    """What Asterisk sends first.

    Args:
        fields: Values by name without the `agi_` prefix; a missing or empty one is sent as Asterisk sends it unset.
        arguments: What stands behind the URL in `AGI(url,a,b)`.

    Raises:
        LocalProtocolError: a value holds a line end; Asterisk has none to send.
    """
    values = {name: fields.get(name) or DEFAULTS.get(name, "") for name in FIELDS}
    values |= {f"arg_{number}": argument for number, argument in enumerate(arguments, 1)}
    if any("\n" in value for value in values.values()):
        raise LocalProtocolError("a line end inside an AGI value")
    lines = [f"agi_{name}: {value}\n" for name, value in values.items()]
    return "".join([*lines, "\n"]).encode()


def encode_reply(result: str, data: str = "") -> bytes:
    """`200 result=…`, with `data` in parentheses when there is some."""
    return (f"200 result={result} ({data})\n" if data else f"200 result={result}\n").encode()


def encode_usage_error(usage: str) -> bytes:
    """The lines of a 520: a head, the usage as `agi show commands` prints it, an end."""
    return f"520-Invalid command syntax.  Proper usage follows:\n{usage}\n520 End of proper usage.\n".encode()


class AgiCommandReader:
    """Reads one command at a time, as Asterisk does."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[str] | None:
        """The words of the command that these bytes complete, None while it is incomplete.

        Raises:
            RemoteProtocolError: a second command came before the reply to the first, or a line fills the buffer:
                the one hangs a session of Asterisk for ever, the other is read as two commands.
        """
        self._buffer += data
        end = self._buffer.find(b"\n")
        if len(self._buffer if end < 0 else self._buffer[: end + 1]) >= COMMAND_BUFFER_BYTES:
            raise RemoteProtocolError(f"an AGI command of {COMMAND_BUFFER_BYTES} bytes or more")
        if end < 0:
            return None
        if end + 1 < len(self._buffer):
            raise RemoteProtocolError("an AGI command before the reply to the one before it")
        line = self._buffer[:end].decode("utf-8", "replace")
        self._buffer.clear()
        return split_command(line)


def split_command(line: str) -> list[str]:
    """The words of a command: quotes join, a backslash makes the next character an ordinary one."""
    words: list[str] = []
    quoted = escaped = False
    between = True
    for character in line:
        if character == "\\" and not escaped:
            escaped = True
            continue
        ordinary = escaped or (character != '"' and (quoted or character not in " \t"))
        escaped = False
        if ordinary:
            if between:
                words.append("")
                between = False
            words[-1] += character
        elif character == '"':
            quoted = not quoted
            if quoted and between:
                words.append("")
                between = False
        else:
            between = True
    return words
