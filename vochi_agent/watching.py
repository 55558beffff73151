"""Keeps the ledger of watched time while a PBX is watched: what the ledger says is complete is complete.

Invariant: a span reaches only as far as is proven: the PBX has answered a Ping that was sent later on the connection
over which its events come, every call that it told of is stored, and no clock has jumped meanwhile.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from vochi_agent.errors import NotReachable, VochiError

__all__ = ["Spans", "WatchKeeper"]

log = logging.getLogger(__name__)

PERIOD_S: Final = 2.0
# Asterisk may send an answer before events that happened just before it.
LAG_S: Final = 1.0
# Clocks differ by so much at most between two looks; more is a jump, and nobody knows what happened in it.
JUMP_S: Final = 5.0


class Spans(Protocol):
    """The ledger. Every method raises StoreUnavailable and may be repeated."""

    async def open_span(self, enterprise_number: str, at: datetime) -> int:
        """A time of watching begins; returns its id."""
        ...

    async def advance(self, span: int, until: datetime) -> bool:
        """Everything that ended until then is stored. False when the span is no more."""
        ...


@dataclass(slots=True, eq=False)
class _Watch:
    """One unbroken time of watching; `id` is None until the ledger has it."""

    since: float
    id: int | None = None


class WatchKeeper:
    """Watches over the watching of one enterprise's PBX.

    Args:
        ping: Asks the PBX for an answer over the connection of this moment. Raises NotReachable.
        pbx_time: Now by the PBX's clock, epoch seconds; after `ping` as the PBX said itself.
        monotonic: Seconds, of a clock that never jumps.
        all_stored: Every finished call that was told is in the ledger.
        dropped: How many calls were lost so far because there was no room for them.
        recover: Wakes whoever closes gaps.
        ready: Set when the ledger's tables are there.
    """

    def __init__(
        self,
        enterprise_number: str,
        spans: Spans,
        *,
        ping: Callable[[], Awaitable[object]],
        pbx_time: Callable[[], float],
        monotonic: Callable[[], float],
        all_stored: Callable[[], bool],
        dropped: Callable[[], int],
        recover: Callable[[], None],
        ready: asyncio.Event,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._spans = spans
        self._ping = ping
        self._pbx_time = pbx_time
        self._monotonic = monotonic
        self._all_stored = all_stored
        self._dropped = dropped
        self._recover = recover
        self._ready = ready
        self._watch: _Watch | None = None
        self._begun = asyncio.Event()
        self._ahead = 0.0  # the PBX's clock minus the monotonic one
        self._lost = 0

    def connected(self, at: float) -> None:
        """Everything alive at this moment (epoch seconds, PBX) is known, and everything after it will be told."""
        self._watch = _Watch(at)
        self._ahead = self._pbx_time() - self._monotonic()
        self._begun.set()
        self._recover()

    def interrupted(self) -> None:
        """From here on something may be missed."""
        self._watch = None

    def horizon(self) -> datetime:
        """Where the time begins that is being watched; now, while nobody watches."""
        at = self._pbx_time() if self._watch is None else self._watch.since
        return datetime.fromtimestamp(at, UTC)

    async def run(self) -> None:
        """Keep the ledger for ever."""
        await self._ready.wait()
        while True:
            try:
                await self.advance()
            except NotReachable as exc:
                # Whoever keeps that connection says so; the span ends where it was proven last.
                log.debug("The ledger of watched time waits: %s", exc, extra={"action": "watch_waits"})
            except VochiError as exc:
                log.warning("The ledger of watched time cannot be kept: %s", exc, extra={"action": "watch_refused"})
            # Where watching begins is put down at once: before the first span of all, nobody would look for calls.
            self._begun.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._begun.wait()

    async def advance(self) -> None:
        """Put down what is proven now. Raises NotReachable."""
        watch = self._watch
        if watch is None:
            return
        asked = self._monotonic()
        await self._ping()
        if self._watch is not watch:
            return
        # The answer says how the PBX's clock stands; before it a step of ours would look like one of the PBX.
        ahead = self._pbx_time() - self._monotonic()
        at, jump = asked + ahead, ahead - self._ahead
        self._ahead = ahead  # a slow drift is no jump
        if abs(jump) > JUMP_S:
            log.warning("The clock of the PBX has jumped; what it did is read again", extra={"action": "clock_jump"})
            self.connected(at)
            return
        if not self._all_stored():
            return
        if self._dropped() != self._lost:
            self._lost = self._dropped()
            self.connected(at)
            return
        if watch.id is None:
            watch.id = await self._spans.open_span(self._enterprise_number, datetime.fromtimestamp(watch.since, UTC))
        until = max(watch.since, at - LAG_S)
        if not await self._spans.advance(watch.id, datetime.fromtimestamp(until, UTC)) and self._watch is watch:
            self.connected(at)
