"""The spool on disk: where finished calls wait for PostgreSQL, whatever becomes of this process meanwhile.

All work with files is done one piece after another by a thread of its own, so a slow disk delays nothing but the spool.
One folder, one process: the second daemon on a `state_dir` is refused.

    async with DiskSpool(state_dir / "spool", limit_bytes=64 << 20) as spool: ...
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from vochi_agent.calls.model import CallFinished
from vochi_agent.errors import ConfigError, SpoolUnavailable
from vochi_agent.ports import LedgerEntry, SpoolState

from .segments import Line, Position, Segments
from .spool_format import decode, encode

__all__ = ["DiskSpool"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class DiskSpool:
    """Fulfils `ports.Spool`.

    A folder that cannot be used (read-only, no space) does not stop the daemon: it is said once, shown in `state`, and
    tried again with every `append`.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch, to date the loss of what has no time of its own."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._segments = Segments(folder, limit_bytes=limit_bytes)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._ahead: deque[tuple[LedgerEntry, Position]] = deque()
        self._done = self._forgotten = Position(0, 0, 0)
        # Two counters with one writer each, the thread and the event loop: their difference needs no lock.
        self._appended = 0
        self._taken = 0
        self._dropped = 0
        self._lost_since: datetime | None = None
        self._noted_loss: datetime | None = None
        self._problem = ""
        self._full = False

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BlockingIOError as exc:
            raise ConfigError([f"daemon.state_dir: {exc.strerror}; every daemon needs a state_dir of its own"]) from exc
        except OSError as exc:
            self._failed(exc)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._in_thread(self._tidy, self._done)
        await self._in_thread(self._segments.close)
        self._thread.shutdown(wait=False)

    @property
    def state(self) -> SpoolState:
        """See `ports.Spool.state`."""
        return SpoolState(
            calls=self._appended - self._taken,
            bytes=self._segments.size,
            limit_bytes=self._limit_bytes,
            dropped=self._dropped,
            lost_since=self._lost_since,
            problem=self._problem,
        )

    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.Spool.append`."""
        try:
            kept = await self._in_thread(self._append, entries)
        except OSError as exc:
            self._failed(exc)
            raise SpoolUnavailable(f"the spool cannot be written: {exc}") from exc
        self._works()
        if dropped := entries[kept:]:
            if not self._full:
                log.error(
                    "The spool of %d bytes is full; further finished calls are left to recovery",
                    self._limit_bytes,
                    extra={"action": "spool_full"},
                )
            self.lose(dropped)
            await self._in_thread(self._tidy, self._done)
        self._full = bool(dropped)

    async def oldest(self, limit: int) -> Sequence[LedgerEntry]:
        """See `ports.Spool.oldest`."""
        if not self._ahead:
            for line in await self._in_thread(self._read, self._done, limit):
                self._take(line)
        return [entry for entry, _ in self._ahead]

    def advance(self) -> None:
        """See `ports.Spool.advance`; the disk learns it with the next batch."""
        _, self._done = self._ahead.popleft()
        self._taken += 1

    def lose(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.Spool.lose`; the disk learns it with the next batch."""
        self._lose(len(entries), self._begun(entries))

    async def gap_filled(self) -> None:
        """See `ports.Spool.gap_filled`."""
        self._lost_since = None
        await self._in_thread(self._tidy, self._done)

    def _take(self, line: Line) -> None:
        try:
            if line.text is not None:
                self._ahead.append((decode(line.text), line.behind))
                return
            reason = "cannot be read"
        except ValueError as exc:
            reason = str(exc)
        log.error(
            "%d finished calls of the spool are damaged and left to recovery: %s",
            line.lines,
            reason,
            extra={"action": "spool_damaged"},
        )
        self._lose(line.lines, line.begun)
        self._taken += line.lines
        if self._ahead:
            self._ahead[-1] = (self._ahead[-1][0], line.behind)
        else:
            self._done = line.behind

    def _lose(self, calls: int, since: datetime) -> None:
        self._dropped += calls
        self._lost_since = min(self._lost_since or since, since)

    # --- in the thread ---

    def _open(self) -> None:
        self._done, waiting = self._segments.open()
        self._forgotten = self._done
        self._appended += waiting
        self._noted_loss = self._segments.lost_since()
        if self._noted_loss is not None:
            self._lost_since = min(self._lost_since or self._noted_loss, self._noted_loss)

    def _append(self, entries: Sequence[LedgerEntry]) -> int:
        if not self._segments.opened:
            self._open()
        kept = self._segments.append([encode(entry) for entry in entries], self._begun(entries))
        self._appended += kept
        return kept

    def _read(self, done: Position, limit: int) -> list[Line]:
        self._tidy(done)
        lines = self._segments.read(done, limit)
        if not lines:
            self._appended = self._taken
        return lines

    def _tidy(self, done: Position) -> None:
        """Note on disk what is done with and since when calls are lost; nothing breaks when the disk refuses."""
        if not self._segments.opened:
            return
        try:
            if done != self._forgotten:
                self._segments.forget(done)
                self._forgotten = done
            if self._lost_since != self._noted_loss:
                lost_since = self._lost_since
                self._segments.note_loss(lost_since)
                self._noted_loss = lost_since
        except OSError as exc:
            self._failed(exc)

    def _begun(self, entries: Sequence[LedgerEntry]) -> datetime:
        """A moment that none of these calls precedes: a merge has no time of its own."""
        ends = [entry.call.ended_at for entry in entries if isinstance(entry, CallFinished)]
        return min([*ends, datetime.fromtimestamp(self._clock(), UTC)])

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _failed(self, exc: OSError) -> None:
        if not self._problem:
            log.error(
                "The spool in %s cannot be used, finished calls wait in memory only: %s",
                self._folder,
                exc,
                extra={"action": "spool_lost"},
            )
        self._problem = str(exc)

    def _works(self) -> None:
        if self._problem:
            log.info("The spool in %s works again", self._folder, extra={"action": "spool_back"})
        self._problem = ""
