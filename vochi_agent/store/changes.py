"""What CRMs said of changes, kept until it is in `customers`, and how far their histories were read.

One life of a change: `put` before the CRM is told that it was taken; `claim`; then `done` or `failed` - or neither,
when the daemon died: after the lease it is claimed again. Doing one twice is harmless: it is merged, not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from vochi_agent.change_ports import Change, HistoryMark, PendingChange
from vochi_agent.customers.model import Names, Profile

from .database import Database, Session
from .rows import storable

__all__ = ["CrmChanges"]

# Above the time that asking a CRM and saving may take.
LEASE = timedelta(seconds=75)
# A webhook's sender waits for this one statement.
PUT_DEADLINE_S = 2.0


class CrmChanges:
    """Fulfils `change_ports.ChangeStore`. Every method raises StoreUnavailable."""

    def __init__(self, database: Database, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease

    async def put(self, enterprise_number: str, source: str, changes: Sequence[Change]) -> None:
        """Keep changes, all or none; each replaces an older one of the same person or company."""
        async with self._database.transaction(deadline_s=PUT_DEADLINE_S) as session:
            await _put(session, enterprise_number, source, changes)

    async def claim(self, enterprise_number: str, source: str) -> PendingChange | None:
        """The change that waits longest; None when none is due."""
        row = await self._database.fetchrow("claim_change", enterprise_number, source, self._lease)
        if row is None:
            return None
        profile = _profile_from_json(row["profile"]) if row["profile"] else None
        change = Change(kind=row["kind"], external_id=row["external_id"], profile=profile)
        return PendingChange(
            id=row["id"], revision=row["revision"], failures=row["failures"], age=row["age"], change=change
        )

    async def done(self, pending: PendingChange) -> None:
        """It is in `customers`, or never will be."""
        await self._database.execute("change_done", pending.id, pending.revision)

    async def failed(self, pending: PendingChange, retry_in: timedelta) -> None:
        """Not this time."""
        await self._database.execute("change_failed", pending.id, pending.revision, retry_in)

    async def waiting(self, enterprise_number: str, source: str) -> int:
        """How many wait."""
        row = await self._database.fetchrow("count_changes", enterprise_number, source)
        return int(row["waiting"]) if row is not None else 0

    async def mark(self, enterprise_number: str, source: str, history: str) -> HistoryMark | None:
        """How far a history was read; None: never looked at."""
        row = await self._database.fetchrow("history_mark", enterprise_number, source, history)
        return HistoryMark(row["since_id"], row["started_at"]) if row is not None else None

    async def start(self, enterprise_number: str, source: str, history: str, since_id: int, at: datetime) -> None:
        """The history begins for us after this id."""
        await self._database.execute("start_history", enterprise_number, source, history, since_id, at)

    async def advance(
        self, enterprise_number: str, source: str, history: str, since_id: int, changes: Sequence[Change]
    ) -> None:
        """Keep the changes of a page and that it was read, in one transaction."""
        async with self._database.transaction() as session:
            await _put(session, enterprise_number, source, changes)
            await session.execute("advance_history", enterprise_number, source, history, since_id)


async def _put(session: Session, enterprise_number: str, source: str, changes: Sequence[Change]) -> None:
    # In one order everywhere: two writers of the same rows must not wait for each other in a circle.
    ordered = sorted(changes, key=lambda change: (change.kind, change.external_id))
    rows = [
        (
            enterprise_number,
            source,
            change.kind,
            storable(change.external_id),
            None if change.profile is None else _storable(asdict(change.profile)),
        )
        for change in ordered
    ]
    await session.execute_each("put_change", rows)


def _storable(value: Any) -> Any:
    """The same value with texts that PostgreSQL can hold."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {key: _storable(inner) for key, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list | tuple) else value


def _profile_from_json(stored: Mapping[str, Any]) -> Profile:
    """The inverse of `asdict`; what another version of this program kept besides is left out."""
    known = {each.name for each in fields(Profile)}
    values = {name: value for name, value in stored.items() if name in known}
    values["names"] = Names(**{each.name: values["names"].get(each.name, "") for each in fields(Names)})
    values["phones"] = tuple(values.get("phones", ()))
    return Profile(**values)
