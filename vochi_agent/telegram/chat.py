"""Brings one chat and the database together, a card at a time; every failure is answered by its class.

Invariant: the database knows of a request before it goes out, and is told what came of it however long it is away. Only
when the answer is lost it is told nothing: the card is claimed again when its lease ends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Generic, TypeVar

from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.supervisor import Backoff

from .failures import (
    AnswerLost,
    CardRefused,
    ChatClosed,
    ChatMoved,
    FloodWait,
    MarkupRefused,
    MessageGone,
    TelegramFailure,
    TokenRefused,
    TopicGone,
)
from .queue import Bot, Card, CardQueue
from .text import plain

__all__ = ["ChatWorker", "Outage", "Pace"]

log = logging.getLogger(__name__)

# The group moved, the topic is gone, the message is gone, the markup is refused: each once, and a last attempt.
MAX_ATTEMPTS: Final = 5

C = TypeVar("C", bound=Card)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long what may take, in seconds.

    Attributes:
        request: One request.
        first: The first pause while Telegram is away; the next ones grow.
        longest: Up to this.
        closed: A chat that a person has to open again.
        refused: A bot whose token a person has to mend.
        look_again: Between looks at the table when nobody wakes us: for what a retry or another daemon left.
    """

    request: float = 10.0
    first: float = 1.0
    longest: float = 30.0
    closed: float = 600.0
    refused: float = 60.0
    look_again: float = 5.0


class Outage:
    """Says once that something is wrong and once that it is over. Shared by all chats of a bot, or a chat's own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: type[TelegramFailure] | None = None

    def begin(self, failure: TelegramFailure, *, level: int = logging.WARNING) -> None:
        """It failed; said when it is news."""
        if self._said is not type(failure):
            log.log(level, "%s: %s; cards wait", self._name, failure, extra={"action": "telegram_lost"})
        self._said = type(failure)

    def end(self) -> None:
        """It worked."""
        if self._said is not None:
            log.info("%s takes cards again", self._name, extra={"action": "telegram_back"})
        self._said = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How the next request is made."""

    message_id: int | None
    topic: int
    markup: bool = True


class ChatWorker(Generic[C]):
    """One chat. A chat that is slow, closed or limited delays no other."""

    def __init__(
        self,
        bot: Bot,
        queue: CardQueue[C],
        *,
        enterprise_number: str,
        chat_id: int,
        bot_outage: Outage,
        metrics: Metrics,
        pace: Pace,
    ) -> None:
        self._bot = bot
        self._queue = queue
        self._enterprise_number = enterprise_number
        self._chat_id = chat_id
        self._address = chat_id
        self._bot_outage = bot_outage
        self._outage = Outage(f"Telegram chat {chat_id} of {enterprise_number}")
        self._backoff = Backoff(pace.first, pace.longest)
        self._pace = pace
        self._cards = metrics.cards
        self._more = asyncio.Event()

    def wake(self) -> None:
        """There may be work."""
        self._more.set()

    async def run(self) -> None:
        """Work whenever woken, for ever."""
        while True:
            await self._more.wait()
            # Cleared before the first claim: a card that comes while this one is being sent wakes again.
            self._more.clear()
            while (card := await self._claim()) is not None:
                pause = await self._bring(card)
                await asyncio.sleep(pause)

    async def _claim(self) -> C | None:
        try:
            return await self._queue.claim(self._enterprise_number, self._chat_id)
        except StoreUnavailable:
            return None  # the next look at all chats wakes us again

    async def _bring(self, card: C) -> float:
        """Show one card; returns for how many seconds the chat has to be left alone."""
        try:
            message_id = await self._put(card)
        except AnswerLost as failure:
            self._count("lost")
            self._bot_outage.begin(failure)
            return self._backoff.next_wait()
        except CardRefused as failure:
            self._count("refused")
            log.warning(
                "Telegram refuses the card of call %s: %s", card.linkedid, failure, extra={"action": "card_refused"}
            )
            reason = str(failure)
            await self._note(lambda: self._queue.given_up(card, reason))
            return 0.0
        except TelegramFailure as failure:
            pause = self._pause(failure)
        except Exception:
            # The door of one card: whatever it is, the next card must not suffer.
            log.exception("the card of call %s cannot be sent", card.linkedid, extra={"action": "card_failed"})
            self._count("failed")
            await self._note(lambda: self._queue.failed(card, timedelta(seconds=self._pace.longest)))
            return 0.0
        else:
            self._count("edited" if card.message_id else "sent")
            self._bot_outage.end()
            self._outage.end()
            self._backoff.reset()
            await self._note(lambda: self._queue.sent(card, message_id))
            return 0.0
        await self._note(lambda: self._queue.failed(card, timedelta(seconds=pause)))
        return pause

    def _pause(self, failure: TelegramFailure) -> float:
        """What a failure of the whole chat, or of the whole bot, costs."""
        match failure:
            case FloodWait():
                self._count("flood")
                return failure.seconds
            case ChatClosed():
                self._count("closed")
                self._outage.begin(failure)
                return self._pace.closed
            case TokenRefused():
                self._count("closed")
                self._bot_outage.begin(failure, level=logging.ERROR)
                return self._pace.refused
            case _:
                self._count("away")
                self._bot_outage.begin(failure)
                return self._backoff.next_wait()

    async def _put(self, card: C) -> int:
        """Have the message shown, by another way where Telegram refuses the straight one; returns its id."""
        attempt = _Attempt(card.message_id, card.topic)
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._request(card, attempt)
            except MarkupRefused as failure:
                if not attempt.markup:
                    raise CardRefused(str(failure)) from failure
                log.warning("Telegram does not take our markup: %s", failure, extra={"action": "card_markup"})
                attempt = replace(attempt, markup=False)
            except MessageGone:
                attempt = replace(attempt, message_id=None)
            except TopicGone as failure:
                log.warning(
                    "topic %d of Telegram chat %d: %s; mend the configuration, the card goes without a topic",
                    attempt.topic,
                    self._chat_id,
                    failure,
                    extra={"action": "telegram_topic"},
                )
                attempt = replace(attempt, topic=0, message_id=None)
            except ChatMoved as failure:
                log.warning(
                    "Telegram chat %d is chat %d now: mend its id in the configuration",
                    self._address,
                    failure.chat_id,
                    extra={"action": "telegram_moved"},
                )
                self._address = failure.chat_id
                attempt = replace(attempt, message_id=None)
        raise CardRefused("every way to send it was refused")

    async def _request(self, card: C, attempt: _Attempt) -> int:
        text = card.text if attempt.markup else plain(card.text)
        if attempt.message_id is None:
            return await self._bot.send(
                self._address, text, topic=attempt.topic, silent=card.silent, markup=attempt.markup
            )
        await self._bot.edit(self._address, attempt.message_id, text, markup=attempt.markup)
        return attempt.message_id

    async def _note(self, write: Callable[[], Awaitable[None]]) -> None:
        """Tell the database, now or when it is back: forgetting what a chat shows would show it twice."""
        backoff = Backoff()
        while True:
            try:
                return await write()
            except StoreUnavailable:
                await asyncio.sleep(backoff.next_wait())

    def _count(self, result: str) -> None:
        self._cards.labels(self._enterprise_number, result).inc()
