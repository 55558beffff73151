"""The table of customers as a directory: who a number is, and what a CRM adds to that.

Rows are locked in the order of their numbers, the order that the ledger keeps too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vochi_agent.customers.identity import (
    canonical_uid,
    corrected_by_hand,
    joint_uid,
    merge_profile,
    person_uid,
    spellings,
)
from vochi_agent.customers.model import Customer, Names, Profile

from .database import Database, Row, Session
from .rows import customer_from_row, storable

__all__ = ["Customers"]


class Customers:
    """Fulfils `ports.CustomerDirectory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        row = await self._database.fetchrow("customer", enterprise_number, storable(phone))
        return customer_from_row(row) if row is not None else None

    async def person(self, enterprise_number: str, uid: str) -> list[Customer]:
        """All numbers of a `person_uid`, oldest first. Raises StoreUnavailable."""
        rows = await self._database.fetch("person", enterprise_number, spellings(canonical_uid(uid)))
        return [customer_from_row(row) for row in rows]

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer:
        """Merge a fresh profile into the row of a number and of the person's other numbers; returns the first.

        Further rows of the same person follow: all of the name for a person, the company's name for a company.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        own = sorted({storable(phone), *map(storable, profile.phones)})
        async with self._database.transaction() as session:
            related = await _related(session, enterprise_number, profile)
            await session.execute("ensure_customers", enterprise_number, own)
            rows = await session.fetch("lock_customers", enterprise_number, sorted({*own, *related}))
            target = _target(rows, own, profile)
            known = {row["phone_e164"]: customer_from_row(row) for row in rows}
            for row in rows:
                customer = known[row["phone_e164"]]
                fresh = profile if customer.phone_e164 in own else _share_of(customer, profile, target)
                if fresh is None:
                    continue
                names, meta = merge_profile(customer, fresh, primary=primary, target=target, at=row["at"])
                if names != customer.names or meta != dict(customer.meta):
                    known[customer.phone_e164] = await _store(session, customer, names, meta)
            return known[storable(phone)]

    async def edit(self, enterprise_number: str, phone: str, changes: Mapping[str, str | bool]) -> Customer:
        """What a person says about a number stands (the row is made when missing); see `corrected_by_hand`.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        async with self._database.transaction() as session:
            await session.execute("ensure_customers", enterprise_number, [storable(phone)])
            row = (await session.fetch("lock_customers", enterprise_number, [storable(phone)]))[0]
            return await _store_edit(session, corrected_by_hand(customer_from_row(row), changes, at=row["at"]))


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


async def _related(session: Session, enterprise_number: str, profile: Profile) -> list[str]:
    """Further numbers that share something with this profile and do not show it yet."""
    uid = person_uid(profile)
    if not uid:
        return []
    rows = await session.fetch("person", enterprise_number, spellings(uid))
    return [
        row["phone_e164"]
        for row in rows
        if not profile.company_id or (row["enterprise_name"] or "") != profile.names.enterprise_name
    ]


def _target(rows: Sequence[Row], own: Sequence[str], profile: Profile) -> str:
    oldest_first = sorted((row for row in rows if row["phone_e164"] in own), key=lambda row: int(row["id"]))
    return joint_uid([customer_from_row(row) for row in oldest_first], profile)


def _share_of(customer: Customer, profile: Profile, target: str) -> Profile | None:
    """What a profile says about another number of the same person, or of the same company."""
    if canonical_uid(customer.meta.get("person_uid")) != target:
        return None  # moved to somebody else since it was read
    if not profile.company_id:
        return replace(profile, phones=())
    company = Names(enterprise_name=profile.names.enterprise_name)
    return replace(profile, names=company, external_id="", phones=())


async def _store(session: Session, customer: Customer, names: Names, meta: dict[str, object]) -> Customer:
    row = await session.fetchrow(
        "store_profile",
        customer.enterprise_number,
        customer.phone_e164,
        names.last_name,
        names.first_name,
        names.middle_name,
        names.enterprise_name,
        meta,
    )
    return customer_from_row(row)
