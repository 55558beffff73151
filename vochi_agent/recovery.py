"""Calls that nobody watched, found again in what the PBX wrote by itself: the same machine, the same ledger.

Invariant: recovering a time twice changes nothing. A call is stored by the transaction that stores live ones; a
recovered record replaces a poorer one and never a better one (`calls.ledger.corrected`).
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from vochi_agent.calls.events import Event
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallUpdate, Reason, Source
from vochi_agent.calls.tracker import Tracker
from vochi_agent.errors import StoreRefused
from vochi_agent.ports import CallStore, Recorded, Renderer
from vochi_agent.rendering import no_cards

__all__ = ["CallRecords", "Ledger", "Recovery", "Report", "StoredCalls"]

log = logging.getLogger(__name__)

# A call in progress at the beginning is whole only when its own beginning is read too.
LOOKBACK: Final = timedelta(hours=4)
# Calls that went on at the end have mostly ended so soon after; the others are somebody's who watches.
FOLLOW: Final = timedelta(minutes=2)
# The call machine corrects a finished call for half a minute; then it is as it is.
SETTLED_AFTER: Final = timedelta(minutes=1)
# Chats are told of a recovered call that is younger, and of so many at once; more of them make one digest.
TOLD_WITHIN: Final = timedelta(hours=24)
MOST_CARDS: Final = 20
# So many are stored in one transaction at most: others wait for the customers that it locks.
TOGETHER: Final = 64
EVER: Final = datetime.fromtimestamp(0, UTC)


class CallRecords(Protocol):
    """What a PBX wrote about its calls by itself: CEL gives facts for the call machine, CDR gives reduced calls."""

    def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """What was written in a time, in the order it was written, a bounded batch at a time.

        Raises:
            RecordsUnavailable: it cannot be read, or not to the end.
        """
        ...


class Ledger(CallStore, Protocol):
    """Where finished calls are kept."""

    async def merge(self, enterprise_number: str, linkedid: str, into: str) -> bool:
        """A stored call turned out to be part of another. Raises StoreUnavailable."""
        ...


class StoredCalls(Protocol):
    """Tells which calls are there."""

    async def known(self, enterprise_number: str, linkedids: Collection[str]) -> set[str]:
        """Which of these calls have a row. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one recovery did, in calls.

    Attributes:
        found: Finished calls of that time in the PBX's own records.
        known: Of them, those that were stored already, and no worse.
        stored: Those that nobody knew.
        corrected: Those whose stored record was poorer.
    """

    found: int = 0
    known: int = 0
    stored: int = 0
    corrected: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(
            found=self.found + other.found,
            known=self.known + other.known,
            stored=self.stored + other.stored,
            corrected=self.corrected + other.corrected,
        )


class Recovery:
    """Recovers the calls of one enterprise's PBX.

    Args:
        layout: The PBX as it is configured now; a reload changes it.
        render: The cards of a call, as for live ones; it is not asked about calls that chats should not be told of.
        clock: Now, by the PBX's clock.
        stored: Told each call that nobody knew, once it is stored.
        announce: Told the calls of a recovery that brings too many for cards, oldest first. Raises StoreUnavailable.
        told_since: Chats are told of no call that ended before: what happened before we came is no news.
        progress: Told after every batch up to which moment the records were read, and what was done.
    """

    def __init__(
        self,
        layout: Callable[[], Layout],
        records: CallRecords,
        ledger: Ledger,
        known: StoredCalls,
        *,
        render: Renderer,
        clock: Callable[[], datetime],
        stored: Callable[[Call], None] = lambda _: None,
        announce: Callable[[Sequence[Call]], Awaitable[None]] | None = None,
        told_since: datetime = EVER,
        progress: Callable[[datetime, Report], None] = lambda _, __: None,
    ) -> None:
        self._layout = layout
        self._records = records
        self._ledger = ledger
        self._known = known
        self._render = render
        self._clock = clock
        self._stored = stored
        self._announce = announce
        self._told_since = told_since
        self._progress = progress

    async def recover(self, since: datetime, until: datetime, alive: AbstractSet[str] | None = None) -> Report:
        """Find and store the calls that were going on at some time between `since` and `until` and have ended.

        Args:
            alive: Uniqueids of the channels that live on the PBX now; None when nobody knows. A call that has no end in
                the records and no living channel is stored as far as it is known.

        Raises:
            RecordsUnavailable: not everything was read; what was stored stays.
            StoreUnavailable: not everything was stored; what was stored stays.
        """
        reading = _Reading(self._layout(), since, until)
        young_since = max(self._clock() - TOLD_WITHIN, self._told_since)
        report = Report()
        now = max(until, self._clock())
        # Whether a call without an end is over can only be told when everything up to this moment was read.
        end = now if alive is not None else min(until + FOLLOW, now)
        async with aclosing(self._records.read(since - LOOKBACK, end)) as batches:
            async for batch in batches:
                reading.receive(batch)
                report += await self._store(reading.settled(before=young_since, at_least=TOGETHER), no_cards)
                self._progress(reading.moment, report)
        reading.finish(alive)
        report += await self._store(reading.settled(before=young_since), no_cards)
        rest = reading.rest()
        report += await self._store([call for call in rest if call.ended_at < young_since], no_cards)
        report += await self._tell_and_store([call for call in rest if call.ended_at >= young_since])
        for merged in reading.merged:
            await self._ledger.merge(merged.enterprise_number, merged.linkedid, merged.into)
        return report

    async def _tell_and_store(self, calls: Sequence[Call]) -> Report:
        """Store calls that are young enough for cards; too many new ones are announced together instead."""
        known = await self._known.known(self._layout().enterprise_number, [call.linkedid for call in calls])
        new = [call for call in calls if call.linkedid not in known]
        if len(new) <= MOST_CARDS:
            return await self._store(calls, self._render)
        report = await self._store([call for call in calls if call.linkedid in known], self._render)
        if self._announce is not None:
            # Before they are stored: whoever dies in between tells of some of them twice, not of none.
            await self._announce(new)
        return report + await self._store(new, no_cards)

    async def _store(self, calls: Sequence[Call], render: Renderer) -> Report:
        report = Report()
        done = 0
        while done < len(calls):
            some = calls[done : done + TOGETHER]
            recorded = await self._record(some, render)
            for call, told in zip(some, recorded, strict=False):
                report += _reported(told)
                if told is not None and told.inserted:
                    self._stored(call)
            done += len(recorded)
        return report

    async def _record(self, calls: Sequence[Call], render: Renderer) -> Sequence[Recorded | None]:
        """What became of the first of these calls; None of one that cannot be stored."""
        try:
            return await self._ledger.record_some(calls, render)
        except StoreRefused:
            if len(calls) > 1:
                return await self._record(calls[:1], render)
            log.exception("A recovered call cannot be stored", extra={"action": "recovered_call_refused"})
            return [None]


def _reported(recorded: Recorded | None) -> Report:
    """One call."""
    if recorded is None:
        return Report(found=1)
    if recorded.inserted:
        return Report(found=1, stored=1)
    return Report(found=1, corrected=1) if recorded.changed else Report(found=1, known=1)


class _Reading:
    """The records of one time on their way through the call machine.

    Attributes:
        merged: Calls that turned out to be part of others.
    """

    def __init__(self, layout: Layout, since: datetime, until: datetime) -> None:
        self.merged: list[CallMerged] = []
        self._since = since
        self._until = until
        self._tracker = Tracker(layout, source=Source.RECOVERY)
        self._now = 0.0
        self._finished: dict[str, Call] = {}

    def receive(self, batch: Sequence[Event | Call]) -> None:
        """Take what was read."""
        for told in batch:
            if isinstance(told, Call):
                self._note([CallFinished(told)])
                self._now = max(self._now, told.ended_at.timestamp())
            else:
                self._note(self._tracker.receive(told))
                self._now = max(self._now, told.at)
        self._note(self._tracker.expire(self._now))

    @property
    def moment(self) -> datetime:
        """Up to where the records were read."""
        return datetime.fromtimestamp(self._now, UTC)

    def finish(self, alive: AbstractSet[str] | None) -> None:
        """There is no more. A call that is open now goes on, unless none of its channels lives."""
        if alive is not None:
            self._note(self._tracker.end_absent(alive))

    def settled(self, *, before: datetime, at_least: int = 1) -> list[Call]:
        """Take out the calls that ended before then and cannot change any more, in order of their end; all or none."""
        latest = min(before.timestamp(), self._now - SETTLED_AFTER.total_seconds())
        calls = [call for call in self._finished.values() if call.ended_at.timestamp() < latest]
        return self._taken(calls) if len(calls) >= at_least else []

    def rest(self) -> list[Call]:
        """Take out all."""
        return self._taken(list(self._finished.values()))

    def _taken(self, calls: list[Call]) -> list[Call]:
        for call in calls:
            del self._finished[call.linkedid]
        return sorted(calls, key=lambda call: (call.ended_at, call.linkedid))

    def _note(self, updates: Iterable[CallUpdate]) -> None:
        for update in updates:
            if isinstance(update, CallMerged):
                self._finished.pop(update.linkedid, None)
                self.merged.append(update)
            elif isinstance(update, CallFinished) and self._wanted(update.call):
                self._finished[update.call.linkedid] = update.call

    def _wanted(self, call: Call) -> bool:
        # Nobody knows when a call without an end has ended; it may have been after it was last heard of.
        return call.started_at <= self._until and (call.ended_at >= self._since or call.reason is Reason.UNKNOWN_END)
