"""Finished calls, customers' counters and cards, written together in one transaction, exactly once.

Calls that have no customer in common share a transaction; each statement is run for all of them in one round trip.
Locks are always taken in one order, so that writers do not deadlock: the calls (advisory, by linkedid), the customers'
rows by number, the people with several numbers (advisory, by uid), the missed calls that wait, the cards, the notes of
erasures. The counters change by the difference between what the row counted before and counts now; `last_*` move
forward with a call that is newer than all others and are computed again from `calls` in every other case. Calls that
were deleted for their age are counted in `past_calls`; none of them comes back.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import timedelta

from vochi_agent.calls.call_backs import waits_for_us
from vochi_agent.calls.ledger import (
    Counts,
    counts,
    customer_phone,
    unrelated,
)
from vochi_agent.calls.model import Call, Phase, Status
from vochi_agent.customers.model import Customer, History
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import CardDraft, Recorded, Renderer
from vochi_agent.rendering import no_cards

from .call_backs import hold_people, note_corrected, note_new, settle, shown_call_backs
from .card_drafts import CallCards, put_cards, put_reminders, take_back
from .database import Database, Row, Session
from .erasure import is_erased
from .family import lock_customers
from .ledger_plans import Forgotten, Stored, planned
from .rows import (
    call_arguments,
    call_from_row,
    customer_from_row,
    history_from_json,
    history_from_row,
    history_json,
    storable,
    storable_call,
)

__all__ = ["CallLedger"]

# A CRM is told what happened while we were away; a PBX's whole past, read on the first day, is not its business.
NEWS = timedelta(days=7)
NOW = timedelta(0)
# Of a table that was never analysed PostgreSQL thinks that it is almost empty, and reads all of it for one row. Its
# autovacuum looks once a minute; a first import would take several by then.
FIRST_ROWS = 200


class CallLedger:
    """Fulfils `ports.CallStore`.

    Attributes:
        crms: By enterprise number: the CRMs whose lists should hold its customers' calls.
        recording_waits: By enterprise number, of those whose recordings are served: how long a conversation waits for
            its file before CRMs are told, because most of them take no recording later.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.crms: Mapping[str, Sequence[str]] = {}
        self.recording_waits: Mapping[str, timedelta] = {}
        self._first_rows = FIRST_ROWS

    async def record(self, call: Call, render: Renderer) -> Recorded:
        """See `ports.CallStore.record`. `render` gets the customer as the call leaves him."""
        [recorded] = await self.record_some([call], render)
        return recorded

    async def record_some(self, calls: Sequence[Call], render: Renderer) -> list[Recorded]:
        """See `ports.CallStore.record_some`: those are stored together that have nothing to do with each other."""
        some = unrelated(map(storable_call, calls))
        number = some[0].enterprise_number
        async with self._database.transaction() as session:
            rows = await _rows_of(session, number, [call.linkedid for call in some])
            forgotten = await _forgotten(session, number, some)
            plans = planned(some, rows, forgotten)
            known = await _lock_customers(session, number, sorted({phone for plan in plans for phone in plan.phones}))
            # Chats were shown who an erased customer is while his call went on.
            await self._insert(session, [plan.call for plan in plans if plan.new and not plan.erased], known, render)
            await self._insert(
                session, nameless := [plan.call for plan in plans if plan.new and plan.erased], known, no_cards
            )
            for call in nameless:
                await take_back(session, number, call.linkedid)
            for plan in plans:
                if plan.old is not None and plan.changes:
                    await _correct(session, plan.old, plan.call, known, render)
                    await self._post(session, [] if plan.old.merged else [plan.call])
            back = [customer_phone(call) for call, gone, _ in zip(some, forgotten, plans, strict=False) if gone.returns]
            if back:
                await session.execute("returned", number, back)
        await self._note_rows(sum(plan.new for plan in plans))
        return [Recorded(inserted=plan.new, changed=plan.changes) for plan in plans]

    async def _note_rows(self, count: int) -> None:
        """See that the first rows of a new ledger are planned for; once a life."""
        if self._first_rows <= 0:
            return
        self._first_rows -= count
        if self._first_rows <= 0:
            with contextlib.suppress(StoreUnavailable):  # what was stored is stored
                async with self._database.transaction() as session:
                    row = await session.fetchrow("never_analyzed")
                    if row is not None and row["found"]:
                        await session.execute("analyze_ledger")

    async def merge(self, enterprise_number: str, linkedid: str, into: str) -> bool:
        """A call turned out to be part of `into`: it counts no more, no chat shows it. False: there was nothing to do.

        Raises:
            StoreUnavailable: nothing was stored; call again later.
        """
        async with self._database.transaction() as session:
            rows = (await _rows_of(session, enterprise_number, [linkedid]))[linkedid]
            # Chats may show a call that goes on and is stored nowhere.
            taken_back = await take_back(session, enterprise_number, rows[-1].call.linkedid if rows else linkedid)
            if not rows or rows[-1].merged:
                return taken_back > 0
            old = rows[-1]
            known = await _lock_customers(session, enterprise_number, [old.phone] if old.phone else [])
            await session.execute("mark_merged", enterprise_number, old.call.linkedid, into)
            await session.execute("unpost_call", enterprise_number, old.call.linkedid)
            await session.execute("drop_call_back", enterprise_number, old.call.linkedid)
            if old.phone is not None:
                await _recount(session, enterprise_number, old.phone, Counts() - old.counts)
                await settle(session, known.values())
            return True

    async def recorded(self, enterprise_number: str, linkedid: str, file: str, render: Renderer) -> int:
        """The recording of a stored call is there: put it on its row and its cards; returns how many cards changed.

        CRMs that waited for it are told now.

        Raises:
            StoreUnavailable: try again later.
        """
        await self._database.execute("call_recorded", enterprise_number, storable(linkedid), storable(file))
        await self._database.execute("release_posts", enterprise_number, storable(linkedid))
        return await self.refresh_cards(enterprise_number, linkedid, render)

    async def refresh_cards(self, enterprise_number: str, linkedid: str, render: Renderer) -> int:
        """Render the cards that a stored call has again, the customer as he is known now; returns how many changed.

        Raises:
            StoreUnavailable: nothing was changed; call again later.
        """
        async with self._database.transaction() as session:
            # Where a box repeated itself any of the calls may be meant.
            rows = (await _rows_of(session, enterprise_number, [linkedid]))[linkedid]
            return sum([await _refresh(session, row.call, render) for row in rows if not row.merged])

    async def _insert(
        self, session: Session, calls: Sequence[Call], known: Mapping[str, Customer], render: Renderer
    ) -> None:
        """New rows of calls of different customers, with all that follows from them."""
        if not calls:
            return
        await session.execute_each("insert_call", [call_arguments(call) for call in calls])
        customers = await _count(session, calls, known)
        await note_new(session, [call for call in calls if customer_phone(call)], known)
        call_backs = await shown_call_backs(session, [call for call in calls if waits_for_us(call)])
        cards = []
        for call in calls:
            phone = customer_phone(call)
            before = known[phone].history if phone else None
            drafts = render(call, customers.get(call.linkedid), before, call_back=call_backs.get(call.linkedid))
            cards.append(_final(call, drafts, before))
        number = calls[0].enterprise_number
        await put_cards(session, number, cards)
        for told in cards:
            if any(draft.reminder for draft in told.drafts):
                await put_reminders(session, number, told.linkedid, told.drafts)
        await self._post(session, calls)

    async def _post(self, session: Session, calls: Sequence[Call]) -> None:
        """Leave calls of one enterprise for the CRMs, in the transaction that stores them."""
        posts = [post for call in calls if customer_phone(call) for post in self._posts(call)]
        if posts:
            await session.execute_each("post_call", posts)

    def _posts(self, call: Call) -> Iterator[tuple[object, ...]]:
        if crms := self.crms.get(call.enterprise_number):
            expected = call.status is Status.ANSWERED and not call.recording
            wait = self.recording_waits.get(call.enterprise_number, NOW) if expected else NOW
            yield call.enterprise_number, call.linkedid, list(crms), call.ended_at, NEWS, wait


