"""Sends what the table of cards says the chats should show: one worker a chat, one bot a token.

Invariants: a bug met by one chat's cards delays no other chat; the daemon never waits for Telegram. aiogram is imported
in a thread, after the doors are open.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vochi_agent.cards import CardQueue
from vochi_agent.config import Config
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.supervisor import bulkhead

from .aside import imported_aside
from .budget import Window, bot_window
from .chat import ChatWorker, Outage, Pace
from .door import Bot, ChatDoor

__all__ = ["CardSender", "Pace"]

USUAL = Pace()


@dataclass(slots=True)
class _Open:
    """A bot at work, and what its chats share."""

    bot: Bot
    window: Window
    outage: Outage
    doors: dict[int, ChatDoor] = field(default_factory=dict)


class CardSender:
    """All chats of all enterprises that have a bot."""

    def __init__(
        self,
        config: Config,
        queue: CardQueue,
        *,
        metrics: Metrics,
        pace: Pace = USUAL,
        bots: Mapping[str, Bot] | None = None,
        ours: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Open nothing yet.

        Args:
            bots: By token; those that are not in it speak with Telegram through aiogram.
            ours: Whether this daemon sends the cards of an enterprise now; another one sends the others'.
        """
        self._telegram = config.telegram
        tokens = {enterprise.number: enterprise.telegram_token for enterprise in config.enterprises}
        self._tokens = {
            number: token.get_secret_value() for number, token in tokens.items() if token.get_secret_value()
        }
        self._queue = queue
        self._metrics = metrics
        self._pace = pace
        self._bots = dict(bots or {})
        self._ours = ours
        self._changed = asyncio.Event()
        self._workers: dict[tuple[str, int], ChatWorker] = {}

    def wake(self) -> None:
        """Cards were written."""
        self._changed.set()

    async def run(self) -> None:
        """Send for ever; returns at once when no enterprise has a bot."""
        if not self._tokens:
            return
        # Workers of an earlier life hold closed bots.
        self._workers.clear()
        async with contextlib.AsyncExitStack() as stack:
            bots = await self._open_bots(stack)
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._changed.clear()
                    await self._wake_chats(tasks, bots)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._pace.look_again):
                            await self._changed.wait()

    async def _open_bots(self, stack: contextlib.AsyncExitStack) -> Mapping[str, _Open]:
        """A bot for every token; enterprises that share a token share its limits."""
        module = await imported_aside("vochi_agent.telegram.bot")
        by_token: dict[str, _Open] = {}
        for number, token in self._tokens.items():
            if token not in by_token:
                bot = self._bots.get(token)
                if bot is None:
                    bot = module.TelegramBot(
                        token,
                        api_url=self._telegram.api_url,
                        proxy=self._telegram.proxy,
                        request_s=self._pace.request,
                    )
                    stack.push_async_callback(bot.close)
                outage = Outage(f"the Telegram bot of {number}")
                by_token[token] = _Open(bot, bot_window(minute=self._pace.minute), outage)
        return {number: by_token[token] for number, token in self._tokens.items()}

    async def _wake_chats(self, tasks: asyncio.TaskGroup, bots: Mapping[str, _Open]) -> None:
        try:
            chats = await self._queue.pending_chats()
        except StoreUnavailable:
            return
        for chat in chats:
            if chat.enterprise_number in bots and self._ours(chat.enterprise_number):
                self._worker(tasks, bots[chat.enterprise_number], chat.enterprise_number, chat.chat_id).wake()

    def _worker(self, tasks: asyncio.TaskGroup, opened: _Open, number: str, chat_id: int) -> ChatWorker:
        worker = self._workers.get((number, chat_id))
        if worker is None:
            door = opened.doors.get(chat_id)
            if door is None:
                door = ChatDoor(opened.bot, chat_id, window=opened.window, minute=self._pace.minute)
                opened.doors[chat_id] = door
            worker = ChatWorker(
                door,
                self._queue,
                enterprise_number=number,
                chat_id=chat_id,
                bot_outage=opened.outage,
                metrics=self._metrics,
                pace=self._pace,
                ours=self._ours,
            )
            self._workers[number, chat_id] = worker
            name = f"Telegram chat {chat_id} of {number}"
            tasks.create_task(bulkhead(name, worker.run), name=name)
        return worker
