"""Finished calls on their way to the ledger: in memory for a moment, on disk while PostgreSQL is away.

Two tasks. One takes what the PBXs tell: stores it at once when nothing waits on disk and PostgreSQL answers quickly,
else puts it on the disk. The other stores what waits on disk, oldest first, and tries again until it succeeds.

What waits is offered several at a time: calls that end together share a transaction. Invariants: entries are stored in
the order they came in; an entry leaves memory only when it is stored or on disk, and leaves the disk only when it is
stored; memory and disk are bounded, and what neither has room for is counted and dated.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from vochi_agent.errors import SpoolUnavailable, StoreRefused, StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import LedgerEntry, Spool, SpoolState
from vochi_agent.supervisor import Backoff

__all__ = ["Backlog", "BacklogState"]

log = logging.getLogger(__name__)

# Entries in memory while the disk is out of order too: half a day of a busy office, 2 KB each.
MAX_IN_MEMORY: Final = 20_000
# PostgreSQL answers in milliseconds. A finished call is not left in memory, where kill -9 finds it, for longer.
PATIENCE_S: Final = 0.5
BATCH: Final = 64
# A transaction of so many takes a tenth of that patience.
TOGETHER: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogState:
    """What is not stored yet.

    Attributes:
        in_memory: Entries that are neither stored nor on disk.
        spool: Those on disk, and what was lost.
    """

    in_memory: int
    spool: SpoolState

    @property
    def waiting(self) -> int:
        """All entries that are not stored yet."""
        return self.in_memory + self.spool.calls


class Backlog:
    """Takes entries without waiting and gives each to `store` until it succeeds.

    Args:
        store: Keeps the first of these entries, at least one, or none of them; returns how many. A repetition is
            harmless. Raises StoreUnavailable, or StoreRefused when some of them never can be kept.
        max_in_memory: How many entries may wait in memory.
    """

    def __init__(
        self,
        store: Callable[[Sequence[LedgerEntry]], Awaitable[int]],
        spool: Spool,
        *,
        metrics: Metrics,
        max_in_memory: int = MAX_IN_MEMORY,
    ) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._max_in_memory = max_in_memory
        self._fresh: deque[LedgerEntry] = deque()
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._on_disk = asyncio.Event()
        self._ready = asyncio.Event()
        self._overflowing = False
        self._dropped = 0
        self._why = ""  # they wait

    @property
    def state(self) -> BacklogState:
        """How it stands now."""
        return BacklogState(in_memory=len(self._fresh), spool=self._spool.state)

    def put(self, entry: LedgerEntry) -> None:
        """Take an entry; never waits, never raises."""
        if len(self._fresh) >= self._max_in_memory:
            self._overflow(entry)
        else:
            self._fresh.append(entry)
            self._arrived.set()
            self._settled.clear()
        self._show()

    def store_ready(self) -> None:
        """The ledger's tables are there: storing may begin. Until then everything waits on disk."""
        self._ready.set()

    async def settled(self) -> None:
        """Return when everything that was put is stored or on disk."""
        await self._settled.wait()

    async def run(self) -> None:
        """Work for ever; when cancelled, what is still in memory goes to the disk."""
        if self._spool.state.calls:
            self._on_disk.set()
        self._show()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._take_in(), name="finished calls")
                tasks.create_task(self._catch_up(), name="calls on disk")
        finally:
            while self._fresh and await self._moved_to_disk():
                pass
            if self._fresh:
                log.error("%d finished calls are left to recovery", len(self._fresh), extra={"action": "calls_lost"})

    async def _take_in(self) -> None:
        backoff = Backoff()
        while True:
            await self._arrived.wait()
            if await self._stored_at_once() or await self._moved_to_disk():
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_wait())

    async def _stored_at_once(self) -> bool:
        spool = self._spool.state
        if spool.calls or not self._ready.is_set():
            return False
        try:
            # With no disk to turn to, impatience would cut off a slow database again and again.
            async with asyncio.timeout(None if spool.problem else PATIENCE_S):
                stored = await self._store_or_give_up(list(islice(self._fresh, TOGETHER)))
        except (StoreUnavailable, TimeoutError) as exc:
            self._metrics.store_failures.inc()
            self._why = f": {exc}" if str(exc) else ""
            return False
        self._settle(stored)
        return True

    async def _moved_to_disk(self) -> bool:
        batch = list(islice(self._fresh, BATCH))
        try:
            await self._spool.append(batch)
        except SpoolUnavailable:
            self._show()
            return False
        self._settle(len(batch))
        if not self._on_disk.is_set():
            # The first line of an outage; the last one is in `_catch_up`.
            log.warning("Finished calls wait on disk for PostgreSQL%s", self._why, extra={"action": "spool_begins"})
        self._on_disk.set()
        return True

    async def _catch_up(self) -> None:
        await self._ready.wait()
        while True:
            await self._on_disk.wait()
            waiting = await self._spool.oldest(BATCH)
            while waiting:
                stored = await self._store_in_the_end(waiting[:TOGETHER])
                for _ in range(stored):
                    self._spool.advance()
                waiting = waiting[stored:]
                self._show()
            if not self._spool.state.calls:
                self._on_disk.clear()
                log.info("Every call that waited on disk is stored", extra={"action": "spool_empty"})
                await self._spool.oldest(BATCH)  # lets go of the files
                self._show()

    async def _store_in_the_end(self, entries: Sequence[LedgerEntry]) -> int:
        """Store the first of these; returns how many."""
        backoff = Backoff()
        while True:
            try:
                return await self._store_or_give_up(entries)
            except StoreUnavailable:
                self._metrics.store_failures.inc()
                await asyncio.sleep(backoff.next_wait())

    async def _store_or_give_up(self, entries: Sequence[LedgerEntry]) -> int:
        try:
            return await self._store(entries)
        except StoreRefused:
            if len(entries) > 1:
                return await self._store_or_give_up(entries[:1])
            # Kept, it would end every daemon that comes to it, and hold up all calls behind it.
            log.exception("A finished call cannot be stored and is left out", extra={"action": "call_refused"})
            self._spool.lose(entries)
            return 1

    def _settle(self, count: int) -> None:
        for _ in range(count):
            self._fresh.popleft()
        if not self._fresh:
            self._arrived.clear()
            self._settled.set()
            self._overflowing = False
        self._show()

    def _overflow(self, entry: LedgerEntry) -> None:
        if not self._overflowing:
            log.error(
                "%d finished calls wait in memory, PostgreSQL and disk both away; further ones are left to recovery",
                self._max_in_memory,
                extra={"action": "calls_overflow"},
            )
        self._overflowing = True
        self._spool.lose([entry])

    def _show(self) -> None:
        state = self.state
        self._metrics.calls_waiting.set(state.waiting)
        self._metrics.spool_calls.set(state.spool.calls)
        self._metrics.spool_bytes.set(state.spool.bytes)
        self._metrics.spool_up.set(not state.spool.problem)
        self._metrics.calls_dropped.inc(state.spool.dropped - self._dropped)
        self._dropped = state.spool.dropped
