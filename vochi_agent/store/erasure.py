"""A person's data goes, from every table, and nothing that is told of him later by others brings it back.

Two transactions. The first waits for whoever writes a call of the enterprise at this moment (milliseconds) and notes
the digests of the numbers: from its end on no call that began before has these numbers any more, and no profile is
stored for them. The second takes away what is there. Interrupted in between, the same once more finishes it.

A call keeps what counts nobody: when, which line, which of us. In what cannot be a number stands nothing, in a place
among those who talked `erased`.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from vochi_agent.calls.ledger import customer_phone
from vochi_agent.calls.model import Call
from vochi_agent.calls.numbers import national
from vochi_agent.customers.erasing import cards_of, numbers_of_human
from vochi_agent.customers.identity import spellings
from vochi_agent.customers.model import Customer
from vochi_agent.customers.parting import uid_of
from vochi_agent.phonebook_import import id_of_number

from .database import Database, Row, Session
from .family import lock_customers, notify_numbers
from .rows import customer_from_row, storable

__all__ = ["Erased", "Erasure", "ErasureNote", "Traces", "is_erased"]

# Whole tables are read for texts that mention a number.
DEADLINE_S: Final = 600.0
TIME_LIMIT: Final = "590s"
EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """How many rows there are of somebody.

    Attributes:
        customers: Numbers with a name, a counter or a note.
        black_listed: Of them, those that may not call.
        calls: That are there, by whatever spelling of the number.
        past_calls: That left for their age and are still counted.
        mentions: Calls of others that name the number: it was called or rang, too.
        cards: What chats show of these calls.
        messages: Of the cards, those that stand in a chat.
        posts: Calls on their way into CRMs, or there.
        posted: Of them, those that are there.
        changes: What CRMs told of him and is not worked off.
        updates: What people wrote of him to a bot, or pressed on his cards, and is not handled.
        recordings: Files of conversations, under the enterprise's recordings.
    """

    customers: int = 0
    black_listed: int = 0
    calls: int = 0
    past_calls: int = 0
    mentions: int = 0
    cards: int = 0
    messages: int = 0
    posts: int = 0
    posted: int = 0
    changes: int = 0
    updates: int = 0
    recordings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        of_him = (self.customers, self.calls, self.past_calls, self.mentions, self.cards, self.changes, self.updates)
        return any(of_him)


@dataclass(frozen=True, slots=True)
class Erased:
    """Which numbers, and what was there of them."""

    numbers: Sequence[str]
    traces: Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureNote:
    """One number in the list of what was erased; `done` is None when it was interrupted."""

    enterprise_number: str
    digest: str
    erased_at: datetime
    erased_by: str
    done: Mapping[str, int] | None
    returned_at: datetime | None


class _TakenBack(Exception):
    """Ends the transaction of a look."""


class Erasure:
    """Forgets people. Every method raises StoreUnavailable and may be called again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def numbers(self, enterprise_number: str, phone: str) -> list[str]:
        """All numbers of the human who has this one, itself among them."""
        async with self._database.transaction() as session:
            row = await session.fetchrow("customer", enterprise_number, storable(phone))
            if row is None:
                return [phone]
            customer = customer_from_row(row)
            uid = uid_of(customer)
            kin = await session.fetch("person", enterprise_number, spellings(uid)) if uid else []
        return numbers_of_human(customer, [customer_from_row(each) for each in kin])

    async def look(self, enterprise_number: str, numbers: Sequence[str]) -> Traces:
        """What `erase` would take away; does everything and takes it back."""
        traces = Traces()
        try:
            async with self._database.transaction(deadline_s=DEADLINE_S) as session:
                await session.execute("allow_time", TIME_LIMIT)
                traces = await _take_away(session, enterprise_number, numbers, until=EVER)
                raise _TakenBack
        except _TakenBack:
            return traces

    async def erase(self, enterprise_number: str, numbers: Sequence[str], *, by: str) -> Traces:
        """Forget these numbers, and keep forgetting them; every daemon forgets them at once.

        Args:
            by: Who does it, for the list.
        """
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            await session.execute("allow_time", TIME_LIMIT)
            await session.execute("lock_erasure", enterprise_number)
            await session.execute("lock_persons", enterprise_number)
            await session.execute("ensure_erasure_key", secrets.token_bytes(32))
            begun = await session.fetch("begin_erasures", enterprise_number, numbers, storable(by))
        async with self._database.transaction(deadline_s=DEADLINE_S) as session:
            await session.execute("allow_time", TIME_LIMIT)
            until = max(row["erased_at"] for row in begun)
            traces = await _take_away(session, enterprise_number, numbers, until=until)
            counts = {name: value for name, value in asdict(traces).items() if isinstance(value, int)}
            await session.execute("end_erasures", [row["id"] for row in begun], counts)
        return traces

    async def others(self, enterprise_number: str, calls: Sequence[Call]) -> list[Call]:
        """Those of some calls that are not calls of somebody who was erased since."""
        async with self._database.transaction() as session:
            asked = [(enterprise_number, customer_phone(call)) for call in calls]
            rows = await session.fetch_each("forgotten", asked)
        return [call for call, row in zip(calls, rows, strict=True) if not is_erased(call, row["erased_at"])]

    async def notes(self, enterprise_number: str | None, *, limit: int) -> list[ErasureNote]:
        """What was erased, newest first."""
        rows = await self._database.fetch("erasures", enterprise_number, limit)
        return [ErasureNote(**{name: row[name] for name in ErasureNote.__dataclass_fields__}) for row in rows]


