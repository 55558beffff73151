"""Finished calls, customers' counters and cards, written together: one transaction a call, exactly once.

Locks are always taken in one order, so writers never deadlock: the call (advisory, by linkedid), the customers' rows
by number, the missed calls that wait, the cards. The counters change by the difference between what the row counted
before and counts now; `last_*` move forward with a call that is newer than all others and are computed again from
`calls` in every other case. Calls that were deleted for their age are counted in `past_calls`; none of them comes back.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import timedelta

from vochi_agent.calls.call_backs import CallBack, waits_for_us
from vochi_agent.calls.ledger import (
    Counts,
    anonymous,
    corrected,
    counts,
    customer_phone,
    free_linkedid,
    may_have_left,
    same_call,
)
from vochi_agent.calls.model import Call, Phase, Source, Status
from vochi_agent.customers.model import Customer, History
from vochi_agent.ports import CardDraft, Recorded, Renderer

from .call_backs import note_corrected, note_new, settle, shown_call_back
from .card_drafts import put_cards, put_reminders, take_back
from .database import Database, Session
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

log = logging.getLogger(__name__)

# A CRM is told what happened while we were away; a PBX's whole past, read on the first day, is not its business.
NEWS = timedelta(days=7)
NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A row of `calls`."""

    call: Call
    merged: bool

    @property
    def phone(self) -> str | None:
        return None if self.merged else customer_phone(self.call)

    @property
    def counts(self) -> Counts:
        return Counts() if self.merged else counts(self.call)


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

    async def record(self, call: Call, render: Renderer) -> Recorded:
        """See `ports.CallStore.record`. `render` gets the customer as the call leaves him."""
        new = storable_call(call)
        async with self._database.transaction() as session:
            rows = await _rows_of(session, new.enterprise_number, new.linkedid)
            erased = await _is_erased(session, new)
            if erased:
                new, render = anonymous(new), _no_cards
            old = min(
                (row for row in rows if same_call(row.call, new)),
                key=lambda row: abs(row.call.started_at - new.started_at),
                default=None,
            )
            if old is None and await _has_left(session, new):
                return Recorded(inserted=False, changed=False)
            if old is None:
                linkedid = free_linkedid(new.linkedid, [row.call.linkedid for row in rows])
                fresh = replace(new, linkedid=linkedid)
                await _insert(session, fresh, render)
                await self._post(session, fresh)
                if erased:  # while it went on chats were shown who he is
                    await take_back(session, fresh.enterprise_number, linkedid)
                return Recorded(inserted=True, changed=True)
            better = corrected(old.call, new)
            # What is there of a call that is erased at this moment has to be found by who erases it.
            if erased or better == old.call:
                return Recorded(inserted=False, changed=False)
            await _correct(session, old, better, render)
            if not old.merged:
                await self._post(session, better)
            return Recorded(inserted=False, changed=True)

    async def merge(self, enterprise_number: str, linkedid: str, into: str) -> bool:
        """A call turned out to be part of `into`: it counts no more, no chat shows it. False: there was nothing to do.

        Raises:
            StoreUnavailable: nothing was stored; call again later.
        """
        async with self._database.transaction() as session:
            rows = await _rows_of(session, enterprise_number, linkedid)
            # Chats may show a call that goes on and is stored nowhere.
            taken_back = await take_back(session, enterprise_number, rows[-1].call.linkedid if rows else linkedid)
            if not rows or rows[-1].merged:
                return taken_back > 0
            old = rows[-1]
            if old.phone is not None:
                await _lock_customers(session, enterprise_number, [old.phone])
            await session.execute("mark_merged", enterprise_number, old.call.linkedid, into)
            await session.execute("unpost_call", enterprise_number, old.call.linkedid)
            await session.execute("drop_call_back", enterprise_number, old.call.linkedid)
            if old.phone is not None:
                await _recount(session, enterprise_number, old.phone, Counts() - old.counts)
                await settle(session, enterprise_number, old.phone)
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
            rows = await _rows_of(session, enterprise_number, linkedid)
            return sum([await _refresh(session, row.call, render) for row in rows if not row.merged])

    async def _post(self, session: Session, call: Call) -> None:
        """Leave the call for the CRMs, in the transaction that stores it."""
        crms = self.crms.get(call.enterprise_number)
        if crms and customer_phone(call):
            expected = call.status is Status.ANSWERED and not call.recording
            wait = self.recording_waits.get(call.enterprise_number, NOW) if expected else NOW
            await session.execute(
                "post_call", call.enterprise_number, call.linkedid, list(crms), call.ended_at, NEWS, wait
            )


