"""Brings one chat and the table of cards together, a step at a time; every failure is answered by its class.

Invariant: the table knows of a request before it goes out, and is told what came of it however long it is away.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from vochi_agent.cards import Card, CardQueue, Doubt
from vochi_agent.errors import StoreUnavailable
from vochi_agent.log import about_call
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.supervisor import Backoff

from . import plan
from .door import ChatDoor
from .failures import AnswerLost, CardRefused, ChatClosed, FloodWait, TelegramFailure, TokenRefused
from .keyboards import keyboard_of
from .together import message_of

__all__ = ["ChatWorker", "Outage", "Pace"]

log = logging.getLogger(__name__)

# How many messages before and behind ours are tried when one may have come without our knowledge.
LOOKED_AT: Final = 8
LOOKED_AT_BEHIND: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long what may take, in seconds.

    Attributes:
        request: One request.
        first: The first pause while Telegram is away; the next ones grow.
        longest: Up to this.
        hold: Telegram's answer while nobody writes to the bot, whole seconds.
        closed: A chat that a person has to open again.
        refused: A bot whose token a person has to mend.
        look_again: Between looks at the table when nobody wakes us: for what a retry or another daemon left.
        minute: Of Telegram's limits; tests compress them and the sandbox's alike.
    """

    request: float = 10.0
    first: float = 1.0
    longest: float = 30.0
    hold: int = 25
    closed: float = 600.0
    refused: float = 60.0
    look_again: float = 5.0
    minute: float = 60.0


class Outage:
    """Says once that something is wrong and once that it is over. Shared by all chats of a bot, or a chat's own."""

    def __init__(self, name: str, works: str = "takes cards", fails: str = "cards wait") -> None:
        self._name = name
        self._works = works
        self._fails = fails
        self._said: type[TelegramFailure] | None = None

    @property
    def goes_on(self) -> bool:
        """It was said and is not over."""
        return self._said is not None

    def begin(self, failure: TelegramFailure, *, level: int = logging.WARNING) -> None:
        """It failed; said when it is news."""
        if self._said is not type(failure):
            log.log(level, "%s: %s; %s", self._name, failure, self._fails, extra={"action": "telegram_lost"})
        self._said = type(failure)

    def end(self) -> None:
        """It worked."""
        if self._said is not None:
            log.info("%s %s again", self._name, self._works, extra={"action": "telegram_back"})
        self._said = None


