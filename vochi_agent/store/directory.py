"""Customers in PostgreSQL: whose number it is, merged by the rules of `customers.persons`, one transaction a change.

Merges of one enterprise follow one another (an advisory lock, taken before the rows, which are locked in the order that
every writer keeps): two that meet would each move the numbers that the other has just seen elsewhere.
Every change is told on the channel `vochi_customers`: what daemons remember of these rows is old.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from vochi_agent.customers.identity import (
    CORPORATE,
    canonical_source,
    canonical_uid,
    corrected_by_hand,
    is_corporate,
    person_uid,
    spellings,
)
from vochi_agent.customers.model import Company, Customer, Profile
from vochi_agent.customers.parting import card_of, parted
from vochi_agent.customers.persons import enriched, linked
from vochi_agent.errors import LinkRefused

from .database import Database, Session
from .rows import customer_from_row, storable

__all__ = ["CUSTOMERS_CHANNEL", "Customers"]

CUSTOMERS_CHANNEL = "vochi_customers"


class Customers:
    """Fulfils `ports.CustomerDirectory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        row = await self._database.fetchrow("customer", enterprise_number, storable(phone))
        return customer_from_row(row) if row is not None else None

    async def customers(self, enterprise_number: str, phones: Sequence[str]) -> list[Customer]:
        """The rows of some numbers, in no order. Raises StoreUnavailable."""
        rows = await self._database.fetch("customers", enterprise_number, [storable(phone) for phone in phones])
        return [customer_from_row(row) for row in rows]

    async def person(self, enterprise_number: str, uid: str) -> list[Customer]:
        """All numbers of a `person_uid`, oldest first. Raises StoreUnavailable."""
        rows = await self._database.fetch("person", enterprise_number, spellings(canonical_uid(uid)))
        return [customer_from_row(row) for row in rows]

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer:
        """Merge a fresh profile into the row of a number and of the person's other numbers; returns the first.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        numbers = sorted({storable(phone), *map(storable, profile.phones)})
        async with self._database.transaction() as session:
            family = _Family(session, enterprise_number)
            card = card_of(profile)
            await family.gather(numbers, uids=[card.uid] if card else [])
            if is_corporate(uid := person_uid(profile)):
                await family.add_company(uid, profile.names.enterprise_name)
            rows, at = await family.lock(make=numbers)
            changed = enriched(rows, profile, numbers, primary=primary, at=at)
            stored = await _store(session, changed)
            return stored.get(storable(phone)) or next(row for row in rows if row.phone_e164 == storable(phone))

    async def let_go(self, enterprise_number: str, company: Company) -> int:
        """Part the numbers that a complete company no longer lists; returns how many.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        source = canonical_source(company.source) + CORPORATE
        async with self._database.transaction() as session:
            family = _Family(session, enterprise_number)
            await family.gather([], uids=[f"{source}:{company.company_id}"])
            rows, at = await family.lock()
            return len(await _store(session, parted(rows, company, at=at)))

    async def link(self, enterprise_number: str, first: str, second: str) -> Customer:
        """Make two numbers one customer's, by a person's word (a row is made for one that is new); returns the first.

        Raises:
            LinkRefused: it makes no sense; the message says why.
            StoreUnavailable: nothing was stored.
        """
        numbers = sorted({storable(first), storable(second)})
        async with self._database.transaction() as session:
            family = _Family(session, enterprise_number)
            if not await family.gather(numbers, uids=[]):
                raise LinkRefused(f"neither number is known to {enterprise_number}")
            rows, at = await family.lock(make=numbers)
            stored = await _store(session, linked(rows, storable(first), storable(second), at=at))
            return stored.get(storable(first)) or next(row for row in rows if row.phone_e164 == storable(first))

    async def edit(self, enterprise_number: str, phone: str, changes: Mapping[str, str | bool]) -> Customer:
        """What a person says about a number stands (the row is made when missing); see `corrected_by_hand`.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        async with self._database.transaction() as session:
            await session.execute("ensure_customers", enterprise_number, [storable(phone)])
            row = (await session.fetch("lock_customers", enterprise_number, [storable(phone)]))[0]
            edited = await _store_edit(session, corrected_by_hand(customer_from_row(row), changes, at=row["at"]))
            await _notify(session, [edited])
            return edited


class _Family:
    """The rows that a merge may change: found while nobody else merges, then locked."""

    def __init__(self, session: Session, enterprise_number: str) -> None:
        self._session = session
        self._enterprise_number = enterprise_number
        self._phones: set[str] = set()

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
        if make:
            await self._session.execute("ensure_customers", self._enterprise_number, make)
        phones = sorted(self._phones.union(make))
        rows = await self._session.fetch("lock_customers", self._enterprise_number, phones)
        at = rows[0]["at"] if rows else datetime.min  # noqa: DTZ901 - of no rows nothing changes
        return [customer_from_row(row) for row in sorted(rows, key=lambda row: int(row["id"]))], at


async def _store(session: Session, changed: Sequence[Customer]) -> dict[str, Customer]:
    """Names and meta of locked rows; returns the rows by number."""
    stored = {customer.phone_e164: await _store_profile(session, customer) for customer in changed}
    await _notify(session, changed)
    return stored


async def _notify(session: Session, changed: Sequence[Customer]) -> None:
    if changed:
        told = [f"{customer.enterprise_number} {customer.phone_e164}" for customer in changed]
        await session.execute("notify_customers", told)


async def _store_profile(session: Session, customer: Customer) -> Customer:
    names = customer.names
    row = await session.fetchrow(
        "store_profile",
        customer.enterprise_number,
        customer.phone_e164,
        *(storable(text) for text in (names.last_name, names.first_name, names.middle_name, names.enterprise_name)),
        dict(customer.meta),
    )
    return customer_from_row(row)


async def _store_edit(session: Session, customer: Customer) -> Customer:
    names = customer.names
    row = await session.fetchrow(
        "store_edit",
        customer.enterprise_number,
        customer.phone_e164,
        *(storable(text) for text in (names.last_name, names.first_name, names.middle_name, names.enterprise_name)),
        *(storable(text) for text in customer.fields),
        customer.black_list,
        dict(customer.meta) or None,
    )
    return customer_from_row(row)
