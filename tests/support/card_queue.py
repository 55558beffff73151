"""The table of cards in memory, with the rules of the real one: a claimed card is taken until its lease ends."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from vochi_agent.errors import StoreUnavailable

__all__ = ["MemoryCards", "QueuedCard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedCard:
    """A card as the senders see it, and what only the table knows."""

    id: int
    enterprise_number: str
    chat_id: int
    text: str
    linkedid: str = "1795165024.84"
    topic: int = 0
    silent: bool = True
    message_id: int | None = None
    revision: int = 1
    sent_revision: int = 0
    taken_until: float = 0.0
    retry_at: float = 0.0
    refused: str = ""


@dataclass
class MemoryCards:
    """A `telegram.queue.CardQueue`.

    Attributes:
        away: Every method fails as with an absent PostgreSQL.
        written: How often something was noted.
        refusals: How often a method failed.
    """

    lease: timedelta = timedelta(seconds=60)
    away: bool = False
    written: int = 0
    refusals: int = 0
    cards: dict[int, QueuedCard] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def put(self, text: str, *, chat_id: int = -1, topic: int = 0, enterprise_number: str = "0901") -> int:
        """A new card; returns its id."""
        number = len(self.cards) + 1
        self.cards[number] = QueuedCard(
            id=number, enterprise_number=enterprise_number, chat_id=chat_id, text=text, topic=topic
        )
        return number

    def change(self, number: int, text: str) -> None:
        """A newer revision of a card."""
        card = self.cards[number]
        self.cards[number] = replace(card, text=text, revision=card.revision + 1, retry_at=0.0)

    async def until(self, true: Callable[[], bool], *, within: float = 5.0) -> None:
        """Return when something holds after a note. Raises TimeoutError."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(true)

    async def until_shown(self, number: int, *, within: float = 5.0) -> QueuedCard:
        """The card, when its newest revision is known to be shown."""
        await self.until(lambda: self.cards[number].sent_revision == self.cards[number].revision, within=within)
        return self.cards[number]

    async def pending_chats(self) -> Sequence[QueuedCard]:
        """One card of each chat with open work."""
        await self._check()
        return list({card.chat_id: card for card in self.cards.values() if self._is_open(card)}.values())

    async def claim(self, enterprise_number: str, chat_id: int) -> QueuedCard | None:
        """The oldest due card of a chat."""
        await self._check()
        now = asyncio.get_running_loop().time()
        for card in self.cards.values():
            mine = (card.enterprise_number, card.chat_id) == (enterprise_number, chat_id)
            if mine and self._is_open(card) and max(card.taken_until, card.retry_at) <= now:
                taken = replace(card, taken_until=now + self.lease.total_seconds())
                self.cards[card.id] = taken
                return taken
        return None

    async def sent(self, card: QueuedCard, message_id: int) -> None:
        """The chat shows it."""
        await self._note(card, message_id=message_id, sent_revision=card.revision, retry_at=0.0)

    async def failed(self, card: QueuedCard, retry_in: timedelta) -> None:
        """Not now."""
        await self._note(card, retry_at=asyncio.get_running_loop().time() + retry_in.total_seconds())

    async def given_up(self, card: QueuedCard, reason: str) -> None:
        """Never."""
        await self._note(card, refused=reason)

    async def _note(self, card: QueuedCard, **facts: object) -> None:
        await self._check()
        self.written += 1
        self.cards[card.id] = replace(self.cards[card.id], taken_until=0.0, **facts)
        async with self._changed:
            self._changed.notify_all()

    async def _check(self) -> None:
        if self.away:
            self.refusals += 1
            async with self._changed:
                self._changed.notify_all()
            raise StoreUnavailable("PostgreSQL is away")

    @staticmethod
    def _is_open(card: QueuedCard) -> bool:
        return card.sent_revision < card.revision and not card.refused