async def _rows_of(session: Session, enterprise_number: str, linkedids: Sequence[str]) -> dict[str, list[Stored]]:
    """The rows of each linkedid, oldest first, which nobody else changes until the end of the transaction."""
    asked = {storable(linkedid): linkedid for linkedid in sorted(linkedids)}
    arguments = [(enterprise_number, name) for name in asked]
    await session.execute_each("lock_call", arguments)
    found: dict[str, list[Stored]] = {linkedid: [] for linkedid in linkedids}
    for row in await session.fetch_each("calls_of_linkedid", arguments):
        stored = Stored(call=call_from_row(row), merged=row["merged_into"] is not None)
        found[asked[row["asked"]]].append(stored)
    return found


async def _forgotten(session: Session, enterprise_number: str, calls: Sequence[Call]) -> list[Forgotten]:
    """What is not there any more, for each call."""
    rows = await session.fetch_each("forgotten", [(enterprise_number, customer_phone(call)) for call in calls])
    return [_forgotten_of(call, row) for call, row in zip(calls, rows, strict=True)]


def _forgotten_of(call: Call, row: Row) -> Forgotten:
    erased = is_erased(call, row["erased_at"])
    return Forgotten(
        calls_before=row["calls_before"],
        customer=erased,
        returns=row["erased_at"] is not None and not erased and not row["returned"],
    )


