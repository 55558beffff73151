"""Missed calls that somebody has to call back: kept with the ledger, in its transactions, and taken by people.

What became of a missed call follows from the ledger and from who is one person, whatever the order in which either
becomes known; only who took it does not. `stale` is set in the transaction that changes how a call stands, and cleared
in the one that writes its cards: so no crash leaves a card behind that says less than the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from vochi_agent.calls.call_backs import CallBack, waits_for_us
from vochi_agent.calls.model import Call, Status
from vochi_agent.customers.identity import is_corporate, spellings
from vochi_agent.customers.model import Customer
from vochi_agent.customers.parting import uid_of
from vochi_agent.customers.persons import contact_of
from vochi_agent.desk_ports import Operator, PressedCard

from .database import Database, Row, Session
from .rows import storable

__all__ = ["CallBacks", "note_corrected", "note_new", "settle", "shown_call_backs"]

# Who was not reached for so long has found somebody else; and a PBX's whole past is read on the first day.
LASTS: Final = timedelta(days=7)
AT_ONCE: Final = 50


async def hold_people(session: Session, enterprise_number: str, customers: Iterable[Customer]) -> None:
    """Let nobody else store a call of these people, whose rows are locked, by whatever number of theirs."""
    if uids := sorted(filter(None, {uid_of(customer) for customer in customers})):
        await session.execute("lock_people", enterprise_number, uids)


async def note_new(session: Session, calls: Sequence[Call], customers: Mapping[str, Customer]) -> None:
    """Calls of one enterprise were stored for the first time: open what they leave to be done, close what they did.

    Args:
        customers: By number, at least those of the calls.
    """
    waiting = [call for call in calls if waits_for_us(call)]
    if waiting:
        await session.execute_each(
            "open_call_back", [(call.enterprise_number, call.linkedid, LASTS) for call in waiting]
        )
    moved = [call for call in calls if call.phone and (waits_for_us(call) or call.status is Status.ANSWERED)]
    await settle(session, [customers[call.phone] for call in moved if call.phone])


async def note_corrected(session: Session, call: Call, customers: Iterable[Customer]) -> None:
    """A stored call was corrected.

    Args:
        customers: Its customer, and the one it had before.
    """
    key = (call.enterprise_number, call.linkedid)
    if waits_for_us(call):
        await session.execute("open_call_back", *key, LASTS)
    else:
        await session.execute("drop_call_back", *key)
    await settle(session, customers)


async def note_joined(session: Session, enterprise_number: str, customers: Mapping[str, Customer]) -> None:
    """Which numbers are one person has changed among these, whose rows are locked."""
    rows = await session.fetch("numbers_that_wait", enterprise_number, list(customers), LASTS)
    await settle(session, [customers[row["phone_e164"]] for row in rows])


async def settle(session: Session, customers: Iterable[Customer]) -> None:
    """See anew whether these were reached."""
    if arguments := list(map(_his_numbers, customers)):
        await session.execute_each("settle_call_backs", arguments)


def _his_numbers(customer: Customer) -> tuple[object, ...]:
    """The parameters of `settle_call_backs`."""
    uid = uid_of(customer)
    contact = contact_of(customer) if is_corporate(uid) else None
    alone = not uid or (is_corporate(uid) and contact is None)
    return (
        customer.enterprise_number,
        customer.phone_e164,
        [] if alone else spellings(uid),
        contact.source if contact else "",
        contact.external_id if contact else "",
        LASTS,
    )


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
