"""Tells the dialplan every second that we can answer: a global variable on the PBX, in the PBX's own time.

The dialplan skips an agent whose `VOCHI_ALIVE_<instance>` is older than 5 s, so the beat must mean what it says: it is
sent only after our own FastAGI door has answered us, half a second ago at most.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from vochi_agent.errors import ActionFailed, NotReachable
from vochi_agent.protocols.ami import Message

__all__ = ["Door", "Heartbeat", "Pbx"]

PERIOD_S = 1.0
ACTION_TIMEOUT_S = 2.0
# A hundred PBXs ask a hundred times a second whether the one door answers.
FRESH_S = 0.5

log = logging.getLogger(__name__)


class Pbx(Protocol):
    """The AMI actions a beat needs."""

    async def action(
        self, name: str, fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), within: float | None = None
    ) -> Message:
        """One action and its answer. Raises NotReachable, ActionFailed."""
        ...


class Door:
    """Our FastAGI door, knocked at once for everybody who asks at about the same time.

    Args:
        knock: Whether it answers right now.
        clock: Monotonic seconds.
    """

    def __init__(self, knock: Callable[[], Awaitable[bool]], clock: Callable[[], float]) -> None:
        self._knock = knock
        self._clock = clock
        self._knocking = asyncio.Lock()
        self._knocked_at = -math.inf
        self._answered = False

    async def answers(self) -> bool:
        """Whether it answered within the last half second."""
        async with self._knocking:
            if self._clock() - self._knocked_at >= FRESH_S:
                self._answered = await self._knock()
                self._knocked_at = self._clock()
            return self._answered


class Heartbeat:
    """Beats on one PBX while it runs."""

    def __init__(self, instance: str, pbx: Pbx, answers: Callable[[], Awaitable[bool]]) -> None:
        """`answers` says whether the FastAGI door answers."""
        self._variable = f"VOCHI_ALIVE_{instance}"
        self._pbx = pbx
        self._answers = answers
        self._refused = False

    async def run(self) -> None:
        """Beat for ever; a PBX that is away is simply tried again the next second."""
        while True:
            if await self._answers():
                await self._beat()
            await asyncio.sleep(PERIOD_S)

    async def _beat(self) -> None:
        try:
            pong = await self._pbx.action("Ping", within=ACTION_TIMEOUT_S)
            now = pong.get("Timestamp").partition(".")[0]
            fields = (("Variable", self._variable), ("Value", now))
            if now:
                await self._pbx.action("Setvar", fields, within=ACTION_TIMEOUT_S)
        except NotReachable:
            return
        except ActionFailed as error:
            if not self._refused:
                log.warning(
                    "the PBX refuses the heartbeat, so its dialplan will skip us (AMI write class `call`): %s",
                    error,
                    extra={"action": "heartbeat_refused"},
                )
            self._refused = True
        else:
            self._refused = False
