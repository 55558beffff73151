"""The rows of `customers` that belong together, held while a merge changes them.

Merges of one enterprise follow one another (an advisory lock, taken before the rows, which are locked in the order that
every writer keeps): two that meet would each move the numbers that the other has just seen elsewhere.
Every change is told on the channel `vochi_customers`: what daemons remember of these rows is old.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from vochi_agent.customers.identity import canonical_uid, is_corporate, spellings
from vochi_agent.customers.model import Customer, Names
from vochi_agent.customers.parting import uid_of
from vochi_agent.customers.persons import contact_of

from .call_backs import note_joined
from .database import Row, Session
from .rows import customer_from_row, storable

__all__ = ["CUSTOMERS_CHANNEL", "Family", "lock_customers", "notify_customers", "notify_numbers"]

CUSTOMERS_CHANNEL = "vochi_customers"


class Family:
    """The rows that a merge may change: found while nobody else merges, then locked.

    Attributes:
        rows: By number, oldest first, as they are stored; filled by `lock`.
    """

    def __init__(self, session: Session, enterprise_number: str) -> None:
        self.rows: dict[str, Customer] = {}
        self._session = session
        self._enterprise_number = enterprise_number
        self._phones: set[str] = set()

    async def erased(self, numbers: Sequence[str]) -> set[str]:
        """Those of some numbers that were erased and have not called since: nobody else brings them back."""
        await self._session.execute("lock_persons", self._enterprise_number)
        rows = await self._session.fetch("erased_numbers", self._enterprise_number, numbers)
        return {row["phone"] for row in rows}

    async def gather(self, numbers: Sequence[str], *, uids: Sequence[str]) -> int:
        """Find the rows of numbers, of uids and of the cards that these name, and all rows of their persons."""
        await self._session.execute("lock_persons", self._enterprise_number)
        spelled = [each for uid in uids for each in spellings(uid)]
        cards = [{source: [external_id]} for source, _, external_id in (each.partition(":") for each in spelled)]
        rows = await self._session.fetch("kin", self._enterprise_number, numbers, spelled, cards)
        self._phones.update(row["phone_e164"] for row in rows)
        found = {canonical_uid((row["meta"] or {}).get("person_uid")) for row in rows}
        further = [each for uid in found if uid and not is_corporate(uid) for each in spellings(uid)]
        if further:
            rows = await self._session.fetch("person", self._enterprise_number, further)
            self._phones.update(row["phone_e164"] for row in rows)
        return len(self._phones)

    async def add_company(self, uid: str, name: str) -> None:
        """Those of a company's numbers that show another name of it."""
        rows = await self._session.fetch(
            "company_named_otherwise", self._enterprise_number, spellings(uid), storable(name)
        )
        self._phones.update(row["phone_e164"] for row in rows)

    async def lock(self, *, make: Sequence[str] = ()) -> tuple[list[Customer], datetime]:
        """The rows, oldest first, those of sorted numbers made when missing; and the transaction's time."""
        phones = sorted(self._phones.union(make))
        rows = await lock_customers(self._session, self._enterprise_number, phones, make=make)
        at = rows[0]["at"] if rows else datetime.min  # noqa: DTZ901 - of no rows nothing changes
        oldest_first = [customer_from_row(row) for row in sorted(rows, key=lambda row: int(row["id"]))]
        self.rows = {row.phone_e164: row for row in oldest_first}
        return oldest_first, at

    async def store(self, changed: Sequence[Customer]) -> int:
        """Keep the names and meta of locked rows; returns how many there were."""
        if not changed:
            return 0
        columns = ([storable(getattr(each.names, name.name)) for each in changed] for name in fields(Names))
        phones, metas = [each.phone_e164 for each in changed], [dict(each.meta) for each in changed]
        await self._session.execute("store_profiles", self._enterprise_number, phones, *columns, metas)
        await notify_customers(self._session, changed)
        moved = any(_person(each) != _person(self.rows[each.phone_e164]) for each in changed)
        self.rows |= {each.phone_e164: each for each in changed}
        if moved:
            await note_joined(self._session, self._enterprise_number, self.rows)
        return len(changed)


def _person(customer: Customer) -> tuple[object, ...]:
    return uid_of(customer), contact_of(customer)


async def lock_customers(
    session: Session, enterprise_number: str, phones: Sequence[str], *, make: Sequence[str]
) -> list[Row]:
    """The rows of sorted numbers, locked until the end of the transaction; those to be made are there then."""
    # Mostly he is known; of several all have to be there before one is locked, or two writers wait for each other.
    rows = await session.fetch("lock_customers", enterprise_number, phones) if len(phones) == 1 else None
    # One that is being erased is there when we look what is missing, and gone when we have it.
    while rows is None or not {row["phone_e164"] for row in rows}.issuperset(make):
        if make:
            await session.execute("ensure_customers", enterprise_number, make)
        rows = await session.fetch("lock_customers", enterprise_number, phones)
    return rows


async def notify_customers(session: Session, changed: Sequence[Customer]) -> None:
    """Tell all daemons, when the transaction commits."""
    if changed:
        await notify_numbers(session, changed[0].enterprise_number, [customer.phone_e164 for customer in changed])


async def notify_numbers(session: Session, enterprise_number: str, numbers: Sequence[str]) -> None:
    """The same of rows that may be gone."""
    await session.execute("notify_customers", [f"{enterprise_number} {number}" for number in numbers])
