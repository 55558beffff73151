"""What the bot's desk, where people write to it, needs of Telegram and of the database: values and protocols."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call
from vochi_agent.customers.model import Customer

__all__ = [
    "CallBackDesk",
    "CallOfMessage",
    "DeskStore",
    "Incoming",
    "KeptUpdate",
    "Names",
    "Operator",
    "Person",
    "Press",
    "PressStore",
    "PressedCard",
    "Redial",
    "UpdateQueue",
]


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote: his id in Telegram, and the name he gave himself there (hostile)."""

    user_id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What a person wrote where the bot reads it.

    Attributes:
        chat_id: Where, as Telegram numbers it now.
        private: Nobody else is in the chat.
        topic: `message_thread_id` of a forum topic, 0 for none.
        reply_to: The message of this very bot that it answers; None when it answers none.
    """

    chat_id: int
    private: bool
    topic: int
    message_id: int
    person: Person
    text: str
    reply_to: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Somebody pressed a button below a message of the bot.

    Attributes:
        query_id: What Telegram is answered with, once.
        chat_id: Where, as Telegram numbers it now; 0 when it does not say.
        data: Of the button, or what a forged client sent in its place (hostile).
        age_s: For how many seconds he may have waited until the bot heard of it.
    """

    query_id: str
    chat_id: int
    message_id: int
    person: Person
    data: str
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PressedCard:
    """The call whose card a pressed button belongs to."""

    enterprise_number: str
    linkedid: str
    topic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person of an enterprise: whose telephone is his."""

    enterprise_number: str
    user_id: int
    extension: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOfMessage:
    """A call that a card shows; `over`: it is a final card."""

    enterprise_number: str
    linkedid: str
    over: bool


@dataclass(frozen=True, slots=True)
class KeptUpdate:
    """What came and waits to be handled: its number, the Update object in JSON, for how many seconds it has waited."""

    number: int
    content: str
    age_s: float


class UpdateQueue(Protocol):
    """What came to a bot and waits to be dealt with. Every method raises StoreUnavailable."""

    async def next_update(self, bot_id: int) -> int | None:
        """From which update on to read; None: from the oldest that Telegram still has."""
        ...

    async def keep_polled(
        self, bot_id: int, updates: Mapping[int, str], *, next_update: int, waited: timedelta
    ) -> None:
        """Keep what was polled until it is taken, and go on from the next number; what is known stays as it is.

        Args:
            waited: For how long it may have waited at Telegram.
        """
        ...

    async def keep_update(self, bot_id: int, update_id: int, content: str) -> None:
        """Keep what a webhook brought until it is taken; what is known already stays as it is."""
        ...

    async def kept_updates(self, bot_id: int, *, limit: int) -> Sequence[KeptUpdate]:
        """What is kept and not taken, oldest first."""
        ...

    async def take_update(self, bot_id: int, update_id: int) -> bool:
        """Forget what an update said, it is never to be handled again; False when it was taken before."""
        ...


class DeskStore(Protocol):
    """What the desk reads and keeps. Every method raises StoreUnavailable."""

    async def operators(self, user_id: int, enterprises: Sequence[str]) -> Sequence[Operator]:
        """What a person is in some enterprises."""
        ...

    async def redeem(self, code: str, person: Person, enterprises: Sequence[str]) -> Operator | None:
        """Make a person an operator, once a code; None when it is not good (any more)."""
        ...

    async def home_chat(self, chat_id: int) -> int:
        """The configured id of a chat that Telegram numbers so now."""
        ...

    async def calls_of_message(
        self, enterprises: Sequence[str], chat_id: int, message_id: int
    ) -> Sequence[CallOfMessage]:
        """The calls whose cards a message shows."""
        ...

    async def note_answer(self, chat_id: int, message_id: int) -> None:
        """A message of ours in a chat of cards is no card."""
        ...

    async def calls_since(self, enterprise_number: str, since: datetime, *, limit: int) -> Sequence[Call]:
        """The ledger, newest first."""
        ...

    async def call(self, enterprise_number: str, linkedid: str) -> Call | None:
        """One call of the ledger."""
        ...


class PressStore(Protocol):
    """What is read about a press. Every method raises StoreUnavailable."""

    async def operators(self, user_id: int, enterprises: Sequence[str]) -> Sequence[Operator]:
        """What a person is in some enterprises."""
        ...

    async def home_chat(self, chat_id: int) -> int:
        """The configured id of a chat that Telegram numbers so now."""
        ...

    async def pressed_card(
        self, token: UUID, enterprises: Sequence[str], chat_id: int, message_id: int
    ) -> PressedCard | None:
        """The call that a button belongs to; None when it is not below this message, or not of these enterprises."""
        ...

    async def call(self, enterprise_number: str, linkedid: str) -> Call | None:
        """One call of the ledger."""
        ...


class CallBackDesk(Protocol):
    """Who calls missed customers back."""

    async def take(self, card: PressedCard, operator: Operator) -> tuple[bool, CallBack | None]:
        """Somebody takes it upon himself: whether he got it, and how it stands now. Raises StoreUnavailable."""
        ...


class Redial(Protocol):
    """Calls a customer for a colleague; `clicks.Clicks` is one."""

    async def ring(self, extension: str, phone: str) -> bool:
        """Ring the extension, then call the number; False: that is under way already.

        Raises:
            NotPossible: no such extension, or that number is not called.
            TooOften: he calls too much.
            VochiError, TimeoutError: the PBX does not do it.
        """
        ...


class Names(Protocol):
    """The table of customers. Every method raises StoreUnavailable."""

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number."""
        ...

    async def customers(self, enterprise_number: str, phones: Sequence[str]) -> Sequence[Customer]:
        """The rows of some numbers, in no order."""
        ...

    async def edit(self, enterprise_number: str, phone: str, changes: Mapping[str, str | bool]) -> Customer:
        """What a person says about a number stands; the row is made when missing."""
        ...
