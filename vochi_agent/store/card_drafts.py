"""Writes what chats should show, inside somebody's transaction: finals by the ledger, live states by themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vochi_agent.calls.model import Phase
from vochi_agent.ports import CardDraft

from .database import Session
from .rows import storable

__all__ = ["CARDS_CHANNEL", "CallCards", "put_cards", "put_reminders", "take_back"]

CARDS_CHANNEL = "vochi_cards"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCards:
    """What chats should show about a call.

    Attributes:
        linkedid: As stored.
        before: The customer's counters before the call, for who renders its final card again.
    """

    linkedid: str
    phase: Phase
    drafts: Sequence[CardDraft]
    before: Mapping[str, object] | None = None


async def put_cards(session: Session, enterprise_number: str, cards: Sequence[CallCards]) -> int:
    """Store what each chat should show about some calls; returns how many cards changed."""
    told = [_arguments(enterprise_number, of_call) for of_call in cards if of_call.drafts]
    if not told:
        return 0
    changed = await session.fetch_each("put_cards", told)
    return await _told(session, enterprise_number, len(changed))


def _arguments(enterprise_number: str, cards: CallCards) -> tuple[object, ...]:
    # Two tables of the configuration may describe one chat: whoever wants the call is heard.
    each = list({(draft.chat_id, draft.topic): draft for draft in sorted(cards.drafts, key=_wanted)}.values())
    return (
        enterprise_number,
        storable(cards.linkedid),
        cards.phase.value,
        cards.before,
        [draft.chat_id for draft in each],
        [draft.topic for draft in each],
        [storable(draft.text) for draft in each],
        [storable(draft.brief) for draft in each],
        [draft.silent for draft in each],
        [draft.anew for draft in each],
        [draft.held_until for draft in each],
        [draft.wanted for draft in each],
        [storable(draft.sound) for draft in each],
        [",".join(draft.buttons) for draft in each],
    )


async def put_reminders(session: Session, enterprise_number: str, linkedid: str, drafts: Sequence[CardDraft]) -> int:
    """Store what chats should be told of a missed call later, or nothing any more; returns how many cards changed."""
    each = {(draft.chat_id, draft.topic): draft for draft in sorted(drafts, key=_wanted)}
    found = [(draft, draft.reminder) for draft in each.values() if draft.reminder is not None]
    if not found:
        changed = await session.fetch("take_back_reminders", enterprise_number, storable(linkedid))
        return await _told(session, enterprise_number, len(changed))
    changed = await session.fetch(
        "put_reminders",
        enterprise_number,
        storable(linkedid),
        [draft.chat_id for draft, _ in found],
        [draft.topic for draft, _ in found],
        [storable(reminder.text) for _, reminder in found],
        [storable(reminder.brief) for _, reminder in found],
        [reminder.at for _, reminder in found],
        [",".join(reminder.buttons) for _, reminder in found],
        [draft.wanted for draft, _ in found],
    )
    return await _told(session, enterprise_number, len(changed))


async def take_back(session: Session, enterprise_number: str, linkedid: str) -> int:
    """Nothing is to be shown about a call any more; returns how many cards changed."""
    changed = await session.fetch("take_back_cards", enterprise_number, storable(linkedid))
    return await _told(session, enterprise_number, len(changed))


async def _told(session: Session, enterprise_number: str, changed: int) -> int:
    if changed:
        await session.execute("notify_cards", enterprise_number)
    return changed


def _wanted(draft: CardDraft) -> bool:
    return draft.wanted
