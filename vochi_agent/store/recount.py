"""Customers counted again from the ledger: what differs, and the mending of it, for millions of calls.

Invariant: safe beside daemons that record calls. Customers are taken in the order of their numbers, some at a time, in
a transaction that sees one moment: a call that is recorded meanwhile is either counted in it, or comes on top of what
it wrote, or makes it fail and be done again. So a counter never misses a call nor counts one twice, no row is held for
longer than one such part takes, and names, black list, fields and meta are never written.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from vochi_agent.errors import StoreConflict

from .database import Database, Row, Session

__all__ = ["ALL_TIME", "Backfilled", "CallTime", "Difference", "Recount"]

# A daemon's transaction waits for a row of ours no longer than a part takes, and gives up after 5 s.
PART_S: Final = 1.0
FIRST_PART: Final = 500  # customers
LARGEST_PART: Final = 50_000
# One customer may have more calls than any part should; counting all of a table takes long too.
DEADLINE_S: Final = 600.0
TIME_LIMIT: Final = "590s"
MOST_CONFLICTS: Final = 100  # in a row; each of them halves the part, so a customer who calls all the time gets through


@dataclass(frozen=True, slots=True)
class CallTime:
    """Customers with a call that began at or after `since` and before `until`."""

    since: datetime
    until: datetime


ALL_TIME: Final = CallTime(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A column of a customer that is not what his calls add up to; both as text, None for null."""

    enterprise_number: str
    phone_e164: str
    column: str
    stored: str | None
    counted: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """How far the backfill of an enterprise has come.

    Attributes:
        customers: How many there were when it began.
        done: How many are done; may pass `customers` by those that came since.
        changed: How many of them said something else before.
        started_at: When it began, perhaps in a process that was killed.
        finished: Nothing is left.
    """

    customers: int
    done: int
    changed: int
    started_at: datetime
    finished: bool = False


class Recount:
    """Compares and mends. Every method raises StoreUnavailable and may be called again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enterprises(self) -> list[str]:
        """Everybody who has calls or customers, those too that left the configuration."""
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            await session.execute("allow_time", TIME_LIMIT)
            return [row["enterprise_number"] for row in await session.fetch("enterprises_with_customers")]

    async def differences(self, enterprise_number: str) -> AsyncGenerator[Sequence[Difference], None]:
        """What differs, in the order of the numbers, some customers at a time; each is compared at one moment."""
        after, size = "", _PartSize()
        while True:
            with_calls = size.begin()
            async with self._part_of_table() as session:
                phones = await _next_phones(session, enterprise_number, after, with_calls, ALL_TIME)
                rows = await session.fetch("audit_customers", enterprise_number, phones)
            if not phones:
                return
            size.end()
            after = phones[-1]
            if rows:
                yield [Difference(**row) for row in rows]

    async def mend(self, enterprise_number: str, phones: Sequence[str]) -> int:
        """Make the rows of some customers say what the ledger says; returns how many were changed."""
        changed, left, conflicts = 0, list(phones), 0
        size = _PartSize()
        while left:
            part = left[: size.begin()]
            try:
                async with self._part_of_table() as session:
                    changed += await _mend(session, enterprise_number, part)
            except StoreConflict:
                conflicts = size.conflict(conflicts)
                continue
            size.end()
            conflicts = 0
            del left[: len(part)]
        return changed

    async def backfill(
        self, enterprise_number: str, wanted: CallTime, *, anew: bool = False
    ) -> AsyncGenerator[Backfilled, None]:
        """Mend all customers with a call in a time; says after every part how far it is, first of all where it begins.

        Its place is kept in the database: killed and called again with the same time it goes on, and several at once
        share the work.

        Args:
            anew: Forget the place of one that was not finished.
        """
        place = await self._begin(enterprise_number, wanted, anew=anew)
        size, conflicts = _PartSize(), 0
        yield place
        while not place.finished:
            most = size.begin()
            try:
                place = await self._part(enterprise_number, wanted, most, place)
            except StoreConflict:
                conflicts = size.conflict(conflicts)
                continue
            size.end()
            conflicts = 0
            yield place

    async def _begin(self, enterprise_number: str, wanted: CallTime, *, anew: bool) -> Backfilled:
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            row = await session.fetchrow("backfill", enterprise_number)
            if anew or row is None or (row["called_since"], row["called_until"]) != (wanted.since, wanted.until):
                await session.execute("allow_time", TIME_LIMIT)
                count = await session.fetchrow("count_customers", enterprise_number, wanted.since, wanted.until)
                customers = count["customers"] if count is not None else 0
                await session.execute("begin_backfill", enterprise_number, wanted.since, wanted.until, customers)
                row = await session.fetchrow("backfill", enterprise_number)
            return _place(row)

    async def _part(self, enterprise_number: str, wanted: CallTime, most: int, before: Backfilled) -> Backfilled:
        async with self._part_of_table() as session:
            row = await session.fetchrow("backfill", enterprise_number)
            if row is None:
                return replace(before, finished=True)  # another process has just done the rest
            phones = await _next_phones(session, enterprise_number, row["done_to"], most, wanted)
            changed = await _mend(session, enterprise_number, phones)
            if phones:
                await session.execute("advance_backfill", enterprise_number, phones[-1], len(phones), changed)
            else:
                await session.execute("end_backfill", enterprise_number)
            place = _place(row)
            done, changed = place.done + len(phones), place.changed + changed
            return replace(place, done=done, changed=changed, finished=not phones)

    @asynccontextmanager
    async def _part_of_table(self) -> AsyncIterator[Session]:
        async with self._database.transaction(deadline_s=DEADLINE_S, isolation="repeatable_read") as session:
            await session.execute("allow_time", TIME_LIMIT)
            await session.execute("work_in_parts")
            yield session


def _place(row: Row) -> Backfilled:
    return Backfilled(
        customers=row["customers"], done=row["done"], changed=row["changed"], started_at=row["started_at"]
    )


async def _next_phones(session: Session, enterprise_number: str, after: str, most: int, wanted: CallTime) -> list[str]:
    if wanted == ALL_TIME:
        rows = await session.fetch("counted_customers", enterprise_number, after, most)
    else:
        rows = await session.fetch(
            "counted_customers_of_time", enterprise_number, after, most, wanted.since, wanted.until
        )
    return [row["phone_e164"] for row in rows]


async def _mend(session: Session, enterprise_number: str, phones: Sequence[str]) -> int:
    row = await session.fetchrow("mend_customers", enterprise_number, phones) if phones else None
    return int(row["changed"]) if row is not None else 0


class _PartSize:
    """How many customers are taken together: as many as are done in PART_S, whatever the machine and their calls."""

    def __init__(self) -> None:
        self._size = FIRST_PART
        self._began = 0.0

    def begin(self) -> int:
        self._began = asyncio.get_running_loop().time()
        return self._size

    def end(self) -> None:
        took = asyncio.get_running_loop().time() - self._began
        wanted = int(self._size * PART_S / max(took, 0.001))
        self._size = max(1, self._size // 2, min(wanted, self._size * 2, LARGEST_PART))

    def conflict(self, before: int) -> int:
        """Half of it next time; counts conflicts in a row. Raises StoreConflict when they do not end."""
        if before >= MOST_CONFLICTS:
            raise StoreConflict("other programs change these customers all the time")
        self._size = max(1, self._size // 2)
        return before + 1
