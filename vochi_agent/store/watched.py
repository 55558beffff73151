"""The ledger of watched time: what is known to be complete, and so what is not.

Every method may be repeated: after StoreUnavailable it may have happened or not, and doing it again is right.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from vochi_agent.calls.watched import Gap, Span, gaps_between

from .database import Database

__all__ = ["WatchedTime"]

# Rows this old are joined: nobody asks any more which of them was live.
JOINED_AFTER = timedelta(days=7)


class WatchedTime:
    """Fulfils `watching.Spans`, `recoverer.Gaps` and `recovery.StoredCalls`. Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_span(self, enterprise_number: str, at: datetime) -> int:
        """A time of watching begins; returns its id."""
        async with self._database.transaction() as session:
            await session.execute("join_spans", enterprise_number, at - JOINED_AFTER)
            row = await session.fetchrow("open_span", enterprise_number, at)
        return int(row["id"]) if row is not None else 0

    async def advance(self, span: int, until: datetime) -> bool:
        """Everything that ended until then is stored. False when the span is no more: open another."""
        return await self._database.fetchrow("advance_span", span, until) is not None

    async def gaps(self, enterprise_number: str, horizon: datetime) -> list[Gap]:
        """What was not watched, from the first row to the horizon, oldest first."""
        return gaps_between(await self._spans(enterprise_number), horizon)

    async def complete_until(self, enterprise_number: str) -> datetime | None:
        """The end of the first unbroken time: nothing before it is missing. None when nothing was ever watched."""
        spans = await self._spans(enterprise_number)
        if not spans:
            return None
        latest = max(span.until for span in spans)
        gaps = gaps_between(spans, latest)
        return gaps[0].since if gaps else latest

    async def first_watched(self, enterprise_number: str) -> datetime | None:
        """When a daemon came, as far back as that is known apart from what was recovered. None: it never ran."""
        row = await self._database.fetchrow("first_live_span", enterprise_number)
        return row["since"] if row is not None else None

    async def close_gap(self, enterprise_number: str, since: datetime, until: datetime) -> None:
        """Everything that ended in this time has been read from CEL or CDR, and stored."""
        await self._database.execute("add_recovered_span", enterprise_number, since, max(since, until))

    async def known(self, enterprise_number: str, linkedids: Collection[str]) -> set[str]:
        """Which of these calls have a row."""
        rows = await self._database.fetch("known_linkedids", enterprise_number, list(linkedids))
        return {row["linkedid"] for row in rows}

    async def partial_calls(self, enterprise_number: str, since: datetime) -> list[Span]:
        """When the live calls that were seen only in part went on."""
        rows = await self._database.fetch("partial_calls", enterprise_number, since)
        return [Span(row["started_at"], row["ended_at"]) for row in rows]

    async def _spans(self, enterprise_number: str) -> list[Span]:
        rows = await self._database.fetch("spans", enterprise_number)
        return [Span(row["since"], row["until"]) for row in rows]