async def _correct(session: Session, old: Stored, call: Call, known: Mapping[str, Customer], render: Renderer) -> None:
    new = Stored(call=call, merged=old.merged)
    phones = {phone for phone in (old.phone, new.phone) if phone is not None}
    before = None
    if new.phone is not None:
        same_customer = new.phone == old.phone
        before = await _shown_before(session, old.call) if same_customer else known[new.phone].history
    await session.execute("correct_call", *call_arguments(call))
    customer = None
    for phone in sorted(phones):
        added = new.counts if phone == new.phone else Counts()
        taken = old.counts if phone == old.phone else Counts()
        counted = await _recount(session, call.enterprise_number, phone, added - taken)
        customer = counted if phone == new.phone else customer
    if not new.merged:
        await note_corrected(session, call, [known[phone] for phone in sorted(phones)])
        call_back = (await shown_call_backs(session, [call])).get(call.linkedid)
        drafts = render(call, customer, before, call_back=call_back)
        await put_cards(session, call.enterprise_number, [_final(call, drafts, before)])
        await put_reminders(session, call.enterprise_number, call.linkedid, drafts)


async def _refresh(session: Session, call: Call, render: Renderer) -> int:
    customer, before = None, None
    if phone := customer_phone(call):
        row = await session.fetchrow("customer", call.enterprise_number, phone)
        customer = customer_from_row(row) if row is not None else None
    if customer is not None:
        before = await _shown_before(session, call)
    call_back = (await shown_call_backs(session, [call])).get(call.linkedid)
    # A chat that was not told of the call, or in a digest with others, is not told now.
    drafts = [replace(draft, wanted=False) for draft in render(call, customer, before, call_back=call_back)]
    changed = await put_cards(session, call.enterprise_number, [_final(call, drafts, before)])
    return changed + await put_reminders(session, call.enterprise_number, call.linkedid, drafts)


async def _lock_customers(session: Session, enterprise_number: str, phones: Sequence[str]) -> dict[str, Customer]:
    """The rows of sorted numbers, made where missing, and their people, locked until the end of the transaction."""
    if not phones:
        return {}
    rows = await lock_customers(session, enterprise_number, phones, make=phones)
    known = {row["phone_e164"]: customer_from_row(row) for row in rows}
    await hold_people(session, enterprise_number, known.values())
    return known


async def _count(session: Session, calls: Sequence[Call], known: Mapping[str, Customer]) -> dict[str, Customer]:
    """Count calls of different customers; by linkedid the customers as these leave them."""
    counted, newest = {}, []
    for call in calls:
        if phone := customer_phone(call):
            last = known[phone].history.last_call_at
            if last is None or call.ended_at > last:
                newest.append(call)
            else:
                counted[call.linkedid] = await _recount(session, call.enterprise_number, phone, counts(call))
    if newest:
        rows = await session.fetch_each("count_newest_call", map(_newest_arguments, newest))
        counted |= {call.linkedid: customer_from_row(row) for call, row in zip(newest, rows, strict=True)}
    return counted


def _newest_arguments(call: Call) -> tuple[object, ...]:
    return (
        call.enterprise_number,
        call.phone,
        *astuple(counts(call)),
        call.started_at,
        call.ended_at,
        call.direction.value,
        call.status.value,
        call.line,
        call.last_agent,
    )


async def _recount(session: Session, enterprise_number: str, phone: str, change: Counts) -> Customer:
    return customer_from_row(await session.fetchrow("recount_customer", enterprise_number, phone, *astuple(change)))


async def _shown_before(session: Session, call: Call) -> History:
    """The history that the call's cards show; without cards, the calls that began before it."""
    shown = await session.fetchrow("call_before", call.enterprise_number, call.linkedid)
    if shown is not None:
        return history_from_json(shown["before"])
    row = await session.fetchrow(
        "history_before_call", call.enterprise_number, customer_phone(call), call.linkedid, call.started_at
    )
    return history_from_row(row)


def _final(call: Call, drafts: Sequence[CardDraft], before: History | None) -> CallCards:
    return CallCards(linkedid=call.linkedid, phase=Phase.HANGUP, drafts=drafts, before=history_json(before))
