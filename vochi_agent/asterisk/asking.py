"""Questions to a PBX that change nothing: functions of its dialplan, settings of its files, the dialplan itself.

`Getvar` evaluates functions for whoever has the class call or reporting; `AST_CONFIG()` reads the files that Asterisk
has read, `ShowDialPlan` lists what it has loaded (seen on 16.28 and 22.10). What is not loaded or not allowed gives
nothing: "" means unknown here, never "no".
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from vochi_agent.config import AsteriskConfig
from vochi_agent.errors import ActionFailed
from vochi_agent.protocols.ami import Message

from .ami import AmiConnection, AmiPeer, connect

__all__ = ["Questions", "asking"]

# A file that repeats a key more often than this is not one that people wrote.
MOST_VALUES: Final = 50
# FreePBX has some ten thousand priorities.
DIALPLAN_S: Final = 30.0


class Questions:
    """Asks over one connection. Every method raises NotReachable when the PBX goes away."""

    def __init__(self, connection: AmiConnection) -> None:
        self._connection = connection

    async def value(self, variable: str) -> str:
        """A global variable, or what a function gives; "" when there is none, or we may not ask."""
        try:
            return (await self._connection.action("Getvar", {"Variable": variable})).get("Value")
        except ActionFailed:
            return ""

    async def setting(self, file: str, section: str, key: str) -> str:
        """The last value of a key, which is the one that counts."""
        return await self.value(f"AST_CONFIG({file},{section},{key},-1)")

    async def settings(self, file: str, section: str, key: str) -> list[str]:
        """Every value of a key that may be given several times."""
        found: list[str] = []
        while len(found) < MOST_VALUES and (
            value := await self.value(f"AST_CONFIG({file},{section},{key},{len(found)})")
        ):
            found.append(value)
        return found

    async def dialplan(self) -> Sequence[Message] | None:
        """Every priority of every extension; None when our user may not ask (class reporting, or config)."""
        try:
            return await self._connection.list_action("ShowDialPlan", within=DIALPLAN_S)
        except ActionFailed:
            return None


@asynccontextmanager
async def asking(config: AsteriskConfig) -> AsyncIterator[Questions]:
    """A connection of its own, as the daemon's user.

    Raises:
        NotReachable: nobody answers on the AMI address.
        LoginRefused: our user is not let in.
    """
    peer = AmiPeer(
        host=config.ami.host,
        port=config.ami.port,
        username=config.ami_username,
        secret=config.ami_secret.get_secret_value(),
    )
    async with connect(peer, on_event=lambda _event: None, wanted=(), clock=time.time) as connection:
        yield Questions(connection)
