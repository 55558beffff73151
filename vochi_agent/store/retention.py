"""Old rows in PostgreSQL, deleted some at a time; what a call counted is kept in `past_calls` by the same statement."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from vochi_agent.retention import Kind

from .database import Database

__all__ = ["OldRows"]

STATEMENTS: Final[Mapping[Kind, str]] = {
    Kind.CALLS: "delete_old_calls",
    Kind.CARDS: "delete_old_cards",
    Kind.POSTS: "delete_old_posts",
    Kind.REMAINS: "delete_old_remains",
}
EVER: Final = datetime(1, 1, 2, tzinfo=UTC)
# The search for the oldest may have to look at a whole table; what it finds is locked for milliseconds.
DEADLINE_S: Final = 60.0
TIME_LIMIT: Final = "55s"


class OldRows:
    """Fulfils `retention.AgedRows`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._without_evidence: dict[str, datetime] = {}

    async def delete(self, kind: Kind, enterprise_number: str, before: datetime, limit: int) -> int:
        """See `retention.AgedRows.delete`."""
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            await session.execute("allow_time", TIME_LIMIT)
            if kind is not Kind.EVIDENCE:
                row = await session.fetchrow(STATEMENTS[kind], enterprise_number, before, limit)
                return int(row["deleted"]) if row is not None else 0
            # The table is not searched again from its beginning for rows that have had no evidence for years.
            since = self._without_evidence.get(enterprise_number, EVER)
            row = await session.fetchrow("delete_old_evidence", enterprise_number, before, since, limit)
        deleted = int(row["deleted"]) if row is not None else 0
        self._without_evidence[enterprise_number] = row["last"] if row is not None and deleted == limit else before
        return deleted
