"""What the senders need from the table of cards, and from a bot."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

__all__ = ["Bot", "Card", "CardQueue", "PendingChat"]


class PendingChat(Protocol):
    """A chat with open work."""

    @property
    def enterprise_number(self) -> str:
        """Whose bot writes there."""
        ...

    @property
    def chat_id(self) -> int:
        """As configured."""
        ...


class Card(Protocol):
    """What a chat should show about a call, as it was claimed."""

    @property
    def linkedid(self) -> str:
        """The call."""
        ...

    @property
    def topic(self) -> int:
        """`message_thread_id`, 0 for none."""
        ...

    @property
    def text(self) -> str:
        """The whole message, Telegram HTML."""
        ...

    @property
    def silent(self) -> bool:
        """A new message makes no sound."""
        ...

    @property
    def message_id(self) -> int | None:
        """The message to edit; None: nothing was sent yet."""
        ...


C = TypeVar("C", bound=Card)


class CardQueue(Protocol[C]):
    """Open work of all chats. Every method raises StoreUnavailable."""

    async def pending_chats(self) -> Sequence[PendingChat]:
        """Chats with open work."""
        ...

    async def claim(self, enterprise_number: str, chat_id: int) -> C | None:
        """The oldest card of a chat that is due, noted as being sent; None when there is none."""
        ...

    async def sent(self, card: C, message_id: int) -> None:
        """The chat shows this card in that message."""
        ...

    async def failed(self, card: C, retry_in: timedelta) -> None:
        """Nothing changed in the chat; try again after a pause."""
        ...

    async def given_up(self, card: C, reason: str) -> None:
        """The chat will never show this card."""
        ...


class Bot(Protocol):
    """A bot's own requests; each raises the failures of `failures`."""

    async def send(self, chat_id: int, text: str, *, topic: int, silent: bool, markup: bool) -> int:
        """A new message; returns its id."""
        ...

    async def edit(self, chat_id: int, message_id: int, text: str, *, markup: bool) -> None:
        """Another text in a message."""
        ...
