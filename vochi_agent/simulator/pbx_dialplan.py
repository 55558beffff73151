"""The guarded subroutine of `dialplan/`, as the simulated PBX runs it: asks the daemon who calls, holds no call.

It skips the daemon when its heartbeat is old, leaves it after two seconds, and goes on in every case.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

from vochi_agent.errors import RemoteProtocolError
from vochi_agent.protocols.agi_pbx import AgiCommandReader, encode_environment, encode_reply, encode_usage_error

from .pbx_channels import Channel
from .pbx_switch import Switch

__all__ = ["CallerIdSubroutine", "Subroutine"]

HEARTBEAT_LIMIT_S = 5.0
# Set(TIMEOUT(absolute)=2) around the AGI.
GUARD_S = 2.0
READ_BYTES = 4096
SET_USAGE = " Usage: SET VARIABLE <variablename> <value>\n\tSets a variable to the current channel."


class Subroutine(Protocol):
    """What the dialplan runs for a call from outside before it dials anybody."""

    async def run(self, switch: Switch, channel: Channel, cut: "asyncio.Future[Channel]") -> None:
        """Returns when the dialplan goes on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerIdSubroutine:
    """Where the daemon is and how the dialplan calls it.

    Attributes:
        host: A literal address.
        arguments: What stands behind the URL: enterprise and line, or nothing.
        instance: Whose heartbeat guards the call; None calls without looking.
    """

    host: str
    port: int
    script: str = "callerid"
    arguments: tuple[str, ...] = ()
    instance: str | None = "a"

    async def run(self, switch: Switch, channel: Channel, cut: "asyncio.Future[Channel]") -> None:
        """Let the daemon set variables of the channel; when `cut` is done the caller is gone and so are we."""
        if not self._is_alive(switch):
            return
        status = "FAILURE"
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GUARD_S):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                status = "SUCCESS"
                try:
                    writer.write(self._environment(channel))
                    await self._converse(switch, channel, reader, writer, cut)
                finally:
                    writer.close()
        switch.set_variable(channel, "AGISTATUS", status)

    def _is_alive(self, switch: Switch) -> bool:
        if self.instance is None:
            return True
        beat = switch.variables.get(f"VOCHI_ALIVE_{self.instance}", "")
        try:
            return int(switch.clock()) - float(beat) <= HEARTBEAT_LIMIT_S  # ${EPOCH} is whole seconds
        except ValueError:
            return False

    def _environment(self, channel: Channel) -> bytes:
        fields = {
            "network_script": self.script,
            "request": f"agi://{self.host}:{self.port}/{self.script}",
            "channel": channel.name,
            "uniqueid": channel.uniqueid,
            "callerid": channel.caller.number,
            "calleridname": channel.caller.name,
            "dnid": channel.exten,
            "context": channel.context,
            "extension": channel.exten,
            "priority": str(channel.priority),
        }
        return encode_environment(fields, self.arguments)

    async def _converse(
        self,
        switch: Switch,
        channel: Channel,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cut: "asyncio.Future[Channel]",
    ) -> None:
        """One command, its reply, the next, until the daemon closes or the caller does (AGIEXITONHANGUP=yes)."""
        commands = AgiCommandReader()

        def tell_hangup(_cut: "asyncio.Future[Channel]") -> None:
            writer.write(b"HANGUP\n")
            writer.close()

        cut.add_done_callback(tell_hangup)
        try:
            while data := await reader.read(READ_BYTES):
                words = commands.feed(data)
                if words is not None:
                    writer.write(_obey(switch, channel, words))
        except RemoteProtocolError:
            # Two commands in one segment: Asterisk would never answer, and only the guard ends it.
            await asyncio.Event().wait()
        finally:
            cut.remove_done_callback(tell_hangup)


def _obey(switch: Switch, channel: Channel, words: list[str]) -> bytes:
    match [word.upper() for word in words[:2]], words[2:]:
        case ["SET", "VARIABLE"], [name, value]:
            switch.set_variable(channel, name, value)
            return encode_reply("1")
        case ["SET", "VARIABLE"], _:
            return encode_usage_error(SET_USAGE)
        case ["GET", "VARIABLE"], [name] if name in channel.variables:
            return encode_reply("1", channel.variables[name])
        case ["GET", "VARIABLE"], [_]:
            return encode_reply("0")
    return b"510 Invalid or unknown command\n"
