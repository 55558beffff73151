"""What the Bot API answers when it does not accept a message, split by what we do next.

TelegramFailure
├── FloodWait      too many messages: this chat waits as long as it is told
├── ChatMoved      the group became a supergroup: the same message to the new id
├── ChatClosed     kicked, blocked, unknown chat, no right to write: the chat waits long, one warning
├── TokenRefused   the bot's token is not valid: everything waits long, one alarm
├── UpdatesTaken   another program reads the bot's updates: wait, one warning
├── MarkupRefused  the HTML is not understood: the same as plain text
├── TopicGone      the forum topic is deleted or closed: the same without a topic
├── MessageGone    the message to edit is not there, or cannot hold the text: a new message
├── TextIsCaption  the message to edit carries a file: the same as its caption
├── QueryGone      whoever pressed a button waits no more: he presses again
├── CardRefused    anything else about this one message: it is given up
├── TelegramAway   nothing was shown: again after a pause
└── AnswerLost     no answer: the chat may show the message or not
"""

from vochi_agent.errors import VochiError

__all__ = [
    "AnswerLost",
    "CardRefused",
    "ChatClosed",
    "ChatMoved",
    "FloodWait",
    "MarkupRefused",
    "MessageGone",
    "QueryGone",
    "TelegramAway",
    "TelegramFailure",
    "TextIsCaption",
    "TokenRefused",
    "TopicGone",
    "UpdatesTaken",
]


class TelegramFailure(VochiError):
    """The root of the tree above."""


class FloodWait(TelegramFailure):
    """Too many messages; `seconds` is what Telegram asks for."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class ChatMoved(TelegramFailure):
    """A group became a supergroup; `chat_id` is its new id."""

    def __init__(self, message: str, chat_id: int) -> None:
        super().__init__(message)
        self.chat_id = chat_id


class ChatClosed(TelegramFailure):
    """The bot may not write to this chat, or there is none."""


class TokenRefused(TelegramFailure):
    """Telegram does not know the bot."""


class UpdatesTaken(TelegramFailure):
    """Another program polls the same bot, or a webhook is set."""


class MarkupRefused(TelegramFailure):
    """The HTML is not understood."""


class TopicGone(TelegramFailure):
    """The forum topic is deleted or closed."""


class MessageGone(TelegramFailure):
    """The message to edit does not exist or is no longer ours to edit."""


class TextIsCaption(TelegramFailure):
    """The message to edit carries a file, its text is a caption."""


class QueryGone(TelegramFailure):
    """A press that was answered already, or is too old to be."""


class CardRefused(TelegramFailure):
    """Telegram will never show this message."""


class TelegramAway(TelegramFailure):
    """Telegram is not reachable or broken; nothing was shown."""


class AnswerLost(TelegramFailure):
    """The request went out and no answer came."""
