"""The cards that Telegram chats should show, for the workers that bring chat and database together.

One life of a revision: `claim` stores that a request is about to be made; then exactly one of `sent`, `failed`,
`given_up` - or none, when the answer was lost or the daemon died: after the lease the card is claimed again, marked
`uncertain`, because the chat may show it already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .database import Database
from .ledger import CARDS_CHANNEL
from .rows import storable

__all__ = ["Card", "CardQueue", "PendingChat"]

LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChat:
    """A chat with open work, which may be done at `due_at` (database clock)."""

    enterprise_number: str
    chat_id: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that has to be shown.

    Attributes:
        revision: What `sent` has to be told.
        message_id: The message to edit; None: nothing was sent yet.
        uncertain: An earlier request got no answer; the chat may show it already.
        failures: Refused attempts in a row.
    """

    id: int
    enterprise_number: str
    linkedid: str
    chat_id: int
    topic: int
    phase: str
    text: str
    silent: bool
    revision: int
    message_id: int | None
    uncertain: bool
    failures: int


class CardQueue:
    """Open work of all chats. Every method raises StoreUnavailable."""

    def __init__(self, database: Database, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever cards may have changed; runs until cancelled, ends with StoreUnavailable."""
        await self._database.listen(CARDS_CHANNEL, lambda _: wake())

    async def pending_chats(self) -> list[PendingChat]:
        """Chats with open work, the most urgent first."""
        rows = await self._database.fetch("pending_chats", self._lease)
        return [
            PendingChat(enterprise_number=row["enterprise_number"], chat_id=row["chat_id"], due_at=row["due_at"])
            for row in rows
        ]

    async def claim(self, enterprise_number: str, chat_id: int) -> Card | None:
        """The oldest card of a chat that is due; None when there is none."""
        row = await self._database.fetchrow("claim_card", enterprise_number, chat_id, self._lease)
        if row is None:
            return None
        return Card(**{name: row[name] for name in Card.__dataclass_fields__})

    async def sent(self, card: Card, message_id: int) -> None:
        """The chat shows this revision in that message."""
        await self._database.execute("card_sent", card.id, card.revision, message_id)

    async def failed(self, card: Card, retry_in: timedelta) -> None:
        """The chat refused; nothing changed there. Try again after a pause."""
        await self._database.execute("card_failed", card.id, retry_in)

    async def given_up(self, card: Card, reason: str) -> None:
        """The chat will never show this card."""
        await self._database.execute("card_given_up", card.id, storable(reason))
