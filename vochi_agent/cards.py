"""What the table of cards and the senders say to each other: values, and what senders may ask of the table."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from vochi_agent.ports import CardDraft, OpenWork

__all__ = ["Button", "Card", "CardQueue", "ChatState", "ChatWork", "Doubt", "Keyboard", "PendingChat", "SoundQueue"]


@dataclass(frozen=True, slots=True)
class Button:
    """A button below a message: what people read on it, and what the bot is told when somebody presses it."""

    label: str
    data: str


# Rows of buttons.
Keyboard = tuple[tuple[Button, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChat:
    """A chat in which something is to be done."""

    enterprise_number: str
    chat_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as the table has it; see schema.sql.

    Attributes:
        kind: `call`, `board`, `digest` or `reminder`.
        text: "": nothing is to be shown.
        anew: A phase that the message does not show yet is a new message.
        held_until: It waited through quiet hours.
        message_id: What shows it; None: nothing does.
        sent_phase: What that message shows; None: nothing yet.
        shared: That message carries other cards too.
        sound: The recording that the message is to carry, below the folder of recordings; "" for none.
        sent_sound: The one that it carries.
        token: What tells its buttons from all others; known to nobody who does not see them.
        buttons: Their names, joined by commas.
    """

    id: int
    enterprise_number: str
    linkedid: str
    kind: str
    chat_id: int
    topic: int
    phase: str
    text: str
    brief: str
    silent: bool
    anew: bool
    held_until: datetime | None
    revision: int
    message_id: int | None
    sent_phase: str | None
    shared: bool
    failures: int
    sound: str = ""
    sent_sound: str = ""
    token: UUID
    buttons: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A text that may stand in the chat without our knowledge: the answer to its request was lost.

    Attributes:
        age: Seconds since the request.
        after: The id of our last message before it; None: there was none.
        newest: The highest id of a message of ours; None: there is none.
    """

    text: str
    age: float
    after: int | None
    newest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWork:
    """Everything that is to be done in a chat.

    Attributes:
        open: Cards whose newest state is not shown, oldest first.
        live: The cards of calls that go on, boards among them.
        leftovers: Messages that have to go.
    """

    open: Sequence[Card]
    live: Sequence[Card]
    leftovers: Sequence[int]
    doubt: Doubt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatState:
    """What became of a chat.

    Attributes:
        address: Its id now.
        closed_for: How long ago it refused the bot last; None: it takes messages.
    """

    address: int
    closed_for: timedelta | None


class CardQueue(Protocol):
    """Open work of all chats; `store.cards` says what each method means. Every method raises StoreUnavailable."""

    async def waiting(self) -> Mapping[str, OpenWork]:
        """By enterprise: the cards that chats should show by now and do not."""
        ...

    async def pending_chats(self) -> Sequence[PendingChat]:
        """Chats in which something is to be done."""
        ...

    async def chat(self, enterprise_number: str, chat_id: int) -> ChatState:
        """What became of a chat."""
        ...

    async def moved(self, enterprise_number: str, chat_id: int, address: int) -> None:
        """The chat has another id now: no card has a message there, which is news only once."""
        ...

    async def mended(self, enterprise_number: str, chats: Collection[int]) -> None:
        """These are the chats of an enterprise: what is known of one under an id that it had before is known of it."""
        ...

    async def closed(self, enterprise_number: str, chat_id: int, why: str) -> None:
        """The chat refuses the bot."""
        ...

    async def opened(self, enterprise_number: str, chat_id: int) -> None:
        """The chat takes messages again."""
        ...

    async def work(self, enterprise_number: str, chat_id: int) -> ChatWork:
        """Everything that is to be done in a chat."""
        ...

    async def cards_of(self, card: Card) -> Sequence[Card]:
        """Every card that the message of this one carries."""
        ...

    async def claim(self, cards: Sequence[Card], *, new_text: str | None) -> bool:
        """Note that a request is about to be made; False when the cards are not as they were."""
        ...

    async def sent(self, cards: Sequence[Card], message_id: int) -> Sequence[float]:
        """The chat shows them; the seconds since each text came."""
        ...

    async def failed(self, cards: Sequence[Card], retry_in: timedelta) -> None:
        """Nothing changed in the chat; try again after a pause."""
        ...

    async def lost(self, cards: Sequence[Card], retry_in: timedelta) -> None:
        """No answer came; try again after a pause, and look for what may stand there."""
        ...

    async def given_up(self, cards: Sequence[Card], reason: str) -> None:
        """The chat will never show them as they are."""
        ...

    async def taken_back(self, cards: Sequence[Card]) -> None:
        """They are to show nothing: their messages become leftovers."""
        ...

    async def put_board(self, enterprise_number: str, draft: CardDraft) -> None:
        """What the board of a chat says; "" takes it away."""
        ...

    async def fold_live(self, enterprise_number: str, chat_id: int) -> None:
        """The messages of single live cards become leftovers."""
        ...

    async def deleted(self, enterprise_number: str, chat_id: int, message_ids: Sequence[int]) -> None:
        """Leftovers are gone, or cannot go."""
        ...

    async def unknown(self, chat_id: int, message_ids: Sequence[int]) -> Sequence[int]:
        """Those of some messages that no card has."""
        ...

    async def settled(self, enterprise_number: str, chat_id: int, doubt: Doubt) -> None:
        """The text of a doubt was looked for everywhere."""
        ...


class SoundQueue(Protocol):
    """Final cards whose messages are to carry a recording. Every method raises StoreUnavailable."""

    async def without_sound(self, enterprises: Sequence[str], not_in: Sequence[int], *, limit: int) -> Sequence[Card]:
        """Cards whose message lacks its recording and shows everything else, oldest first, but for some chats."""
        ...

    async def moved(self, enterprise_number: str, chat_id: int, address: int) -> None:
        """The chat has another id now: no card has a message there, which is news only once."""
        ...

    async def sounded(self, card: Card) -> None:
        """The message carries the recording, above the text that the card had; a newer text is to be shown again."""
        ...

    async def sound_later(self, card: Card, pause: timedelta) -> None:
        """Not before a pause."""
        ...

    async def sound_given_up(self, card: Card, reason: str) -> None:
        """The message will never carry it."""
        ...
