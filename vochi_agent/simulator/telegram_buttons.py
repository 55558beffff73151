"""Buttons below messages of the sandbox's bot, and the presses that it has to answer.

Error texts are those of the Bot API: BUTTON_DATA_INVALID and MESSAGE_TOO_LONG are Telegram's own (its list of errors of
messages.sendMessage, messages.setBotCallbackAnswer), the rest the Bot API server's. A press is answered once, and not
for ever: whoever pressed waits some seconds, then the query is as good as none (LonamiWebs/Telethon#4073; of a second
answer chelaxian/tg-ytdlp-bot#470).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ButtonsRefused", "Keyboard", "Queries", "keyboard_from", "keyboard_json"]

# core.telegram.org/bots/api#inlinekeyboardbutton
MOST_DATA_BYTES: Final = 64
# core.telegram.org/bots/api#answercallbackquery
LONGEST_ANSWER: Final = 200
# Undocumented; people saw five to twenty seconds (eternnoir/pyTelegramBotAPI#1615).
PATIENCE_S: Final = 15.0
TOO_OLD: Final = "query is too old and response timeout expired or query ID is invalid"

# Rows of (what stands on a button, what it carries).
Keyboard = tuple[tuple[tuple[str, str], ...], ...]


class ButtonsRefused(Exception):
    """The text is what follows `Bad Request: `."""


def keyboard_from(markup: str) -> Keyboard:
    """The inline keyboard of `reply_markup`; nothing when there is none. Raises ButtonsRefused."""
    if not markup:
        return ()
    try:
        found = json.loads(markup)
    except ValueError as error:
        raise ButtonsRefused("can't parse reply keyboard markup JSON object") from error
    if not isinstance(found, dict):
        raise ButtonsRefused("object expected as reply markup")
    rows = found.get("inline_keyboard", [])
    return tuple(tuple(_button(button) for button in row) for row in rows if row)


def keyboard_json(keyboard: Keyboard) -> dict[str, object]:
    """The InlineKeyboardMarkup object."""
    rows = [[{"text": text, "callback_data": data} for text, data in row] for row in keyboard]
    return {"inline_keyboard": rows}


def _button(button: Mapping[str, object]) -> tuple[str, str]:
    text, data = button.get("text"), button.get("callback_data")
    if not isinstance(text, str) or not text:
        raise ButtonsRefused('can\'t parse inline keyboard button: Field "text" must be of type String')
    if not isinstance(data, str) or not 1 <= len(data.encode()) <= MOST_DATA_BYTES:
        raise ButtonsRefused("BUTTON_DATA_INVALID")
    return text, data


@dataclass(slots=True)
class Queries:
    """Presses, and how they were answered.

    Attributes:
        answers: By query id: what stood above the chat, and whether it had to be closed.
    """

    answers: dict[str, tuple[str, bool]] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)
    _next: int = 4_000_000_000_000_000_000

    def begin(self, now: float) -> str:
        """Somebody pressed; returns the id of the query."""
        self._next += 1
        self._waiting[str(self._next)] = now
        return str(self._next)

    def answer(self, fields: Mapping[str, str], now: float) -> bool:
        """What answerCallbackQuery answers. Raises ButtonsRefused."""
        query_id, text = fields.get("callback_query_id", ""), fields.get("text", "")
        if len(text) > LONGEST_ANSWER:
            raise ButtonsRefused("MESSAGE_TOO_LONG")
        began = self._waiting.pop(query_id, None)
        if began is None or now - began > PATIENCE_S:
            raise ButtonsRefused(TOO_OLD)
        self.answers[query_id] = (text, fields.get("show_alert", "").lower() == "true")
        return True
