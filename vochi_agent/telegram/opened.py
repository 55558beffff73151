"""A bot at work, and what its chats share: its limits, its outage, one door a chat."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vochi_agent.desk_ports import Incoming, Press

from .budget import Window
from .chat import Outage
from .door import Bot, ChatDoor

__all__ = ["Hook", "OpenBot", "Reader"]


@dataclass(frozen=True, slots=True)
class Hook:
    """What Telegram says of a bot's webhook.

    Attributes:
        url: "" when there is none.
        waiting: Updates that were not brought yet.
        error: The last failure in Telegram's words, "" for none.
        error_at: When, Unix seconds.
    """

    url: str
    waiting: int = 0
    error: str = ""
    error_at: int = 0


class Reader(Protocol):
    """A bot as far as people write to it; each request raises the failures of `failures`."""

    @property
    def id(self) -> int:
        """Telegram's number of the bot."""
        ...

    def username(self) -> Awaitable[str]:
        """Its name after the @."""
        ...

    def updates(self, offset: int | None, *, wait_s: int) -> Awaitable[Mapping[int, str]]:
        """What people wrote or pressed from this update on: Update objects in JSON, "" for anything else."""
        ...

    def read(self, update: str) -> Incoming | Press | None:
        """What an Update object in JSON says; None for anything else, and for what is none."""
        ...

    def set_hook(self, url: str, *, secret: str) -> Awaitable[None]:
        """Have updates brought to an address, with this word."""
        ...

    def unhook(self) -> Awaitable[None]:
        """Have no updates brought any more; those that wait go on waiting."""
        ...

    def hook(self) -> Awaitable[Hook]:
        """Where updates are brought, and what Telegram says of it."""
        ...

    def answer(self, message: Incoming, text: str) -> Awaitable[int]:
        """A silent reply, Telegram HTML; returns its id."""
        ...

    def acknowledge(self, press: Press, text: str, *, alert: bool) -> Awaitable[None]:
        """End the waiting of who pressed a button, once."""
        ...


@dataclass(slots=True, kw_only=True)
class OpenBot:
    """A bot at work.

    Attributes:
        token: Its own.
        bot: Makes the requests about cards.
        reader: Reads what people write and answers it; None: nobody listens.
        numbers: The enterprises it belongs to, the first one decides which daemon reads.
        window: What all its chats share.
        doors: By configured id, of chats that have cards.
    """

    token: str = field(repr=False)
    bot: Bot
    reader: Reader | None
    numbers: list[str]
    window: Window
    outage: Outage
    minute: float
    doors: dict[int, ChatDoor] = field(default_factory=dict)

    def door(self, chat_id: int, *, keep: bool = True) -> ChatDoor:
        """The door of a chat; one that is not kept leaves nothing behind: anybody may write to a bot."""
        door = self.doors.get(chat_id)
        if door is None:
            door = ChatDoor(self.bot, chat_id, window=self.window, minute=self.minute)
            if keep:
                self.doors[chat_id] = door
        return door
