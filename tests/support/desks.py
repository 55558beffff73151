"""A bot that listens: sender, intake and desk between a real database and the sandbox Bot API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final

from tests.support.calls import NOON
from tests.support.chats import GROUP, OTHER, PERSON, QUICK
from tests.support.renderers import no_cards
from vochi_agent.call_backs import CallBacks
from vochi_agent.calls.model import Call
from vochi_agent.config import Address, Config, Enterprise
from vochi_agent.desk_ports import Redial
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.telegram import SandboxMessage, TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.cards import CardSender
from vochi_agent.telegram.desk import Desk
from vochi_agent.telegram.drafts import renderer
from vochi_agent.telegram.hook import HOOK_ROUTE, hook_secret
from vochi_agent.telegram.intake import Intake
from vochi_agent.telegram.presses import Presses
from vochi_agent.web.bot_webhooks import BotHook, bot_webhook_routes
from vochi_agent.web.server import serving

__all__ = ["ANNA", "BORIS", "TOKEN", "Front", "configured", "listening"]

TOKEN: Final = "42:TEST"

# Telegram users; a private chat has its person's id.
ANNA, BORIS = PERSON, 6
PACE: Final = replace(QUICK, hold=1, request=2.0)
NOW: Final = NOON + timedelta(hours=3)


@dataclass(frozen=True)
class Front:
    """What a test speaks with.

    Attributes:
        address: Of the HTTP server that takes the webhook.
    """

    sandbox: TelegramSandbox
    store: PostgresStore
    intake: Intake
    metrics: Metrics
    address: Address
    config: Config
    call_backs: CallBacks

    def texts(self, chat_id: int) -> list[str]:
        """What the bot said in a chat."""
        return [message.text for message in self.sandbox.messages(chat_id)]

    def counted(self, result: str) -> float:
        """The metric of messages to the bot with this result."""
        return self.metrics.registry.get_sample_value("vochi_bot_messages_total", {"result": result}) or 0.0

    async def handled(self) -> None:
        """Return when the table knows that everything that came was handled."""
        async with asyncio.timeout(5):
            while await self.store.operators.kept_updates(42, limit=1):
                await asyncio.sleep(0.01)

    async def sign_up(self, user_id: int = ANNA, extension: str = "151") -> None:
        """A person is an operator."""
        code = await self.store.operators.invite("0901", extension)
        await self.ask(f"/start {code}", user_id=user_id)

    async def ask(self, text: str, *, user_id: int = ANNA, chat_id: int | None = None, **facts: Any) -> SandboxMessage:
        """Write to the bot, privately unless a chat is given; its answer."""
        chat_id = user_id if chat_id is None else chat_id
        known = len(self.sandbox.messages(chat_id))
        self.sandbox.write(chat_id, text, user_id=user_id, **facts)
        await self.sandbox.until(lambda: len(self.sandbox.messages(chat_id)) > known)
        return self.sandbox.messages(chat_id)[-1]

    async def ignored(self, text: str, *, user_id: int = ANNA, chat_id: int | None = None, **facts: Any) -> None:
        """Write to the bot, which says nothing."""
        before = self.counted("ignored")
        said = len(self.sandbox.messages(chat_id or user_id))
        self.sandbox.write(chat_id or user_id, text, user_id=user_id, **facts)
        async with asyncio.timeout(5):
            while self.counted("ignored") == before:
                await asyncio.sleep(0.01)
        assert len(self.sandbox.messages(chat_id or user_id)) == said

    async def stored(self, *calls: Call) -> None:
        """Calls of the ledger."""
        for call in calls:
            await self.store.calls.record(call, no_cards)


def configured(api_url: str, public_url: str = "", ari: str = "", **telegram: Any) -> Config:
    """A company whose group reads full numbers, and another chat that reads masked ones of one line only."""
    enterprise = {
        "number": "0901",
        "name": "Ромашка",
        "country": "BY",
        "timezone": "Europe/Minsk",
        "primary_source": "manual",
        "telegram_token": TOKEN,
        "asterisk": {
            "ami": "127.0.0.1:5038",
            "ami_username": "vochi",
            "ami_secret": "x",
            **({"ari": ari, "ari_username": "vochi", "ari_password": "x"} if ari else {}),
        },
        "lines": [{"id": "0001701", "endpoint": "PJSIP/gsm1", "label": "МТС Центр"}],
        "agents": [{"extension": "151", "name": "Второй Агент"}],
        "chats": [{"id": GROUP}, {"id": OTHER, "mask_phones": True, "lines": ["0009999"]}],
    }
    return Config.model_validate(
        {
            "http": {"public_url": public_url},
            "telegram": {"api_url": api_url, **telegram},
            "enterprises": [enterprise],
        }
    )


@contextlib.asynccontextmanager
async def listening(
    store: PostgresStore,
    *,
    sandbox: TelegramSandbox | None = None,
    ours: Callable[[str], bool] = lambda _: True,
    redial: Mapping[str, Redial] | None = None,
    **telegram: Any,
) -> AsyncIterator[Front]:
    """A bot at work while the block runs, with a sandbox of its own unless given."""
    await asyncio.to_thread(import_module, "vochi_agent.telegram.bot")
    async with contextlib.AsyncExitStack() as stack:
        if sandbox is None:
            sandbox = await stack.enter_async_context(TelegramSandbox())
            for chat_id in (GROUP, OTHER, ANNA, BORIS):
                sandbox.add_chat(chat_id)
        metrics = Metrics()

        async def keep(bot_id: int, update_id: int, content: str) -> None:
            await intake.keep(bot_id, update_id, content)

        hook = BotHook(secret=hook_secret(TOKEN), enterprise_number="0901")
        routes = bot_webhook_routes(HOOK_ROUTE, {42: hook}, keep, metrics)
        address = await stack.enter_async_context(serving(Address("127.0.0.1", 0), routes))
        config = configured(sandbox.url, f"http://{address}", **telegram)

        def desk(enterprises: Callable[[], Sequence[Enterprise]]) -> Desk:
            clock = asyncio.get_running_loop().time
            return Desk(enterprises, store.operators, store.customers, now=_now, clock=clock)

        calls = CallBacks(
            store.call_backs,
            refresh=lambda number, linkedid: store.calls.refresh_cards(
                number, linkedid, renderer(config.enterprises[0], config)
            ),
            ours=lambda: ["0901"],
            cards_changed=lambda: sender.wake(),  # noqa: PLW0108 - it is made below
            look_again_s=0.2,
        )

        def presses(enterprises: Callable[[], Sequence[Enterprise]]) -> Presses:
            clock = asyncio.get_running_loop().time
            return Presses(enterprises, store.operators, store.customers, calls, redial=redial or {}, clock=clock)

        intake = Intake(config, store.operators, store.operators, desk, presses, metrics=metrics, pace=PACE, ours=ours)
        sender = CardSender(config, store.cards, metrics=metrics, pace=PACE, ours=ours, attend=intake.attend)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in (sender.run(), calls.run())]
            try:
                yield Front(sandbox, store, intake, metrics, address, config, calls)
            finally:
                for task in running:
                    task.cancel()


def _now() -> datetime:
    return NOW