def is_erased(call: Call, erased_at: datetime | None) -> bool:
    """Whether a call is one that its customer, erased at that moment, wanted forgotten."""
    return erased_at is not None and call.started_at <= erased_at


async def _take_away(session: Session, enterprise_number: str, numbers: Sequence[str], *, until: datetime) -> Traces:
    """Locks are taken in the order that every writer keeps: calls, customers, missed calls that wait, cards.

    Its own note, which says at last what was there, comes after all of them.
    """
    whole, within, digits = _patterns(numbers)
    calls = await session.fetch("erase_calls", enterprise_number, numbers, whole, until)
    linkedids = [row["linkedid"] for row in calls]
    mentions = await session.fetch("erase_mentions", enterprise_number, whole, within)
    # A deletion alone would take them in the order in which they lie in the table.
    customers = [customer_from_row(row) for row in await session.fetch("lock_customers", enterprise_number, numbers)]
    await session.execute("erase_last_agents", enterprise_number, whole)
    past = await session.fetchrow("erase_past_calls", enterprise_number, numbers)
    gone = await session.fetch("erase_customers", enterprise_number, numbers)
    # A phonebook's id may be made of a number; his other numbers have it too.
    await session.execute("erase_ids", enterprise_number, [id_of_number(number) for number in numbers])
    await _keep_new_calls(session, enterprise_number, numbers)
    await session.execute("erase_call_backs", enterprise_number, numbers, linkedids, whole)
    cards = await session.fetch("erase_cards", enterprise_number, linkedids, digits)
    # A bot may be several enterprises': better one press too many is lost than one that brings him back.
    shown = [card for card in cards if card["message_id"]]
    chats, messages = [card["chat_id"] for card in shown], [card["message_id"] for card in shown]
    updates = await session.fetch("erase_kept_updates", within, chats, messages)
    posts = await session.fetch("erase_posts", enterprise_number, linkedids)
    changes = await session.fetch("erase_changes", enterprise_number, numbers, *_cards_of(customers))
    await session.execute("erase_place_of_backfill", enterprise_number, numbers)
    await notify_numbers(session, enterprise_number, numbers)
    return Traces(
        customers=len(gone),
        black_listed=sum(bool(row["black_list"]) for row in gone),
        calls=len(calls),
        past_calls=int(past["calls"]) if past is not None else 0,
        mentions=len(mentions),
        cards=len(cards),
        messages=_filled(cards, "message_id"),
        posts=len(posts),
        posted=_filled(posts, "sent_revision"),
        changes=len(changes),
        updates=len(updates),
        recordings=tuple(sorted(row["recording"] for row in calls if row["recording"])),
    )


async def _keep_new_calls(session: Session, enterprise_number: str, numbers: Sequence[str]) -> None:
    """Who called while he was erased is a customer with that call alone."""
    rows = await session.fetch("called_since", enterprise_number, numbers)
    if again := sorted(row["phone_e164"] for row in rows):
        await lock_customers(session, enterprise_number, again, make=again)
        await session.fetch("mend_customers", enterprise_number, again)


def _patterns(numbers: Sequence[str]) -> tuple[str, str, str]:
    """Regular expressions: a text that is one of the numbers, one that contains one, a row of digits that does."""
    ends = "|".join(re.escape(national(number)) for number in numbers)
    digits = "|".join(re.escape(number.removeprefix("+")) for number in numbers)
    return rf"^\+?[0-9]{{0,8}}({ends})$", f"({ends})(?![0-9])", f"({digits})"


def _cards_of(customers: Sequence[Customer]) -> tuple[list[str], list[str]]:
    cards = [card for customer in customers for card in cards_of(customer)]
    return [source for source, _ in cards], [external_id for _, external_id in cards]


def _filled(rows: Sequence[Row], column: str) -> int:
    return sum(bool(row[column]) for row in rows)
