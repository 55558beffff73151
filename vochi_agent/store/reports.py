"""What the commands read: the ledger, the busiest customers, the server."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vochi_agent.calls.model import Call, Status
from vochi_agent.customers.model import Customer

from .database import Database, Row
from .rows import call_from_row, customer_from_row

__all__ = ["CallFilter", "CustomerActivity", "Reports"]

TOGETHER = 200  # rows read at a time
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
# Nobody is called meanwhile, and a ledger of years is read from its disk.
DEADLINE_S = 60.0
TIME_LIMIT = "55s"
MISSED: Sequence[str] = (Status.MISSED.value, Status.UNKNOWN.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls to list.

    Attributes:
        enterprise_number: None for all.
        missed: Only calls that count as missed.
        since: Only calls that started then or later.
        phone: Only calls of this E.164 number.
        limit: At most so many, newest first.
    """

    enterprise_number: str | None = None
    missed: bool = False
    since: datetime | None = None
    phone: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerActivity:
    """A customer and the number of his calls in a period."""

    customer: Customer
    calls: int


class Reports:
    """Reading for people. Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def calls(self, wanted: CallFilter) -> list[Call]:
        """The ledger, newest first; rows that are part of another call are left out."""
        statuses = list(MISSED) if wanted.missed else None
        rows = await self._read(
            "list_calls", wanted.enterprise_number, statuses, wanted.since, wanted.phone, wanted.limit
        )
        return [call_from_row(row) for row in rows]

    async def call(self, linkedid: str, enterprise_number: str | None = None) -> Call | None:
        """The call of a stored linkedid."""
        row = await self._database.fetchrow("find_call", enterprise_number, linkedid)
        return call_from_row(row) if row is not None else None

    async def top(self, since: datetime, *, enterprise_number: str | None = None, limit: int) -> list[CustomerActivity]:
        """Customers with most calls that started since then."""
        rows = await self._read("top_customers", enterprise_number, since, limit)
        return [CustomerActivity(customer=customer_from_row(row), calls=row["calls"]) for row in rows]

    async def count_nameless(self, enterprise_number: str) -> int:
        """How many customers have called whose name nobody knows."""
        [row] = await self._read("count_nameless_customers", enterprise_number)
        return int(row["customers"])

    async def nameless(self, enterprise_number: str) -> AsyncGenerator[str, None]:
        """Their numbers, each once, those who called last first."""
        before, number = NEVER, ""
        while rows := await self._read("nameless_customers", enterprise_number, before, number, TOGETHER):
            for row in rows:
                yield row["phone_e164"]
            before, number = rows[-1]["last_call_at"], rows[-1]["phone_e164"]

    async def server_version(self) -> str:
        """`15.18 (Debian 15.18-0+deb12u1)` and the like."""
        row = await self._database.fetchrow("server_version")
        return str(row["version"]) if row is not None else ""

    async def _read(self, name: str, *arguments: object) -> list[Row]:
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            await session.execute("allow_time", TIME_LIMIT)
            return await session.fetch(name, *arguments)
