"""Customers in PostgreSQL: whose number it is, merged by the rules of `customers.persons`, one transaction a change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
from vochi_agent.ports import Talked

from .database import Database, Session
from .family import Family, lock_customers, notify_customers
from .rows import customer_from_row, storable

__all__ = ["Customers"]


class Customers:
    """Fulfils `ports.CustomerDirectory` and `ports.TalkHistory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        row = await self._database.fetchrow("customer", enterprise_number, storable(phone), deadline_s=within_s)
        return customer_from_row(row) if row is not None else None

    async def customers(self, enterprise_number: str, phones: Sequence[str]) -> list[Customer]:
        """The rows of some numbers, in no order. Raises StoreUnavailable."""
        rows = await self._database.fetch("customers", enterprise_number, [storable(phone) for phone in phones])
        return [customer_from_row(row) for row in rows]

    async def talked(self, enterprise_number: str, phone: str) -> Talked:
        """Who talked with an E.164 number. Raises StoreUnavailable."""
        row = await self._database.fetchrow("talked", enterprise_number, storable(phone))
        return Talked(first=row["first"] or "", last=row["last"] or "") if row is not None else Talked()

    async def person(self, enterprise_number: str, uid: str) -> list[Customer]:
        """All numbers of a `person_uid`, oldest first. Raises StoreUnavailable."""
        rows = await self._database.fetch("person", enterprise_number, spellings(canonical_uid(uid)))
        return [customer_from_row(row) for row in rows]

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer | None:
        """Merge a fresh profile into the row of a number and of the person's other numbers; returns the first.

        Numbers that were erased and have not called since are left out; None when this is one.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        async with self._database.transaction() as session:
            family = Family(session, enterprise_number)
            erased = await family.erased([storable(phone), *map(storable, profile.phones)])
            if storable(phone) in erased:
                return None
            profile = replace(profile, phones=tuple(each for each in profile.phones if storable(each) not in erased))
            numbers = sorted({storable(phone), *map(storable, profile.phones)})
            card = card_of(profile)
            await family.gather(numbers, uids=[card.uid] if card else [])
            if is_corporate(uid := person_uid(profile)):
                await family.add_company(uid, profile.names.enterprise_name)
            rows, at = await family.lock(make=numbers)
            await family.store(enriched(rows, profile, numbers, primary=primary, at=at))
            return family.rows[storable(phone)]

    async def let_go(self, enterprise_number: str, company: Company) -> int:
        """Part the numbers that a complete company no longer lists; returns how many.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        source = canonical_source(company.source) + CORPORATE
        async with self._database.transaction() as session:
            family = Family(session, enterprise_number)
            await family.gather([], uids=[f"{source}:{company.company_id}"])
            rows, at = await family.lock()
            return await family.store(parted(rows, company, at=at))

    async def link(self, enterprise_number: str, first: str, second: str) -> Customer:
        """Make two numbers one customer's, by a person's word (a row is made for one that is new); returns the first.

        Raises:
            LinkRefused: it makes no sense; the message says why.
            StoreUnavailable: nothing was stored.
        """
        numbers = sorted({storable(first), storable(second)})
        async with self._database.transaction() as session:
            family = Family(session, enterprise_number)
            if not await family.gather(numbers, uids=[]):
                raise LinkRefused(f"neither number is known to {enterprise_number}")
            rows, at = await family.lock(make=numbers)
            await family.store(linked(rows, storable(first), storable(second), at=at))
            await session.execute("returned", enterprise_number, numbers)
            return family.rows[storable(first)]

    async def edit(self, enterprise_number: str, phone: str, changes: Mapping[str, str | bool]) -> Customer:
        """What a person says about a number stands (the row is made when missing); see `corrected_by_hand`.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        number = [storable(phone)]
        async with self._database.transaction() as session:
            [row] = await lock_customers(session, enterprise_number, number, make=number)
            await session.execute("returned", enterprise_number, number)
            edited = await _store_edit(session, corrected_by_hand(customer_from_row(row), changes, at=row["at"]))
            await notify_customers(session, [edited])
            return edited


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
