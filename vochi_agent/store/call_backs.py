"""Missed calls that somebody has to call back: kept with the ledger, in its transactions, and taken by people.

What became of a missed call follows from the ledger alone, whatever the order in which calls become known; only who
took it does not. `stale` is set in the transaction that changes how a call stands, and cleared in the one that writes
its cards: so no crash leaves a card behind that says less than the table.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from vochi_agent.calls.call_backs import CallBack, waits_for_us
from vochi_agent.calls.model import Call, Status
from vochi_agent.desk_ports import Operator, PressedCard

from .database import Database, Row, Session
from .rows import storable

__all__ = ["CallBacks", "note_corrected", "note_new", "settle", "shown_call_backs"]

# Who was not reached for so long has found somebody else; and a PBX's whole past is read on the first day.
LASTS: Final = timedelta(days=7)
AT_ONCE: Final = 50


async def note_new(session: Session, calls: Sequence[Call]) -> None:
    """Calls of one enterprise were stored for the first time: open what they leave to be done, close what they did."""
    waiting = [call for call in calls if waits_for_us(call)]
    if waiting:
        await session.execute_each(
            "open_call_back", [(call.enterprise_number, call.linkedid, LASTS) for call in waiting]
        )
    moved = [call for call in calls if call.phone and (waits_for_us(call) or call.status is Status.ANSWERED)]
    if moved:
        await session.execute_each("settle_call_backs", [(call.enterprise_number, call.phone, LASTS) for call in moved])


async def note_corrected(session: Session, call: Call, *, phones: Collection[str]) -> None:
    """A stored call was corrected.

    Args:
        phones: Of its customer, and the one it had before.
    """
    key = (call.enterprise_number, call.linkedid)
    if waits_for_us(call):
        await session.execute("open_call_back", *key, LASTS)
    else:
        await session.execute("drop_call_back", *key)
    for phone in sorted(phones):
        await settle(session, call.enterprise_number, phone)


async def settle(session: Session, enterprise_number: str, phone: str) -> None:
    """See anew whether the customer was reached."""
    await session.execute("settle_call_backs", enterprise_number, phone, LASTS)


async def shown_call_backs(session: Session, calls: Sequence[Call]) -> dict[str, CallBack]:
    """By linkedid how calls of one enterprise stand, for who writes their cards in this transaction."""
    if not calls:
        return {}
    rows = await session.fetch_each("render_call_back", [(call.enterprise_number, call.linkedid) for call in calls])
    return {row["linkedid"]: _call_back(row) for row in rows}


class CallBacks:
    """Fulfils `call_backs.CallBackStore`. Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stale(self, enterprises: Sequence[str]) -> list[tuple[str, str]]:
        """Enterprise and linkedid of missed calls whose cards do not say yet how they stand, some at a time."""
        rows = await self._database.fetch("stale_call_backs", list(enterprises), AT_ONCE)
        return [(row["enterprise_number"], row["linkedid"]) for row in rows]

    async def take(self, card: PressedCard, operator: Operator) -> tuple[bool, CallBack | None]:
        """See `desk_ports.CallBackDesk.take`: of several who press at once exactly one gets it."""
        key = (card.enterprise_number, card.linkedid)
        async with self._database.transaction() as session:
            name = storable(operator.name)
            taken = await session.fetchrow("take_call_back", *key, operator.extension, name)
            row = await session.fetchrow("call_back", *key)
        return taken is not None, None if row is None else _call_back(row)


def _call_back(row: Row) -> CallBack:
    return CallBack(
        ended_at=row["ended_at"],
        taken_by=row["taken_by"] or "",
        taken_name=row["taken_name"],
        taken_at=row["taken_at"],
        reached_by=row["reached_by"] or "",
        reached_at=row["reached_at"],
        called_again=row["called_again"],
    )
