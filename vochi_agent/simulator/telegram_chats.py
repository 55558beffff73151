"""What the sandbox Telegram holds: chats, their messages, what was asked, what is to go wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .telegram_buttons import Keyboard
from .telegram_media import SandboxFile

__all__ = ["Fault", "SandboxChat", "SandboxMessage", "TelegramRequest"]


class Fault(StrEnum):
    """What goes wrong with one request."""

    SILENCE = "silence"  # nothing is done, nothing is answered
    LOST_ANSWER = "lost answer"  # it is done, and nothing is answered
    HTML = "html"  # a gateway's page instead of JSON
    SERVER_ERROR = "500"
    FLOOD = "429"  # with `retry_after`
    BARE_FLOOD = "bare 429"  # without parameters
    RESET = "reset"  # the connection is reset before any answer


@dataclass(frozen=True, slots=True)
class TelegramRequest:
    """One request as it came."""

    method: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SandboxMessage:
    """A message as it stands in a chat.

    Attributes:
        source: What the bot sent, markup included.
        text: What people see.
        topic: `message_thread_id`, 0 for none.
        edits: How often it was changed.
        by_people: Not the bot's.
        file: What it carries; then the text is a caption.
        keyboard: The buttons below it.
    """

    chat_id: int
    message_id: int
    source: str
    text: str
    silent: bool
    topic: int
    edits: int = 0
    by_people: bool = False
    file: SandboxFile | None = None
    keyboard: Keyboard = ()

    def button(self, label: str) -> str:
        """What the button with this label carries. Raises KeyError."""
        return {text: data for row in self.keyboard for text, data in row}[label]

    @property
    def buttons(self) -> list[str]:
        """What stands on its buttons, row by row."""
        return [text for row in self.keyboard for text, _ in row]


@dataclass(slots=True)
class SandboxChat:
    """A chat that the bot can or cannot write to; change the attributes at any time.

    Attributes:
        topics: Open topics of a forum.
        general_closed: Nobody may write outside of them.
        too_old: Messages of more than 48 hours ago.
        closed: Why writing is forbidden, e.g. `bot was kicked from the supergroup chat`; "" while it is not.
        moved_to: The supergroup that this group became.
        is_channel: Only administrators who may post write there.
        member: What the bot is there, as getChatMember tells it beside the user.
        permissions: Of all members, as getChat tells them.
    """

    id: int
    title: str = "Продажи"
    topics: set[int] = field(default_factory=set)
    general_closed: bool = False
    too_old: set[int] = field(default_factory=set)
    closed: str = ""
    moved_to: int = 0
    is_channel: bool = False
    member: dict[str, object] = field(default_factory=lambda: {"status": "member"})
    permissions: dict[str, bool] = field(default_factory=dict)
    messages: dict[int, SandboxMessage] = field(default_factory=dict)
    last_id: int = 0

    def as_json(self) -> dict[str, object]:
        """The Chat object; groups have negative ids, supergroups those below -10^12."""
        if self.id > 0:
            return {"id": self.id, "type": "private", "first_name": self.title}
        kind = "channel" if self.is_channel else "supergroup" if self.id < -(10**12) else "group"
        return {"id": self.id, "type": kind, "title": self.title} | ({"is_forum": True} if self.topics else {})
