"""One chat as a bot reaches it: requests one after another within the budget, and the ways round what is refused.

Invariant: no more requests leave than bot and chat may make, and none while Telegram wants the chat left alone; a
request that is refused for its form goes out in another form, and what was learned by that is kept for the next one.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import uuid4

from vochi_agent.cards import Button, Keyboard

from .budget import ChatBudget, Window
from .failures import (
    CardRefused,
    ChatClosed,
    ChatMoved,
    FloodWait,
    MarkupRefused,
    MessageGone,
    TextIsCaption,
    TopicGone,
)
from .text import plain

__all__ = ["OUTDATED", "Bot", "ChatDoor", "Sent"]

log = logging.getLogger(__name__)

# The group moved, the topic is gone, the message is gone or a file, the markup is refused: each once, and a last one.
MAX_ATTEMPTS: Final = 6
# Between attempts to write into a topic that was closed.
CLOSED_TOPIC_S: Final = 600.0
# In the place of a message that cannot be deleted any more (core.telegram.org/bots/api#deletemessage).
OUTDATED: Final = "🗑 Больше не актуально"

T = TypeVar("T")


class Bot(Protocol):
    """A bot's own requests; each raises the failures of `failures`."""

    async def send(self, chat_id: int, text: str, *, topic: int, silent: bool, markup: bool, keyboard: Keyboard) -> int:
        """A new message; returns its id."""
        ...

    async def edit(
        self, chat_id: int, message_id: int, text: str, *, markup: bool, keyboard: Keyboard, caption: bool = False
    ) -> bool:
        """Another text, or caption of a file, and other buttons in a message; False when both stood there already."""
        ...

    async def attach(
        self, chat_id: int, message_id: int, text: str, file: Path, *, keyboard: Keyboard, within_s: float
    ) -> None:
        """Have a message of ours carry a file above a text and buttons, whatever it was before."""
        ...

    async def delete(self, chat_id: int, message_ids: Sequence[int]) -> None:
        """Take messages of ours away; those that are not there are passed over."""
        ...

    async def set_buttons(self, chat_id: int, message_id: int, keyboard: Keyboard) -> str | None:
        """Put other buttons below a message; the text that people see above them, None: it is not ours."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a text stands now: the chat's id may have changed on the way."""

    message_id: int
    edited: bool


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How the next request is made."""

    message_id: int | None
    topic: int
    keyboard: Keyboard
    markup: bool = True
    caption: bool = False


class ChatDoor:
    """One chat of one bot, shared by all enterprises that tell it something.

    Attributes:
        address: The chat's id now.
        lock: Held from the look at what is to be sent until the table knows what came of it.
    """

    def __init__(self, bot: Bot, chat_id: int, *, window: Window, minute: float = 60.0) -> None:
        """`window`: what all chats of the bot share."""
        self.address = chat_id
        self.lock = asyncio.Lock()
        self.budget = ChatBudget(chat_id, minute=minute)
        self._bot = bot
        self._window = window
        self._clock = asyncio.get_running_loop().time
        self._closed_topics: dict[int, float] = {}
        self._left_alone_until = 0.0

    @property
    def left_alone_s(self) -> float:
        """For how many seconds Telegram wants no request to this chat, whoever's."""
        return max(0.0, self._left_alone_until - self._clock())

    async def free(self) -> None:
        """Return when the next request may go out."""
        while (wait := self._wait()) > 0:  # noqa: ASYNC110 - what is awaited is time; others may be quicker
            await asyncio.sleep(wait)

    def _wait(self) -> float:
        now = self._clock()
        return max(self.budget.wait(now), self._window.wait(now), self.left_alone_s)

    async def put(
        self,
        text: str,
        *,
        message_id: int | None,
        topic: int,
        silent: bool,
        keyboard: Keyboard = (),
        caption: bool = False,
    ) -> Sent:
        """Have a text shown, by another way where Telegram refuses the straight one.

        Args:
            caption: The message to edit carries a file.
        """
        attempt = _Attempt(message_id, 0 if self._is_closed(topic) else topic, keyboard, caption=caption)
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._put(text, attempt, silent)
            except MarkupRefused as failure:
                if not attempt.markup:
                    raise CardRefused(str(failure)) from failure
                log.warning("Telegram does not take our markup: %s", failure, extra={"action": "card_markup"})
                attempt = replace(attempt, markup=False)
            except TextIsCaption:
                # An upload was done and whoever made it died before the table knew.
                attempt = replace(attempt, caption=True)
            except MessageGone:
                attempt = replace(attempt, message_id=None)
            except TopicGone as failure:
                if not attempt.topic:
                    raise ChatClosed(str(failure)) from failure  # nobody may write outside of topics
                self._close_topic(attempt.topic, failure)
                attempt = replace(attempt, topic=0, message_id=None)
            except ChatMoved as failure:
                self.follow(failure)
                attempt = replace(attempt, message_id=None)
        raise CardRefused("every way to send it was refused")

    async def delete(self, message_ids: Sequence[int]) -> None:
        """Take messages away, as far as Telegram lets us."""
        try:
            async with self._request():
                return await self._bot.delete(self.address, message_ids)
        except ChatMoved as failure:
            self.follow(failure)  # the messages stayed behind
        except (CardRefused, MessageGone):
            if len(message_ids) == 1:
                return await self._strike_out(message_ids[0])
        for message_id in message_ids if len(message_ids) > 1 else ():
            await self.delete([message_id])
        return None

    async def _strike_out(self, message_id: int) -> None:
        """What is older than 48 hours cannot be deleted, but what it said holds no longer."""
        for caption in (False, True):
            try:
                async with self._request():
                    await self._bot.edit(self.address, message_id, OUTDATED, markup=False, keyboard=(), caption=caption)
            except TextIsCaption:
                continue
            except (CardRefused, MessageGone):
                pass
            return

    async def says(self, message_id: int, text: str) -> bool:
        """Whether a message that no table knows is ours and says exactly this; no words are changed by asking.

        Bots cannot read. But who puts other buttons below a message of his is answered with the whole of it: so one is
        put there that nothing answers to, and taken away again when the message stays.
        """
        mark = (Button("…", uuid4().hex),)
        async with self._request():
            shown = await self._bot.set_buttons(self.address, message_id, (mark,))
        if shown is None:
            return False
        if shown.split() == plain(text).split():
            return True
        async with self._request():
            await self._bot.set_buttons(self.address, message_id, ())
        return False

    def follow(self, failure: ChatMoved) -> None:
        """Go to the chat's new id from now on."""
        log.warning(
            "Telegram chat %d is chat %d now and followed there; mend its id in the configuration",
            self.address,
            failure.chat_id,
            extra={"action": "telegram_moved"},
        )
        self.address = failure.chat_id

    async def pass_through(self, request: Callable[[], Awaitable[T]]) -> T:
        """Any other request to this chat, when the budget has room for it."""
        async with self._request():
            return await request()

    async def _put(self, text: str, attempt: _Attempt, silent: bool) -> Sent:
        shown = text if attempt.markup else plain(text)
        async with self._request():
            if attempt.message_id is None:
                new = await self._bot.send(
                    self.address,
                    shown,
                    topic=attempt.topic,
                    silent=silent,
                    markup=attempt.markup,
                    keyboard=attempt.keyboard,
                )
                return Sent(new, edited=False)
            await self._bot.edit(
                self.address,
                attempt.message_id,
                shown,
                markup=attempt.markup,
                keyboard=attempt.keyboard,
                caption=attempt.caption,
            )
            return Sent(attempt.message_id, edited=True)

    @contextlib.asynccontextmanager
    async def _request(self) -> AsyncIterator[None]:
        await self.free()
        self._window.spend(self._clock())
        try:
            yield
        except FloodWait as failure:
            self._left_alone_until = self._clock() + failure.seconds
            raise  # it was not counted there either
        except BaseException:
            self.budget.spend(self._clock())
            raise
        self.budget.spend(self._clock())

    def _close_topic(self, topic: int, failure: TopicGone) -> None:
        if topic not in self._closed_topics:
            log.warning(
                "topic %d of Telegram chat %d: %s; mend the configuration, its cards go without a topic",
                topic,
                self.address,
                failure,
                extra={"action": "telegram_topic"},
            )
        self._closed_topics[topic] = self._clock() + CLOSED_TOPIC_S

    def _is_closed(self, topic: int) -> bool:
        """Whether a topic was closed a short while ago; people open it again."""
        return self._closed_topics.get(topic, 0.0) > self._clock()
