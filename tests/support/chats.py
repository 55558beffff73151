"""A sender at work between a real table of cards and the sandbox Bot API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from tests.support.card_table import CardTable
from vochi_agent.config import Config
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.cards import CardSender, Pace
from vochi_agent.telegram.door import Bot
from vochi_agent.telegram.opened import OpenBot

__all__ = ["FORUM", "GROUP", "OTHER", "PERSON", "QUICK", "Chats", "configured", "sending"]

GROUP, OTHER, FORUM, PERSON = -1001000000001, -1001000000002, -1001000000003, 5
# A minute of three seconds, and everything else in the same hurry.
QUICK = Pace(request=0.5, first=0.05, longest=0.1, closed=0.2, refused=0.2, look_again=0.05, minute=3.0)


@dataclass(frozen=True)
class Chats:
    """What a test speaks with."""

    sandbox: TelegramSandbox
    cards: CardTable
    sender: CardSender
    metrics: Metrics
    work: asyncio.Task[None]

    async def stop(self) -> None:
        """The sender does nothing any more, whatever it was about."""
        self.work.cancel()
        await asyncio.wait([self.work])

    def texts(self, chat_id: int = GROUP) -> list[str]:
        """What people see of ours in a chat."""
        return [message.text for message in self.sandbox.messages(chat_id)]

    def asked(self, method: str, chat_id: int = GROUP) -> int:
        """How often a method was called for a chat."""
        return sum(
            request.method == method and request.fields.get("chat_id") == str(chat_id)
            for request in self.sandbox.requests
        )

    def counted(self, result: str) -> float:
        """The metric of cards with this result."""
        labels = {"enterprise": "0901", "result": result}
        return self.metrics.registry.get_sample_value("vochi_cards_total", labels) or 0.0

    async def until_texts(self, *texts: str, chat_id: int = GROUP, within: float = 8.0) -> None:
        """Return when the chat shows exactly these."""
        try:
            await self.sandbox.until(lambda: self.texts(chat_id) == list(texts), within=within)
        except TimeoutError:
            assert self.texts(chat_id) == list(texts)


def configured(api_url: str, token: str = "42:TEST") -> Config:
    """The smallest configuration with a bot."""
    enterprise = {
        "number": "0901",
        "country": "BY",
        "telegram_token": token,
        "asterisk": {"ami": "127.0.0.1:5038", "ami_username": "vochi", "ami_secret": "x"},
    }
    return Config.model_validate({"telegram": {"api_url": api_url}, "enterprises": [enterprise]})


@contextlib.asynccontextmanager
async def sending(
    store: PostgresStore,
    dsn: str,
    *,
    sandbox: TelegramSandbox | None = None,
    pace: Pace = QUICK,
    token: str = "42:TEST",
    bots: Callable[[str], Mapping[str, Bot]] = lambda _: {},
    attend: Callable[[OpenBot], Awaitable[None]] | None = None,
) -> AsyncIterator[Chats]:
    """A sender at work while the block runs, with a sandbox of its own unless given.

    `bots`: those that are not to be opened anew, by token, made of the sandbox's address.
    """
    # What the sender would do first takes its seconds, and on a busy machine longer than a test waits.
    await asyncio.to_thread(import_module, "vochi_agent.telegram.bot")
    async with contextlib.AsyncExitStack() as stack:
        if sandbox is None:
            sandbox = await stack.enter_async_context(TelegramSandbox())
            for chat_id in (GROUP, OTHER, PERSON):
                sandbox.add_chat(chat_id)
            sandbox.add_chat(FORUM, topics=[7])
        metrics = Metrics()
        sender = CardSender(
            configured(sandbox.url, token),
            store.cards,
            metrics=metrics,
            pace=pace,
            bots=bots(sandbox.url),
            attend=attend,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(sender.run(), name="sender under test")
            try:
                yield Chats(sandbox, CardTable(store, dsn), sender, metrics, task)
            finally:
                task.cancel()
