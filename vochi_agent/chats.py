"""Telegram for all enterprises, composed: the cards of calls, and what people write and press below them."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from vochi_agent.call_backs import CallBacks
from vochi_agent.calls.model import Call
from vochi_agent.clicks import Clicks
from vochi_agent.config import Config, Enterprise
from vochi_agent.live_cards import LiveCards
from vochi_agent.metrics import Metrics
from vochi_agent.ports import LiveRenderer, Renderer
from vochi_agent.recorded_calls import RecordingFolders
from vochi_agent.rendering import Rendering
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers
from vochi_agent.supervisor import bulkhead
from vochi_agent.telegram.cards import CardSender, Pace
from vochi_agent.telegram.desk import Desk
from vochi_agent.telegram.door import Bot
from vochi_agent.telegram.drafts import digest, live_renderer, renderer, shows_live
from vochi_agent.telegram.hook import HOOK_ROUTE, bot_of, hook_secret
from vochi_agent.telegram.intake import Intake
from vochi_agent.telegram.opened import OpenBot
from vochi_agent.telegram.presses import Presses
from vochi_agent.telegram.sounds import Sounds
from vochi_agent.web.bot_webhooks import BotHook, bot_webhook_routes

__all__ = ["Chats", "tell_recovered"]


class Chats:
    """The chats of all enterprises.

    Attributes:
        rendering: Of final cards.
        live: Cards of calls that go on.
        cards: Brings table and chats together.
        call_backs: Missed calls that somebody has to call back.
    """

    def __init__(
        self,
        config: Config,
        store: PostgresStore,
        customers: RememberedCustomers,
        recordings: RecordingFolders,
        *,
        redial: Mapping[str, Clicks],
        bots: Mapping[str, Bot] | None,
        ours: Callable[[str], bool],
        metrics: Metrics,
    ) -> None:
        """Open no bot yet.

        Args:
            customers: Remembers whom a card was made for.
            redial: What rings when «Перезвонить» is pressed, by enterprise; those whose PBX cannot are missing.
            bots: By token; those that are not in it are opened.
            ours: Whether this daemon works for an enterprise now.
        """
        self._config = config
        self._store = store
        self._customers = customers
        self._recordings = recordings
        self._redial = redial
        self._metrics = metrics
        self.rendering = Rendering(self._renderers(config))
        self.live = LiveCards(store.cards, customers, renderers=_live_renderers(config), cards_changed=self.wake)
        self.call_backs = CallBacks(
            store.call_backs,
            refresh=self._refresh,
            ours=lambda: [each.number for each in config.enterprises if ours(each.number)],
            cards_changed=self.wake,
        )
        pace = Pace()
        self._sounds = Sounds(store.cards, recordings.file, metrics=metrics, pace=pace, ours=ours)
        self._intake = Intake(
            config, store.operators, store.operators, self._desk, self._presses, metrics=metrics, pace=pace, ours=ours
        )
        self.cards = CardSender(config, store.cards, metrics=metrics, bots=bots, ours=ours, attend=self._attend)

    def use(self, config: Config) -> None:
        """Take texts and chats from a new configuration."""
        self._config = config
        self._recordings.use(config)
        self.rendering.use(self._renderers(config))
        self.live.use(_live_renderers(config))
        self._intake.use(config)
        self.cards.use(config)

    async def tell_recovered(self, enterprise_number: str, calls: Sequence[Call]) -> None:
        """As the function; an enterprise that left the configuration has no chats. Raises StoreUnavailable."""
        for each in self._config.enterprises:
            if each.number == enterprise_number:
                await tell_recovered(each, self._store, calls)

    def wake(self) -> None:
        """Cards were written."""
        self.cards.wake()

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Where Telegram brings updates, when it is to."""
        return bot_webhook_routes(HOOK_ROUTE, _hooks(self._config), self._intake.keep, self._metrics)

    async def _attend(self, opened: OpenBot) -> None:
        """What is done with a bot beside its cards; neither suffers from the other."""
        async with asyncio.TaskGroup() as tasks:
            for what, attend in (("the desk", self._intake.attend), ("the recordings", self._sounds.attend)):
                name = f"{what} of the Telegram bot of {opened.numbers[0]}"
                tasks.create_task(bulkhead(name, partial(attend, opened)), name=name)

    async def _refresh(self, enterprise_number: str, linkedid: str) -> int:
        return await self._store.calls.refresh_cards(enterprise_number, linkedid, self.rendering.of(enterprise_number))

    def _desk(self, enterprises: Callable[[], Sequence[Enterprise]]) -> Desk:
        return Desk(
            enterprises,
            self._store.operators,
            self._store.customers,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
            clock=time.monotonic,
        )

    def _presses(self, enterprises: Callable[[], Sequence[Enterprise]]) -> Presses:
        return Presses(
            enterprises,
            self._store.operators,
            self._store.customers,
            self.call_backs,
            redial=self._redial,
            clock=time.monotonic,
        )

    def _renderers(self, config: Config) -> Mapping[str, Renderer]:
        return {
            each.number: self._customers.watching(
                renderer(each, config, recording_link=partial(self._recordings.link, each.number))
            )
            for each in config.enterprises
        }


async def tell_recovered(enterprise: Enterprise, store: PostgresStore, calls: Sequence[Call]) -> None:
    """Tell chats of many recovered calls in one message. Raises StoreUnavailable."""
    if told := await store.erasure.others(enterprise.number, calls):
        await store.cards.put_digest(enterprise.number, [call.linkedid for call in told], digest(enterprise, told))


def _live_renderers(config: Config) -> Mapping[str, LiveRenderer]:
    """Of the enterprises whose chats are shown calls that go on."""
    return {each.number: live_renderer(each, config) for each in config.enterprises if shows_live(each)}


def _hooks(config: Config) -> dict[int, BotHook]:
    """By number of the bot: what its webhook has to say. A bot of several enterprises belongs to the first."""
    if config.telegram.updates != "webhook":
        return {}
    tokens = [(each.number, each.telegram_token.get_secret_value()) for each in reversed(config.enterprises)]
    return {
        bot_of(token): BotHook(secret=hook_secret(token), enterprise_number=number) for number, token in tokens if token
    }
