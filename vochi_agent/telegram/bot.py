"""One bot, through aiogram. Importing this module takes seconds and 120 MB: do it in a thread, when the doors are open.

Invariant: no request outlives its deadline, and no exception of aiogram or aiohttp leaves this module.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ChatType, ParseMode
from aiogram.exceptions import (
    AiogramError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.types import (
    CallbackQuery,
    FSInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaAudio,
    InputMediaDocument,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
    Update,
)
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from pydantic import ValidationError

from vochi_agent.cards import Keyboard
from vochi_agent.desk_ports import Incoming, Person, Press

from .failures import (
    AnswerLost,
    CardRefused,
    ChatClosed,
    ChatMoved,
    FloodWait,
    MarkupRefused,
    MessageGone,
    QueryGone,
    TelegramAway,
    TelegramFailure,
    TextIsCaption,
    TokenRefused,
    TopicGone,
    UpdatesTaken,
)
from .opened import Hook

__all__ = ["ALLOWED_UPDATES", "TelegramBot"]

log = logging.getLogger(__name__)

# Telegram always says how long; something between us and it may not.
UNTOLD_WAIT_S: Final = 5.0
# What the desk understands, by polling and by webhook alike.
ALLOWED_UPDATES: Final = ["message", "callback_query"]
# Of a hundred that Telegram may make at once: a few people write, and they share one pool of the database.
HOOK_CONNECTIONS: Final = 4
# What stands above the chat until it is closed, characters.
LONGEST_ALERT: Final = 200
NO_PREVIEW: Final = LinkPreviewOptions(is_disabled=True)
NOT_MODIFIED: Final = "message is not modified"
# What sendAudio takes, and players show as a track; everything else is a file that they play as far as they can.
AUDIO: Final = frozenset({".mp3", ".m4a"})
SOUND_NAME: Final = "Запись разговора"
PROXY_ERRORS: Final = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
# Descriptions of 400 answers, in lower case; the texts are Telegram's only way to tell them apart.
REFUSALS: Final[tuple[tuple[str, type[TelegramFailure]], ...]] = (
    ("can't parse", MarkupRefused),
    ("message to edit not found", MessageGone),
    ("message can't be edited", MessageGone),
    ("message_id_invalid", MessageGone),
    ("caption is too long", MessageGone),
    ("there is no text in the message", TextIsCaption),
    ("message thread not found", TopicGone),
    ("topic_closed", TopicGone),
    ("topic_deleted", TopicGone),
    ("query is too old", QueryGone),
    ("chat not found", ChatClosed),
    ("peer_id_invalid", ChatClosed),
    ("rights", ChatClosed),
    ("chat_write_forbidden", ChatClosed),
    ("chat_restricted", ChatClosed),
    ("deactivated", ChatClosed),
)

FAILURES: Final[tuple[tuple[type[AiogramError], type[TelegramFailure]], ...]] = (
    (TelegramConflictError, UpdatesTaken),
    (TelegramForbiddenError, ChatClosed),
    (TelegramUnauthorizedError, TokenRefused),
    (TelegramNotFound, TokenRefused),
    (TelegramEntityTooLarge, CardRefused),
    (TelegramServerError, TelegramAway),
)

T = TypeVar("T")


class TelegramBot:
    """Sends and edits messages; every method raises the failures of `failures`."""

    def __init__(self, token: str, *, api_url: str, proxy: str = "", request_s: float) -> None:
        server = TelegramAPIServer.from_base(api_url)
        self._bot = Bot(token, session=AiohttpSession(proxy=proxy or None, api=server, timeout=request_s))
        self._request_s = request_s

    async def send(self, chat_id: int, text: str, *, topic: int, silent: bool, markup: bool, keyboard: Keyboard) -> int:
        """A new message; returns its id. `markup`: the text is Telegram HTML."""
        message = await self._answer(
            self._bot.send_message(
                chat_id,
                text,
                message_thread_id=topic or None,
                disable_notification=silent,
                parse_mode=ParseMode.HTML if markup else None,
                link_preview_options=NO_PREVIEW,
                reply_markup=_inline(keyboard),
            )
        )
        return message.message_id

    async def edit(
        self, chat_id: int, message_id: int, text: str, *, markup: bool, keyboard: Keyboard, caption: bool = False
    ) -> bool:
        """Put another text and other buttons into a message; False when both stand there already.

        Args:
            caption: The text stands below the file that the message carries.
        """
        parse_mode = ParseMode.HTML if markup else None
        # Without any the message loses those it has (TelegramBots/Telegram.Bot#402).
        buttons = _inline(keyboard)
        try:
            if caption:
                await self._answer(
                    self._bot.edit_message_caption(
                        chat_id=chat_id,
                        message_id=message_id,
                        caption=text,
                        parse_mode=parse_mode,
                        reply_markup=buttons,
                    )
                )
            else:
                await self._answer(
                    self._bot.edit_message_text(
                        text,
                        chat_id=chat_id,
                        message_id=message_id,
                        parse_mode=parse_mode,
                        link_preview_options=NO_PREVIEW,
                        reply_markup=buttons,
                    )
                )
        except CardRefused as refused:
            if NOT_MODIFIED not in str(refused):
                raise
            return False
        except AnswerLost as lost:
            # To repeat an edit does no harm, whether it arrived or not.
            raise TelegramAway(str(lost)) from lost
        return True

    async def attach(
        self, chat_id: int, message_id: int, text: str, file: Path, *, keyboard: Keyboard, within_s: float
    ) -> None:
        """Have a message of ours carry a file above a text, Telegram HTML, and buttons; to do so again does no harm.

        Args:
            within_s: For the whole upload.
        """
        kind = InputMediaAudio if file.suffix.lower() in AUDIO else InputMediaDocument
        # PBXs put telephone numbers into the names of their files: chats that see none are not to see these.
        media = FSInputFile(file, filename=f"{SOUND_NAME}{file.suffix.lower()}")
        try:
            await self._answer(
                self._bot.edit_message_media(
                    kind(media=media, caption=text, parse_mode=ParseMode.HTML),
                    chat_id=chat_id,
                    message_id=message_id,
                    reply_markup=_inline(keyboard),
                    request_timeout=int(within_s) + 1,
                ),
                within_s=within_s,
            )
        except CardRefused as refused:
            if NOT_MODIFIED not in str(refused):
                raise

    async def delete(self, chat_id: int, message_ids: Sequence[int]) -> None:
        """Take messages of ours away, a hundred at most; those that are not there are passed over."""
        try:
            await self._answer(self._bot.delete_messages(chat_id, list(message_ids)))
        except AnswerLost as lost:
            raise TelegramAway(str(lost)) from lost

    async def set_buttons(self, chat_id: int, message_id: int, keyboard: Keyboard) -> str | None:
        """Put other buttons below a message; the text above them, None: they cannot be put there."""
        try:
            message = await self._answer(
                self._bot.edit_message_reply_markup(
                    chat_id=chat_id, message_id=message_id, reply_markup=_inline(keyboard)
                )
            )
        except (CardRefused, MessageGone):
            return None
        except AnswerLost as lost:
            # To repeat an edit does no harm, whether it arrived or not.
            raise TelegramAway(str(lost)) from lost
        return (message.text or "") if isinstance(message, Message) else None

    async def answer(self, message: Incoming, text: str) -> int:
        """A silent reply to what somebody wrote, Telegram HTML; returns its id."""
        reply = ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True)
        sent = await self._answer(
            self._bot.send_message(
                message.chat_id,
                text,
                message_thread_id=message.topic or None,
                disable_notification=True,
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                reply_parameters=None if message.private else reply,
            )
        )
        return sent.message_id

    async def acknowledge(self, press: Press, text: str, *, alert: bool) -> None:
        """End the waiting of who pressed a button, once; `alert`: he has to close what he reads."""
        await self._answer(
            self._bot.answer_callback_query(press.query_id, text=text[:LONGEST_ALERT] or None, show_alert=alert)
        )

    async def username(self) -> str:
        """Its name after the @."""
        return (await self._answer(self._bot.get_me())).username or ""

    @property
    def id(self) -> int:
        """Telegram's number of the bot, the first part of its token."""
        return self._bot.id

    async def updates(self, offset: int | None, *, wait_s: int) -> dict[int, str]:
        """What people did from this update on, oldest first; with it Telegram forgets what came before.

        Args:
            wait_s: For how long Telegram may hold the request while there is nothing.

        Returns:
            By its number what each update is, for `read`; "" for what `received` does not know.
        """
        request_s = wait_s + self._request_s
        found = await self._answer(
            self._bot.get_updates(
                offset, timeout=wait_s, allowed_updates=ALLOWED_UPDATES, request_timeout=int(request_s) + 1
            ),
            within_s=request_s,
        )
        return {update.update_id: _json(update) if self.received(update) else "" for update in found}

    def received(self, update: Update) -> Incoming | Press | None:
        """What a person wrote or pressed, however the update came; None for anything else."""
        if update.callback_query is not None:
            return _press(update.callback_query)
        return self._incoming(update.message)

    def read(self, update: str) -> Incoming | Press | None:
        """The same of what `updates` gave or a webhook brought; None for what is no update, too."""
        try:
            return self.received(Update.model_validate_json(update, context={"bot": self._bot}))
        except ValidationError:
            log.warning("an update that Telegram brought is passed over", extra={"action": "update_strange"})
            return None

    async def set_hook(self, url: str, *, secret: str) -> None:
        """Have updates brought to an address, with this word; those that wait come too."""
        await self._answer(
            self._bot.set_webhook(
                url,
                secret_token=secret,
                allowed_updates=ALLOWED_UPDATES,
                max_connections=HOOK_CONNECTIONS,
                drop_pending_updates=False,
            )
        )

    async def unhook(self) -> None:
        """Have no updates brought any more; those that wait go on waiting."""
        await self._answer(self._bot.delete_webhook(drop_pending_updates=False))

    async def hook(self) -> Hook:
        """Where updates are brought, and what Telegram says of it."""
        found = await self._answer(self._bot.get_webhook_info())
        at = int(found.last_error_date.timestamp()) if found.last_error_date else 0
        return Hook(found.url, found.pending_update_count, found.last_error_message or "", at)

    def _incoming(self, message: Message | None) -> Incoming | None:
        if message is None or message.from_user is None or message.from_user.is_bot or not message.text:
            return None
        if message.sender_chat is not None:
            return None  # an anonymous administrator or a channel: nobody in particular
        answered = message.reply_to_message
        ours = answered is not None and answered.from_user is not None and answered.from_user.id == self.id
        return Incoming(
            chat_id=message.chat.id,
            private=message.chat.type == ChatType.PRIVATE,
            # A reply in the general topic carries a thread that is no topic.
            topic=message.message_thread_id or 0 if message.is_topic_message else 0,
            message_id=message.message_id,
            person=Person(message.from_user.id, message.from_user.full_name),
            text=message.text,
            reply_to=answered.message_id if answered is not None and ours else None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._bot.session.close()

    async def _answer(self, request: Awaitable[T], *, within_s: float | None = None) -> T:
        within_s = within_s or self._request_s
        try:
            async with asyncio.timeout(within_s):
                return await request
        except TimeoutError as silence:
            raise AnswerLost(f"no answer in {within_s:g} s") from silence
        except PROXY_ERRORS as failed:
            # aiogram lets these through. No connection to Telegram was made, so nothing can have arrived.
            raise TelegramAway(f"the proxy: {failed}") from failed
        except AiogramError as error:
            raise _failure(error) from error


def _json(update: Update) -> str:
    """The object as Telegram sent it, as far as it is known here; in ASCII, as what a webhook brings is kept."""
    return json.dumps(update.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _press(query: CallbackQuery) -> Press:
    """The message may be one that the bot can no longer read, or be told of by nobody: then it is no card's."""
    person = Person(query.from_user.id, query.from_user.full_name)
    message = query.message
    return Press(
        query_id=query.id,
        chat_id=message.chat.id if message is not None else 0,
        message_id=message.message_id if message is not None else 0,
        person=person,
        data=query.data or "",
    )


def _inline(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    rows = [[InlineKeyboardButton(text=each.label, callback_data=each.data) for each in row] for row in keyboard]
    return InlineKeyboardMarkup(inline_keyboard=rows) if rows else None


def _failure(error: AiogramError) -> TelegramFailure:
    """The order matters: aiogram's classes overlap."""
    text = error.message if isinstance(error, TelegramAPIError) else str(error)
    match error:
        case TelegramRetryAfter():
            return FloodWait(text, error.retry_after)
        case TelegramMigrateToChat():
            return ChatMoved(text, error.migrate_to_chat_id)
        case TelegramBadRequest():
            return _refusal(text)
    for theirs, ours in FAILURES:
        if isinstance(error, theirs):
            return ours(text)
    match error:
        case TelegramNetworkError():
            never_sent = isinstance(error.__cause__ or error.__context__, aiohttp.ClientConnectorError)
            return TelegramAway(text) if never_sent else AnswerLost(text)
        case TelegramAPIError() if "too many requests" in text.lower():
            return FloodWait(text, UNTOLD_WAIT_S)
        case _:
            # What is no JSON comes from something between us and Telegram, a 502 page as a rule.
            return TelegramAway(text.partition("\n")[0] or type(error).__name__)


def _refusal(text: str) -> TelegramFailure:
    lower = text.lower()
    kind = next((kind for words, kind in REFUSALS if words in lower), CardRefused)
    return kind(text)
