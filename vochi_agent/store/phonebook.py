"""Many profiles of one source at once: the merge of `Customers.enrich`, a handful of statements a batch."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from vochi_agent.customers.identity import ids_of, person_uid
from vochi_agent.customers.model import Customer, Profile
from vochi_agent.customers.parting import uid_of
from vochi_agent.customers.persons import enriched
from vochi_agent.phonebook_import import Imported, id_of_number

from .database import Database
from .family import Family

__all__ = ["PhonebookRows"]

DEADLINE_S: Final = 60.0
TIME_LIMIT: Final = "55s"


class _TakenBack(Exception):
    """Ends the transaction of a dry run."""


class PhonebookRows:
    """Fulfils `phonebook_import.Phonebook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, enterprise_number: str, people: Sequence[Profile], *, primary: bool, dry_run: bool
    ) -> list[Imported]:
        """See `phonebook_import.Phonebook.put`. A dry run does everything and takes it back."""
        results: list[Imported] = []
        if not people:
            return results
        try:
            async with self._database.transaction(deadline_s=DEADLINE_S) as session:
                await session.execute("allow_time", TIME_LIMIT)
                await session.execute("work_in_parts")
                family = Family(session, enterprise_number)
                people = await _without_the_erased(family, people)
                numbers = sorted({phone for person in people for phone in person.phones})
                await family.gather(numbers, uids=[uid for person in people if (uid := person_uid(person))])
                _, at = await family.lock(make=numbers)
                kin = _Kin(family.rows, at)
                results = [
                    kin.merge(person, primary=primary) if person.phones else Imported.UNCHANGED for person in people
                ]
                await family.store(kin.changed)
                if dry_run:
                    raise _TakenBack
        except _TakenBack:
            pass
        return results


async def _without_the_erased(family: Family, people: Sequence[Profile]) -> list[Profile]:
    """The same people without the numbers that were erased; of some nothing is left."""
    erased = await family.erased(sorted({phone for person in people for phone in person.phones}))
    return [_left_of(person, erased) for person in people] if erased else list(people)


def _left_of(person: Profile, erased: Collection[str]) -> Profile:
    phones = tuple(phone for phone in person.phones if phone not in erased)
    made_of_erased = person.external_id in {id_of_number(phone) for phone in person.phones if phone in erased}
    external_id = id_of_number(phones[0]) if phones and made_of_erased else person.external_id
    return replace(person, phones=phones, external_id=external_id)


class _Kin:
    """The rows of a batch as they are going to be, found by what a person may share with them."""

    def __init__(self, rows: Mapping[str, Customer], at: datetime) -> None:
        self._rows = dict(rows)  # oldest first, and it stays so
        self._ages = {phone: age for age, phone in enumerate(rows)}
        self._before = rows
        self._at = at
        self._sharing: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows.values():
            self._enter(row)

    @property
    def changed(self) -> list[Customer]:
        """The rows that are not as they were."""
        return [row for phone, row in self._rows.items() if row != self._before[phone]]

    def merge(self, person: Profile, *, primary: bool) -> Imported:
        """Merge a person into the rows of his numbers, and his name into those that are his by another source."""
        numbers = person.phones
        known = all(person.source in ids_of(self._rows[phone].meta) for phone in numbers)
        of_one = replace(person, phones=numbers[1:])
        changed = enriched(self._of(person), of_one, numbers, primary=primary, at=self._at)
        for row in changed:
            self._rows[row.phone_e164] = row
            self._enter(row)
        if not changed:
            return Imported.UNCHANGED
        return Imported.UPDATED if known else Imported.NEW

    def _of(self, person: Profile) -> list[Customer]:
        """The rows that `enriched` wants, oldest first."""
        phones = {*person.phones, *self._sharing[person_uid(person)]}
        persons = {uid for phone in phones if (uid := uid_of(self._rows[phone]))}
        phones.update(*(self._sharing[uid] for uid in persons))
        return [self._rows[phone] for phone in sorted(phones, key=self._ages.__getitem__)]

    def _enter(self, row: Customer) -> None:
        cards = (f"{source}:{each}" for source, ids in ids_of(row.meta).items() for each in ids)
        for key in (uid_of(row), *cards):
            if key:
                self._sharing[key].add(row.phone_e164)