class ChatWorker:
    """One chat of one enterprise. A chat that is slow, closed or limited delays no other."""

    def __init__(
        self,
        door: ChatDoor,
        queue: CardQueue,
        *,
        enterprise_number: str,
        chat_id: int,
        bot_outage: Outage,
        metrics: Metrics,
        pace: Pace,
        ours: Callable[[str], bool],
    ) -> None:
        """`ours`: whether this daemon sends the cards of an enterprise now."""
        self._door = door
        self._queue = queue
        self._enterprise_number = enterprise_number
        self._chat_id = chat_id
        self._bot_outage = bot_outage
        self._outage = Outage(f"Telegram chat {chat_id} of {enterprise_number}")
        self._backoff = Backoff(pace.first, pace.longest)
        self._pace = pace
        self._metrics = metrics
        self._ours = ours
        self._planner = plan.Planner(door.budget.size, minute=pace.minute)
        self._clock = asyncio.get_running_loop().time
        # Asked when the metrics are: budget comes back with time, not with anything we do.
        left = metrics.telegram_budget_left.labels(enterprise_number, str(chat_id))
        left.set_function(lambda: door.budget.left(self._clock()))
        metrics.chats_rushing.labels(enterprise_number)  # 0, not nothing
        self._paused_until = 0.0
        self._known = False
        self._address = chat_id
        self._more = asyncio.Event()

    def wake(self) -> None:
        """There may be work."""
        self._more.set()

    async def run(self) -> None:
        """Work whenever woken, for ever."""
        while True:
            # Cleared before the look: what comes while this step is done wakes again.
            self._more.clear()
            wait = await self._step() if self._ours(self._enterprise_number) else None
            if wait != 0:
                await self._sleep(wait)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            pass

    async def _step(self) -> float | None:
        """Do one thing; returns for how many seconds there is nothing to do, None: until woken."""
        if (pause := self._paused_until - self._clock()) > 0:
            await asyncio.sleep(pause)
        try:
            await self._recall()
            async with self._door.lock:
                await self._note_address()
                await self._door.free()
                work = await self._queue.work(self._enterprise_number, self._chat_id)
                rushed = self._planner.rushing
                now = self._clock()
                budget = self._door.budget
                step = self._planner.next(work, left=budget.left(now), burst=budget.burst(now), now=now)
                self._say_rush(rushed)
                return await self._do(step)
        except StoreUnavailable:
            return self._pace.look_again

    async def _recall(self) -> None:
        """What an earlier life learned about the chat."""
        if self._known:
            return
        state = await self._queue.chat(self._enterprise_number, self._chat_id)
        self._known = True
        self._address = state.address
        if state.address != self._chat_id:
            self._door.address = state.address
        if state.closed_for is not None:
            # A clock that was set back says that it was in the future.
            left = self._pace.closed - max(0.0, state.closed_for.total_seconds())
            self._paused_until = self._clock() + max(0.0, left)

    async def _note_address(self) -> None:
        """The chat moved, whoever met it first: no message of before is to be looked for under its id."""
        address = self._door.address
        if address != self._address:
            await self._queue.moved(self._enterprise_number, self._chat_id, address)
            self._address = address

    async def _do(self, step: plan.Step) -> float | None:
        match step:
            case plan.Wait():
                return step.seconds
            case plan.TakeBack():
                await self._queue.taken_back(step.cards)
            case plan.Fold():
                await self._queue.fold_live(self._enterprise_number, self._chat_id)
            case plan.SetBoard():
                draft = CardDraft(chat_id=self._chat_id, topic=step.topic, text=step.text, silent=True)
                await self._queue.put_board(self._enterprise_number, draft)
            case plan.Post():
                if await self._queue.claim(step.cards, new_text=step.text):
                    await self._show(step.cards, step.text, None, silent=step.silent)
            case plan.Edit():
                await self._edit(step.card)
            case plan.Delete():
                await self._guarded(self._delete, step.message_ids)
            case plan.Look():
                await self._guarded(self._look, step)
        return 0

    async def _edit(self, card: Card) -> None:
        cards = await self._queue.cards_of(card) if card.shared else [card]
        if await self._queue.claim(cards, new_text=None):
            await self._show(cards, message_of(cards), card.message_id, silent=card.silent)

    async def _show(self, cards: Sequence[Card], text: str, message_id: int | None, *, silent: bool) -> None:
        """Have claimed cards shown in one message, and tell the table what came of it."""
        with about_call(cards[0].linkedid):
            await self._show_message(cards, text, message_id, silent=silent)

    async def _show_message(self, cards: Sequence[Card], text: str, message_id: int | None, *, silent: bool) -> None:
        queue = self._queue
        try:
            sent = await self._door.put(
                text,
                message_id=message_id,
                topic=cards[0].topic,
                silent=silent,
                keyboard=keyboard_of(cards),
                caption=bool(cards[0].sent_sound),
            )
        except AnswerLost as failure:
            self._count("lost")
            self._bot_outage.begin(failure)
            pause = self._pause(self._backoff.next_wait())
            return await self._note(lambda: queue.lost(cards, pause))
        except CardRefused as failure:
            self._count("refused")
            log.warning(
                "Telegram refuses the card of call %s: %s", cards[0].linkedid, failure, extra={"action": "card_refused"}
            )
            reason = str(failure)
            return await self._note(lambda: queue.given_up(cards, reason))
        except TelegramFailure as failure:
            pause = await self._fail(failure)
            return await self._note(lambda: queue.failed(cards, pause))
        except Exception:
            # The door of one message: whatever it is, the next one must not suffer.
            log.exception("the card of call %s cannot be sent", cards[0].linkedid, extra={"action": "card_failed"})
            self._count("failed")
            pause = timedelta(seconds=self._pace.longest)
            return await self._note(lambda: queue.failed(cards, pause))
        self._count("edited" if sent.edited else "sent")
        await self._works()
        return await self._note(lambda: self._sent(cards, sent.message_id))

    async def _sent(self, cards: Sequence[Card], message_id: int) -> None:
        for seconds in await self._queue.sent(cards, message_id):
            self._metrics.card_seconds.observe(seconds)

    async def _guarded(self, work: Callable[[T], Awaitable[None]], what: T) -> None:
        """Requests of which the table need not know what came: they are made again."""
        try:
            await work(what)
        except TelegramFailure as failure:
            await self._fail(failure)
        else:
            await self._works()

    async def _delete(self, message_ids: Sequence[int]) -> None:
        await self._door.delete(message_ids)
        self._count("deleted")
        await self._note(lambda: self._queue.deleted(self._enterprise_number, self._chat_id, message_ids))

    async def _look(self, look: plan.Look) -> None:
        """Find a message that came without our knowledge, and take it away: its card stands in another one by now."""
        for message_id in await self._queue.unknown(self._chat_id, _candidates(look.doubt)):
            if await self._door.says(message_id, look.doubt.text):
                await self._door.delete([message_id])
                self._count("duplicate")
                log.info("a card that was sent twice is taken away", extra={"action": "card_duplicate"})
        if look.last:
            await self._note(lambda: self._queue.settled(self._enterprise_number, self._chat_id, look.doubt))

    async def _fail(self, failure: TelegramFailure) -> timedelta:
        """A failure of the whole chat, or of the whole bot; returns for how long the chat is left alone."""
        match failure:
            case FloodWait():
                self._count("flood")
                return self._pause(failure.seconds)
            case ChatClosed():
                self._count("closed")
                self._outage.begin(failure)
                why = str(failure)
                await self._note(lambda: self._queue.closed(self._enterprise_number, self._chat_id, why))
                return self._pause(self._pace.closed)
            case TokenRefused():
                self._count("closed")
                self._bot_outage.begin(failure, level=logging.ERROR)
                return self._pause(self._pace.refused)
            case _:
                self._count("away")
                self._bot_outage.begin(failure)
                return self._pause(self._backoff.next_wait())

    async def _works(self) -> None:
        """The chat took something."""
        if self._outage.goes_on or self._door.address != self._address:
            await self._note(lambda: self._queue.opened(self._enterprise_number, self._chat_id))
        await self._note(self._note_address)
        self._bot_outage.end()
        self._outage.end()
        self._backoff.reset()

    def _pause(self, seconds: float) -> timedelta:
        self._paused_until = self._clock() + seconds
        return timedelta(seconds=seconds)

    def _say_rush(self, before: bool) -> None:
        if self._planner.rushing is before:
            return
        words = (
            "more calls than Telegram takes messages: one board shows them, finals share" if not before else "is over"
        )
        log.info("rush in Telegram chat %d: %s", self._chat_id, words, extra={"action": "telegram_rush"})
        self._metrics.chats_rushing.labels(self._enterprise_number).inc(-1 if before else 1)

    async def _note(self, write: Callable[[], Awaitable[None]]) -> None:
        """Tell the database, now or when it is back: forgetting what a chat shows would show it twice."""
        backoff = Backoff()
        while True:
            try:
                return await write()
            except StoreUnavailable:
                await asyncio.sleep(backoff.next_wait())

    def _count(self, result: str) -> None:
        self._metrics.cards.labels(self._enterprise_number, result).inc()


def _candidates(doubt: Doubt) -> list[int]:
    """Where a lost message may stand: ids grow, so after our last one before it, mostly just before our newest."""
    if doubt.newest is None:
        return []
    first = max(doubt.newest - LOOKED_AT, (doubt.after or 0) + 1)
    return list(range(doubt.newest + LOOKED_AT_BEHIND, first - 1, -1))
