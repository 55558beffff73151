"""Sends what the table of cards says the chats should show: one worker a chat, one bot a token.

Invariants: a bug met by one chat's cards delays no other chat; the daemon never waits for Telegram. aiogram is imported
in a thread, after the doors are open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from vochi_agent.cards import CardQueue
from vochi_agent.config import Config
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import TELEGRAM, Metrics
from vochi_agent.ports import OpenWork
from vochi_agent.supervisor import bulkhead

from .aside import imported_aside
from .budget import bot_window
from .chat import ChatWorker, Outage, Pace
from .door import Bot
from .opened import OpenBot

__all__ = ["CardSender", "Pace"]

USUAL = Pace()


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
        attend: Callable[[OpenBot], Awaitable[None]] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            bots: By token; those that are not in it speak with Telegram through aiogram.
            ours: Whether this daemon sends the cards of an enterprise now; another one sends the others'.
            attend: What else is to be done with each bot as long as it is open.
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
        self._attend = attend
        self._mended: Mapping[str, Collection[int]] = {}
        self.use(config)
        self._changed = asyncio.Event()
        self._workers: dict[tuple[str, int], ChatWorker] = {}

    def use(self, config: Config) -> None:
        """Take chats from another configuration."""
        self._chats = {each.number: {chat.id for chat in each.chats} for each in config.enterprises}

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
                self._begin_to_attend(tasks, bots)
                tasks.create_task(self._show_waiting(), name="cards that wait")
                while True:
                    self._changed.clear()
                    await self._wake_chats(tasks, bots)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._pace.look_again):
                            await self._changed.wait()

    async def _open_bots(self, stack: contextlib.AsyncExitStack) -> Mapping[str, OpenBot]:
        """A bot for every token; enterprises that share a token share its limits."""
        module = await imported_aside("vochi_agent.telegram.bot")
        by_token: dict[str, OpenBot] = {}
        for number, token in self._tokens.items():
            if token not in by_token:
                bot, reader = self._bots.get(token), None
                if bot is None:
                    bot = reader = module.TelegramBot(
                        token,
                        api_url=self._telegram.api_url,
                        proxy=self._telegram.proxy,
                        request_s=self._pace.request,
                    )
                    stack.push_async_callback(bot.close)
                outage = Outage(f"the Telegram bot of {number}")
                minute = self._pace.minute
                by_token[token] = OpenBot(
                    token=token,
                    bot=bot,
                    reader=reader,
                    numbers=[],
                    window=bot_window(minute=minute),
                    outage=outage,
                    minute=minute,
                )
            by_token[token].numbers.append(number)
        return {number: by_token[token] for number, token in self._tokens.items()}

    def _begin_to_attend(self, tasks: asyncio.TaskGroup, bots: Mapping[str, OpenBot]) -> None:
        for opened in {id(opened): opened for opened in bots.values()}.values():
            if self._attend is not None:
                name = f"the desk of the Telegram bot of {opened.numbers[0]}"
                tasks.create_task(bulkhead(name, partial(self._attend, opened)), name=name)

    async def _show_waiting(self) -> None:
        """Keep the metrics of what waits, for ever."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                waiting = await self._queue.waiting()
                for number in self._tokens:
                    work = waiting.get(number, OpenWork())
                    self._metrics.cards_waiting.labels(number).set(work.waiting)
                    self._metrics.outbox_age_seconds.labels(number, TELEGRAM).set(work.age_s)
            await asyncio.sleep(self._pace.look_again)

    async def _wake_chats(self, tasks: asyncio.TaskGroup, bots: Mapping[str, OpenBot]) -> None:
        try:
            await self._mend()
            chats = await self._queue.pending_chats()
        except StoreUnavailable:
            return
        for chat in chats:
            if chat.enterprise_number in bots and self._ours(chat.enterprise_number):
                self._worker(tasks, bots[chat.enterprise_number], chat.enterprise_number, chat.chat_id).wake()

    async def _mend(self) -> None:
        """Once a configuration: a chat may stand in it under the id that it moved to."""
        chats = self._chats
        if chats is not self._mended:
            for number, configured in chats.items():
                await self._queue.mended(number, configured)
            self._mended = chats

    def _worker(self, tasks: asyncio.TaskGroup, opened: OpenBot, number: str, chat_id: int) -> ChatWorker:
        worker = self._workers.get((number, chat_id))
        if worker is None:
            worker = ChatWorker(
                opened.door(chat_id),
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