async def _rows_of(session: Session, enterprise_number: str, linkedid: str) -> list[_Stored]:
    """The rows of a linkedid, oldest first, which nobody else changes until the end of the transaction."""
    arguments = (enterprise_number, storable(linkedid))
    await session.execute("lock_call", *arguments)
    rows = await session.fetch("calls_of_linkedid", *arguments)
    return [_Stored(call=call_from_row(row), merged=row["merged_into"] is not None) for row in rows]


async def _is_erased(session: Session, call: Call) -> bool:
    """Whether a call is one that its customer wanted forgotten. A later one is his return."""
    phone = customer_phone(call)
    row = await session.fetchrow("erased", call.enterprise_number, phone) if phone else None
    if row is None:
        return False
    if call.started_at <= row["erased_at"]:
        return True
    if not row["returned"]:
        await session.execute("returned", call.enterprise_number, [phone])
    return False


def _no_cards(
    call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
) -> Sequence[CardDraft]:
    del call, customer, before, call_back
    return ()


async def _has_left(session: Session, call: Call) -> bool:
    """Whether a call without a row has to be taken for one that was counted and deleted for its age."""
    row = await session.fetchrow("calls_before", call.enterprise_number)
    if row is None or not may_have_left(call, row["calls_before"]):
        return False
    if call.source is Source.LIVE:
        log.warning(
            "A call of %s that began at %s is left out: calls of that time are deleted. Is the clock of the PBX right?",
            call.enterprise_number,
            call.started_at.isoformat(timespec="seconds"),
            extra={"action": "call_too_old"},
        )
    return True


async def _insert(session: Session, call: Call, render: Renderer) -> None:
    customer, before = None, None
    if phone := customer_phone(call):
        known = await _lock_customers(session, call.enterprise_number, [phone])
        before = known[phone].history
    await session.execute("insert_call", *call_arguments(call))
    if phone and before is not None:
        if before.last_call_at is None or call.ended_at > before.last_call_at:
            customer = await _count_newest(session, call, phone)
        else:
            customer = await _recount(session, call.enterprise_number, phone, counts(call))
        await note_new(session, call)
    call_back = await shown_call_back(session, call) if waits_for_us(call) else None
    drafts = render(call, customer, before, call_back=call_back)
    await _put_cards(session, call, drafts, before)
    if any(draft.reminder for draft in drafts):
        await put_reminders(session, call.enterprise_number, call.linkedid, drafts)


async def _correct(session: Session, old: _Stored, call: Call, render: Renderer) -> None:
    new = _Stored(call=call, merged=old.merged)
    phones = {phone for phone in (old.phone, new.phone) if phone is not None}
    known = await _lock_customers(session, call.enterprise_number, sorted(phones))
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
        await note_corrected(session, call, phones=phones)
        call_back = await shown_call_back(session, call)
        drafts = render(call, customer, before, call_back=call_back)
        await _put_cards(session, call, drafts, before)
        await put_reminders(session, call.enterprise_number, call.linkedid, drafts)


async def _refresh(session: Session, call: Call, render: Renderer) -> int:
    customer, before = None, None
    if phone := customer_phone(call):
        row = await session.fetchrow("customer", call.enterprise_number, phone)
        customer = customer_from_row(row) if row is not None else None
    if customer is not None:
        before = await _shown_before(session, call)
    call_back = await shown_call_back(session, call)
    # A chat that was not told of the call, or in a digest with others, is not told now.
    drafts = [replace(draft, wanted=False) for draft in render(call, customer, before, call_back=call_back)]
    changed = await _put_cards(session, call, drafts, before)
    return changed + await put_reminders(session, call.enterprise_number, call.linkedid, drafts)


async def _lock_customers(session: Session, enterprise_number: str, phones: Sequence[str]) -> dict[str, Customer]:
    """The rows of sorted numbers, made where missing, locked until the end of the transaction."""
    await session.execute("ensure_customers", enterprise_number, phones)
    rows = await session.fetch("lock_customers", enterprise_number, phones)
    return {row["phone_e164"]: customer_from_row(row) for row in rows}


async def _count_newest(session: Session, call: Call, phone: str) -> Customer:
    row = await session.fetchrow(
        "count_newest_call",
        call.enterprise_number,
        phone,
        *astuple(counts(call)),
        call.started_at,
        call.ended_at,
        call.direction.value,
        call.status.value,
        call.line,
        call.last_agent,
    )
    return customer_from_row(row)


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


async def _put_cards(session: Session, call: Call, drafts: Sequence[CardDraft], before: History | None) -> int:
    """Store what each chat should show; returns how many cards changed."""
    return await put_cards(
        session, call.enterprise_number, call.linkedid, phase=Phase.HANGUP, drafts=drafts, before=history_json(before)
    )
