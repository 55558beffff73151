"""Closes the gaps of one enterprise's ledger by itself: after a start, a reconnect, an overflow, and a partial call.

Invariant: a gap leaves the ledger only when everything that ended in it was read and stored; whatever fails is tried
again. Without CEL and CDR a gap stays, and is told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final, Protocol

from vochi_agent.calls.model import Call, Source
from vochi_agent.calls.watched import Gap, Span, joined
from vochi_agent.errors import NotReachable
from vochi_agent.metrics import Metrics
from vochi_agent.naming import RecoveredNames
from vochi_agent.recovery import Recovery, Report
from vochi_agent.supervisor import Backoff, keep_running

__all__ = ["Gaps", "Recoverer"]

log = logging.getLogger(__name__)

# cel_custom writes at once, tables may be written behind; and calls that end together are read together.
CEL_DELAY_S: Final = 3.0
LOOK_AGAIN_S: Final = 600.0
FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 60.0
# What was seen in part before a restart is looked up again when it is not older.
PARTIAL_WITHIN: Final = timedelta(hours=24)
# Before and after a partial call: its first and last rows, and calls so close to it share one reading.
AROUND: Final = timedelta(seconds=30)
# Gaps of a PBX that comes and goes are read as one, the time between them included.
READ_TOGETHER: Final = timedelta(hours=1)


class Gaps(Protocol):
    """The ledger of watched time. Every method raises StoreUnavailable and may be repeated."""

    async def gaps(self, enterprise_number: str, horizon: datetime) -> list[Gap]:
        """What was not watched, from the first span to the horizon, oldest first."""
        ...

    async def close_gap(self, enterprise_number: str, since: datetime, until: datetime) -> None:
        """Everything that ended in this time is stored now."""
        ...

    async def partial_calls(self, enterprise_number: str, since: datetime) -> list[Span]:
        """When the live calls that were seen only in part went on."""
        ...


class Recoverer:
    """Recovers one enterprise.

    Args:
        recovery: None when neither CEL nor CDR is configured.
        horizon: Where the time begins that is watched now (`WatchKeeper.horizon`).
        alive: Uniqueids of the PBX's channels now, None when it does not say.
        names: Asks who the new customers are (`Recovery(stored=names.add)`); runs with us.
        filled: Told when no gap is left that can be closed.
        ready: Set when the ledger's tables are there.
        delay_s: From what woke us to reading: what has just happened must have been written.
    """

    def __init__(
        self,
        enterprise_number: str,
        recovery: Recovery | None,
        gaps: Gaps,
        *,
        horizon: Callable[[], datetime],
        alive: Callable[[], Awaitable[AbstractSet[str] | None]],
        names: RecoveredNames,
        metrics: Metrics,
        ready: asyncio.Event,
        filled: Callable[[], Awaitable[None]] | None = None,
        delay_s: float = CEL_DELAY_S,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._recovery = recovery
        self._gaps = gaps
        self._horizon = horizon
        self._alive = alive
        self._names = names
        self._metrics = metrics
        self._count(Report())  # so that the first call ever recovered is a growth that alerts see
        self._ready = ready
        self._filled = filled
        self._delay_s = delay_s
        self._woken = asyncio.Event()
        self._woken.set()
        self._partial: list[Span] = []
        self._asked_for_partial = False
        self._told: set[Gap] = set()

    def trigger(self) -> None:
        """There may be a gap. Returns at once."""
        self._woken.set()

    def live_call_stored(self, call: Call) -> None:
        """A live call is in the ledger; one that was seen in part is made whole from the records."""
        if call.partial and call.source is Source.LIVE:
            self._partial.append(Span(call.started_at, call.ended_at))
            self._woken.set()

    async def run(self) -> None:
        """Close gaps for ever."""
        await self._ready.wait()
        async with asyncio.TaskGroup() as tasks:
            name = f"recovery of {self._enterprise_number}"
            backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
            tasks.create_task(keep_running(name, self._rounds, backoff=backoff), name=name)
            tasks.create_task(self._names.run(), name=f"names of recovered customers of {self._enterprise_number}")

    async def close_gaps(self) -> Report:
        """Close every gap there is, and make partial calls whole.

        Raises:
            RecordsUnavailable: a gap is still open.
            StoreUnavailable: a gap is still open.
        """
        gaps = await self._gaps.gaps(self._enterprise_number, self._horizon())
        self._show(gaps)
        if self._recovery is None:
            self._say_open(gaps)
            return Report()
        alive = await self._living() if gaps else None
        report = Report()
        for window in joined((Span(gap.since, gap.until) for gap in gaps), within=READ_TOGETHER):
            report += await self._close(self._recovery, window, alive)
            gaps = [gap for gap in gaps if gap.since >= window.until]
            self._show(gaps)
        report += await self._make_whole(self._recovery)
        if self._filled is not None:
            await self._filled()
        return report

    async def _rounds(self, up: Callable[[], None]) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(self._delay_s)
            self._woken.clear()
            try:
                await self.close_gaps()
            except NotReachable:
                self._woken.set()
                raise
            up()

    async def _close(self, recovery: Recovery, window: Span, alive: AbstractSet[str] | None) -> Report:
        report = await recovery.recover(window.since, window.until, alive)
        await self._gaps.close_gap(self._enterprise_number, window.since, window.until)
        self._count(report)
        log.info(
            "Closed a gap of %.0f s of %s: %d calls found, %d stored, %d corrected",
            (window.until - window.since).total_seconds(),
            self._enterprise_number,
            report.found,
            report.stored,
            report.corrected,
            extra={"action": "gap_closed"},
        )
        return report

    async def _make_whole(self, recovery: Recovery) -> Report:
        if not self._asked_for_partial:
            since = self._horizon() - PARTIAL_WITHIN
            self._partial += await self._gaps.partial_calls(self._enterprise_number, since)
            self._asked_for_partial = True
        report = Report()
        windows, self._partial = joined(self._partial, within=AROUND), []
        while windows:
            try:
                report += await recovery.recover(windows[0].since - AROUND, windows[0].until + AROUND)
            except NotReachable:
                self._partial += windows
                raise
            del windows[0]
        self._count(report)
        return report

    async def _living(self) -> AbstractSet[str] | None:
        try:
            return await self._alive()
        except NotReachable:
            return None  # whoever keeps that connection says so

    def _count(self, report: Report) -> None:
        for outcome, number in (("stored", report.stored), ("corrected", report.corrected), ("known", report.known)):
            self._metrics.recovered_calls.labels(self._enterprise_number, outcome).inc(number)

    def _show(self, gaps: Sequence[Gap]) -> None:
        seconds = sum(gap.length.total_seconds() for gap in gaps)
        self._metrics.gap_seconds.labels(self._enterprise_number).set(seconds)

    def _say_open(self, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            if gap not in self._told:
                log.warning(
                    "Nobody watched %s for %.0f s from %s on, and neither cel nor cdr is configured",
                    self._enterprise_number,
                    gap.length.total_seconds(),
                    gap.since.isoformat(timespec="seconds"),
                    extra={"action": "gap_stays"},
                )
        self._told = set(gaps)
