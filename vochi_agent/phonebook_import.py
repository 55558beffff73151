"""The people of a phonebook file become customers: which numbers count, who is one person, what became of each line."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol

from vochi_agent.calls.numbers import to_e164
from vochi_agent.config import Enterprise
from vochi_agent.customers.model import Names, Profile
from vochi_agent.customers.phonebook import Broken, Entry, Parsed

__all__ = ["SOURCE", "Counted", "Imported", "Phonebook", "id_of_number", "import_phonebook"]

SOURCE: Final = "phonebook"
# People in one transaction: a call that ends meanwhile waits for some tens of milliseconds at most.
TOGETHER: Final = 250
UID_DIGITS: Final = 16


class Imported(StrEnum):
    """What became of one person."""

    NEW = "imported"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class Phonebook(Protocol):
    """Where customers are kept."""

    async def put(
        self, enterprise_number: str, people: Sequence[Profile], *, primary: bool, dry_run: bool
    ) -> list[Imported]:
        """Merge profiles that have no number in common, all or none; returns what became of each.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A file in numbers: three of people, and complaints. A line with a good and a bad number is in two of them."""

    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0


async def import_phonebook(
    parsed: Iterable[Parsed],
    phonebook: Phonebook,
    enterprise: Enterprise,
    *,
    dry_run: bool,
    complain: Callable[[Broken], None],
    progress: Callable[[], None],
) -> Counted:
    """Import what a parser found.

    Args:
        dry_run: Only say what would become of it.
        complain: Told every line that is not used, and why, in their order but for the end of a batch.
        progress: Called after every batch.

    Raises:
        StoreUnavailable: what was imported before stays; doing it again is right.
    """
    people = _People(enterprise)
    primary = enterprise.primary_source == SOURCE
    done = Counted()
    for batch in _batches(parsed):
        profiles = []
        for told in batch:
            profile, complaints = (None, [told]) if isinstance(told, Broken) else people.profile(told)
            profiles += [profile] if profile else []
            for complaint in complaints:
                complain(complaint)
            done = replace(done, skipped=done.skipped + len(complaints))
        results = await phonebook.put(enterprise.number, profiles, primary=primary, dry_run=dry_run)
        done = replace(
            done,
            imported=done.imported + results.count(Imported.NEW),
            updated=done.updated + results.count(Imported.UPDATED),
            unchanged=done.unchanged + results.count(Imported.UNCHANGED),
        )
        progress()
    return done


def id_of_number(phone: str) -> str:
    """The id of a person whom the file gives none: his first number makes it, so it tells that number."""
    return f"p-{phone.removeprefix('+')}"


class _People:
    """From entries to profiles. A number and a uid belong to the first person of the file that has them."""

    def __init__(self, enterprise: Enterprise) -> None:
        self._country = enterprise.country
        own = [line.number for line in enterprise.lines] + [agent.mobile for agent in enterprise.agents]
        self._own = {number for text in own if text and (number := self._e164(text))}
        self._lines_of_numbers: dict[str, int] = {}
        self._uids: set[str] = set()

    def profile(self, entry: Entry) -> tuple[Profile | None, list[Broken]]:
        """The person and what of him is not used; None when nothing is left."""
        if not entry.names:
            return None, [Broken(entry.line, "has no name")]
        if not entry.numbers:
            return None, [Broken(entry.line, "has no telephone number")]
        phones: list[str] = []
        complaints = []
        for written in entry.numbers:
            phone = self._e164(written)
            if phone in phones:
                continue
            if phone is None or (why := self._why_not(phone)):
                why = "is no telephone number" if phone is None else why
                complaints.append(Broken(entry.line, f"{written[:40]!r} {why}"))
            else:
                phones.append(phone)
                self._lines_of_numbers[phone] = entry.line
        if not phones:
            return None, complaints
        return self._made(entry, phones), complaints

    def _e164(self, written: str) -> str | None:
        return to_e164(written.strip(), country=self._country)

    def _why_not(self, phone: str) -> str:
        if phone in self._own:
            return "is a number of our own"
        if phone in self._lines_of_numbers:
            return f"is in line {self._lines_of_numbers[phone]} already"
        return ""

    def _made(self, entry: Entry, phones: Sequence[str]) -> Profile:
        """The file's own id makes the person, else his first number: the same file gives the same ids for ever."""
        external_id = id_of_number(phones[0])
        if entry.uid and entry.uid not in self._uids:
            self._uids.add(entry.uid)
            external_id = f"p-{sha256(entry.uid.encode()).hexdigest()[:UID_DIGITS]}"
        names: Names = entry.names
        return Profile(source=SOURCE, external_id=external_id, names=names, phones=tuple(phones))


def _batches(parsed: Iterable[Parsed]) -> Iterator[list[Parsed]]:
    batch: list[Parsed] = []
    for told in parsed:
        batch.append(told)
        if len(batch) == TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
