"""A bot at work, and what its chats share: its limits, its outage, one door a chat."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vochi_agent.desk_ports import Incoming

from .budget import Window
from .chat import Outage
from .door import Bot, ChatDoor

__all__ = ["OpenBot", "Reader"]


class Reader(Protocol):
    """A bot as far as people write to it; each request raises the failures of `failures`."""

    @property
    def id(self) -> int:
        """Telegram's number of the bot."""
        ...

    def username(self) -> Awaitable[str]:
        """Its name after the @."""
        ...

    def updates(self, offset: int | None, *, wait_s: int) -> Awaitable[Sequence[tuple[int, Incoming | None]]]:
        """What people wrote from this update on; None for what is no text of a person."""
        ...

    def answer(self, message: Incoming, text: str) -> Awaitable[int]:
        """A silent reply, Telegram HTML; returns its id."""
        ...


@dataclass(slots=True, kw_only=True)
class OpenBot:
    """A bot at work.

    Attributes:
        bot: Makes the requests about cards.
        reader: Reads what people write and answers it; None: nobody listens.
        numbers: The enterprises it belongs to, the first one decides which daemon reads.
        window: What all its chats share.
        doors: By configured id, of chats that have cards.
    """

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
