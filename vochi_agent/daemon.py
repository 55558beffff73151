"""The composition root: a configuration becomes objects. `lifetime` makes them run.

Opened in this order and closed in the reverse one: database, CRMs, Telegram, the doors that others knock at, the PBXs.
So intake ends first and the database closes last, with every finished call stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp

from vochi_agent.asterisk.fastagi import FastAgiServer, Script
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.call_backs import CallBacks
from vochi_agent.call_books import CallBooks
from vochi_agent.call_log import CallLog, Guarded
from vochi_agent.call_screens import CallScreens
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.changes import Changes
from vochi_agent.clicks import Clicks
from vochi_agent.config import Config, Enterprise
from vochi_agent.crm import CRMS, CrmFactory, books_of, lists_of
from vochi_agent.crm.clocks import Clocks
from vochi_agent.crms import changes_of, clicks_in, clicks_in_chats, crms_of, receivers_of
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment
from vochi_agent.late_names import LateNames
from vochi_agent.live_cards import LiveCards
from vochi_agent.metrics import Metrics
from vochi_agent.overview import overview
from vochi_agent.ports import CallBook, CallScreen, LiveRenderer, Renderer
from vochi_agent.recorded_calls import RecordedCalls
from vochi_agent.retention import terms_of
from vochi_agent.routing import Routing
from vochi_agent.site import Site
from vochi_agent.store.embedded import EmbeddedPostgres
from vochi_agent.store.news import CustomerNews
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers
from vochi_agent.store.spool import DiskSpool
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
from vochi_agent.web.health import Part, health_routes
from vochi_agent.web.server import serving
from vochi_agent.web.status import status_routes
from vochi_agent.web.webhooks import webhook_routes

__all__ = ["Daemon", "assembled", "open_store", "tell_recovered"]

Parts = Callable[[], Mapping[str, Part]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The parts of a daemon; `lifetime.living` makes them run.

    Attributes:
        embedded: The PostgreSQL of our own, None with a real one.
        sites: By enterprise: its PBX and what belongs to it.
        intake: What people write to the bots.
        call_backs: Missed calls that somebody has to call back.
        changes: What each CRM tells by itself.
        clicks: On phone numbers in each CRM.
        schema_ready: Set when the database has our schema.
        parts: What readiness is read from.
    """

    config: Config
    metrics: Metrics
    store: PostgresStore
    embedded: EmbeddedPostgres | None
    customers: RememberedCustomers
    news: CustomerNews
    spool: DiskSpool
    call_log: CallLog
    caller_id: CallerId
    cards: CardSender
    intake: Intake
    call_backs: CallBacks
    live_cards: LiveCards
    recorded_calls: RecordedCalls
    call_books: CallBooks
    call_screens: CallScreens
    sites: Mapping[str, Site]
    changes: Sequence[Changes]
    clicks: Sequence[Clicks]
    schema_ready: asyncio.Event
    fastagi: FastAgiServer
    parts: Parts
    http_port: int

    def reload(self, config: Config) -> None:
        """Take lines, agents, departments, texts and chats from a new configuration; all else needs a restart.

        Calls that go on are judged by the layout they began with.
        """
        known = [enterprise for enterprise in config.enterprises if enterprise.number in self.sites]
        layouts = {enterprise.number: (enterprise, Layout(enterprise)) for enterprise in known}
        self.caller_id.use(layouts)
        self.call_log.use(_renderers(config, known, self.customers, self.recorded_calls))
        self.live_cards.use(_live_renderers(config))
        self.intake.use(config)
        for number, (_, layout) in layouts.items():
            self.sites[number].watch.tracker.layout = layout


class _GapsFilled:
    """What the spool had to drop may belong to any enterprise: it is filled when the gaps of all of them are."""

    def __init__(self, numbers: Iterable[str], told: Callable[[], Awaitable[None]]) -> None:
        self._open = set(numbers)
        self._told = told

    async def of(self, number: str) -> None:
        """No gap of this enterprise is left."""
        self._open.discard(number)
        if not self._open:
            await self._told()


@asynccontextmanager
async def open_store(config: Config, *, may_carry_over: bool = False) -> AsyncIterator[PostgresStore]:
    """The database of the configuration; an embedded one is started, a real one may be down.

    Args:
        may_carry_over: An embedded one of an older PostgreSQL is carried over, otherwise it is refused.
    """
    async with _database(config, may_carry_over=may_carry_over) as (store, _):
        yield store


@asynccontextmanager
async def _database(
    config: Config, *, may_carry_over: bool
) -> AsyncIterator[tuple[PostgresStore, EmbeddedPostgres | None]]:
    async with AsyncExitStack() as stack:
        embedded, dsn = None, config.database.url
        if dsn == "embedded":
            embedded = EmbeddedPostgres(config.daemon.state_dir, may_carry_over=may_carry_over)
            dsn = await stack.enter_async_context(embedded)
        store = await stack.enter_async_context(PostgresStore(dsn, pool_size=config.database.pool_size))
        store.calls.crms = {each.number: _lists_of(each) for each in config.enterprises}
        yield store, embedded


def _lists_of(enterprise: Enterprise) -> list[str]:
    """What of the enterprise's CRMs is to be told of finished calls."""
    return [each for name, table in enterprise.crm.items() for each in lists_of(name, table)]


@asynccontextmanager
async def assembled(
    config: Config, *, crms: Mapping[str, CrmFactory] = CRMS, bots: Mapping[str, Bot] | None = None
) -> AsyncIterator[Daemon]:
    """A whole daemon, answering FastAGI and HTTP but watching nothing yet, while the block runs.

    Args:
        crms: How the CRMs of the configuration are spoken with, by name.
        bots: Telegram bots by token that are not to be opened anew.

    Raises:
        ConfigError: an embedded database or a state_dir that cannot be used.
        PortTaken: a listener cannot bind.
    """
    metrics = Metrics()
    layouts = {enterprise.number: (enterprise, Layout(enterprise)) for enterprise in config.enterprises}
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store, embedded = await enter(_database(config, may_carry_over=config.database.migrate))
        # Cookies of one CRM account are not another's.
        session = await enter(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[Clocks().trace()])
        )
        spool = await enter(DiskSpool(config.daemon.state_dir / "spool", limit_bytes=config.daemon.spool_mb << 20))
        customers = RememberedCustomers(store.customers, patience_s=config.fastagi.deadline_s / 3)
        stack.push_async_callback(customers.aclose)
        news = CustomerNews(store.database, customers, enterprises=list(layouts))
        sites: dict[str, Site] = {}
        call_backs = CallBacks(
            store.call_backs,
            refresh=lambda number, linkedid: store.calls.refresh_cards(number, linkedid, call_log.renderer(number)),
            ours=lambda: [number for number, site in sites.items() if site.duty.ours],
            cards_changed=lambda: cards.wake(),  # noqa: PLW0108 - it is made below
        )
        redial: dict[str, Clicks] = {}
        intake = _intake(
            config,
            store,
            metrics,
            call_backs=call_backs,
            redial=redial,
            ours=partial(_writes, sites),
        )
        cards = CardSender(
            config,
            store.cards,
            metrics=metrics,
            bots=bots,
            ours=partial(_writes, sites),
            attend=partial(
                _attended,
                intake,
                Sounds(
                    store.cards,
                    lambda *of: recorded_calls.file(*of),  # noqa: PLW0108 - it is made below
                    metrics=metrics,
                    pace=Pace(),
                    ours=partial(_writes, sites),
                ),
            ),
        )
        live_cards = LiveCards(store.cards, customers, renderers=_live_renderers(config), cards_changed=cards.wake)
        recorded_calls = RecordedCalls(
            config,
            store,
            render=lambda number: call_log.renderer(number),  # noqa: PLW0108 - it is made below
            cards_changed=cards.wake,
            kept=lambda: call_books.wake(),  # noqa: PLW0108 - it is made below
        )
        store.calls.recording_waits = recorded_calls.waits
        renderers = _renderers(config, config.enterprises, customers, recorded_calls)
        call_log = CallLog(
            store.calls, customers, spool, renderers=renderers, cards_changed=cards.wake, metrics=metrics
        )
        call_log.named = live_cards.named
        call_log.filed = recorded_calls.add
        call_log.listeners.append(live_cards.tell)
        asked = {
            each.number: crms_of(each, session, metrics, crms, state_dir=config.daemon.state_dir)
            for each in config.enterprises
        }
        enrichment = Enrichment(
            asked,
            on_profile=call_log.learned,
            let_go=store.customers.let_go,
            metrics=metrics,
            clock=time.monotonic,
        )
        news.heard, news.missed = enrichment.forget, enrichment.forget_all
        stack.push_async_callback(enrichment.aclose)
        call_log.lookups = enrichment
        call_books = CallBooks(
            _books(config, asked),
            store.outbox,
            ours=lambda number: sites[number].duty.ours,
            recording_url=lambda call: (
                recorded_calls.link(call.enterprise_number, call.linkedid) if call.recording else ""
            ),
            metrics=metrics,
        )
        call_screens = CallScreens(
            _screens(config, asked), customers, store.outbox.note_remote_id, metrics=metrics, clock=time.monotonic
        )
        call_log.listeners.append(call_screens.tell)
        late_names = LateNames(enrichment, lambda number: _watch(sites, number), metrics=metrics)
        stack.push_async_callback(late_names.aclose)
        schema_ready = asyncio.Event()
        filled = _GapsFilled(layouts, spool.gap_filled)
        for number, (enterprise, layout) in layouts.items():
            sites[number] = Site(
                enterprise,
                layout,
                session=session,
                store=store,
                customers=customers,
                call_log=call_log,
                enrichment=enrichment,
                metrics=metrics,
                render=Guarded(renderers[number]),
                announce=partial(tell_recovered, enterprise, store),
                cards_changed=cards.wake,
                terms=terms_of(config.retention),
                ready=schema_ready,
                filled=partial(filled.of, number),
            )
        caller_id = CallerId(
            layouts,
            customers=customers,
            lookups=enrichment,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
            router=Routing(
                {number: site.phones for number, site in sites.items()}, lookups=enrichment, history=customers
            ),
            unnamed=late_names.expect,
            answered=lambda status: metrics.agi_requests.labels(status).inc(),
        )
        fastagi = await enter(_fastagi(config, caller_id, metrics))
        call_log.stored = partial(_stored, sites, call_books, call_backs)
        watches = {number: site.watch for number, site in sites.items()}
        parts = _parts(store, fastagi, watches)
        seen = overview(config, metrics=metrics, watches=watches, fastagi=fastagi, parts=parts, started_at=time.time())
        placing = {number: site.click_to_call.call_out for number, site in sites.items()}
        clicks = clicks_in(
            config.enterprises,
            asked,
            placing,
            note=call_screens.expect,
            ours=lambda number: sites[number].duty.ours,
            metrics=metrics,
        )
        redial |= clicks_in_chats(config.enterprises, placing, metrics=metrics)
        call_log.listeners += [each.tell for each in clicks]
        changes = changes_of(
            config.enterprises,
            asked,
            store.changes,
            on_profile=call_log.learned,
            forget=enrichment.forget,
            clicks=clicks,
            ours=lambda number: sites[number].duty.ours,
            ready=schema_ready,
            metrics=metrics,
        )
        address = await enter(
            serving(
                config.http.listen,
                [
                    *health_routes(parts, metrics.registry),
                    *status_routes(seen),
                    *webhook_routes(receivers_of(config.enterprises, changes, clicks), metrics),
                    *bot_webhook_routes(HOOK_ROUTE, _bot_hooks(config), intake.keep, metrics),
                    *recorded_calls.routes(),
                ],
            )
        )
        yield Daemon(
            config=config,
            metrics=metrics,
            store=store,
            embedded=embedded,
            customers=customers,
            news=news,
            spool=spool,
            call_log=call_log,
            caller_id=caller_id,
            cards=cards,
            intake=intake,
            call_backs=call_backs,
            call_books=call_books,
            call_screens=call_screens,
            live_cards=live_cards,
            recorded_calls=recorded_calls,
            sites=sites,
            changes=changes,
            clicks=clicks,
            schema_ready=schema_ready,
            fastagi=fastagi,
            parts=parts,
            http_port=address.port,
        )


async def _attended(intake: Intake, sounds: Sounds, opened: OpenBot) -> None:
    """What is done with a bot beside its cards; neither suffers from the other."""
    async with asyncio.TaskGroup() as tasks:
        for what, attend in (("the desk", intake.attend), ("the recordings", sounds.attend)):
            name = f"{what} of the Telegram bot of {opened.numbers[0]}"
            tasks.create_task(bulkhead(name, partial(attend, opened)), name=name)


def _intake(
    config: Config,
    store: PostgresStore,
    metrics: Metrics,
    *,
    call_backs: CallBacks,
    redial: Mapping[str, Clicks],
    ours: Callable[[str], bool],
) -> Intake:
    """What people write to the bots and press below cards, and who answers it."""

    def desk(enterprises: Callable[[], Sequence[Enterprise]]) -> Desk:
        return Desk(
            enterprises,
            store.operators,
            store.customers,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
            clock=time.monotonic,
        )

    def presses(enterprises: Callable[[], Sequence[Enterprise]]) -> Presses:
        return Presses(enterprises, store.operators, store.customers, call_backs, redial=redial, clock=time.monotonic)

    return Intake(config, store.operators, store.operators, desk, presses, metrics=metrics, pace=Pace(), ours=ours)


def _bot_hooks(config: Config) -> dict[int, BotHook]:
    """By number of the bot: what its webhook has to say. A bot of several enterprises belongs to the first."""
    if config.telegram.updates != "webhook":
        return {}
    tokens = [(each.number, each.telegram_token.get_secret_value()) for each in reversed(config.enterprises)]
    return {
        bot_of(token): BotHook(secret=hook_secret(token), enterprise_number=number) for number, token in tokens if token
    }


Asked = Mapping[str, Sequence[CrmOfEnterprise]]


def _books(config: Config, asked: Asked) -> list[tuple[str, CallBook]]:
    """What of the CRMs is to be told of finished calls."""
    return [
        (each.number, book)
        for each in config.enterprises
        for crm in asked[each.number]
        for book in books_of(crm.source, each.crm[crm.source.name], clock=time.monotonic)
    ]


def _screens(config: Config, asked: Asked) -> dict[str, list[CallScreen]]:
    """The CRMs that show live calls and are to do so."""
    return {
        each.number: [
            crm.source
            for crm in asked[each.number]
            if isinstance(crm.source, CallScreen) and each.crm[crm.source.name].popups
        ]
        for each in config.enterprises
    }


async def tell_recovered(enterprise: Enterprise, store: PostgresStore, calls: Sequence[Call]) -> None:
    """Tell chats of many recovered calls in one message. Raises StoreUnavailable."""
    await store.cards.put_digest(enterprise.number, [call.linkedid for call in calls], digest(enterprise, calls))


def _renderers(
    config: Config, enterprises: Iterable[Enterprise], customers: RememberedCustomers, recorded_calls: RecordedCalls
) -> dict[str, Renderer]:
    """What renders the final cards of each enterprise."""
    return {
        each.number: customers.watching(
            renderer(each, config, recording_link=partial(recorded_calls.link, each.number))
        )
        for each in enterprises
    }


def _live_renderers(config: Config) -> Mapping[str, LiveRenderer]:
    """Of the enterprises whose chats are shown calls that go on."""
    return {each.number: live_renderer(each, config) for each in config.enterprises if shows_live(each)}


def _writes(sites: Mapping[str, Site], number: str) -> bool:
    """Whether this daemon writes the calls of an enterprise now."""
    return number in sites and sites[number].duty.ours


def _watch(sites: Mapping[str, Site], number: str) -> PbxWatch | None:
    site = sites.get(number)
    return site.watch if site else None


def _stored(sites: Mapping[str, Site], call_books: CallBooks, call_backs: CallBacks, call: Call) -> None:
    call_books.wake()
    call_backs.wake()
    # A call may have waited on disk while its enterprise left the configuration.
    if site := sites.get(call.enterprise_number):
        site.recoverer.live_call_stored(call)


def _fastagi(config: Config, caller_id: CallerId, metrics: Metrics) -> FastAgiServer:
    return FastAgiServer(
        config.fastagi.listen.host,
        config.fastagi.listen.port,
        scripts={
            "callerid": Script(caller_id.answer, caller_id.fallback),
            "route": Script(caller_id.route, caller_id.no_route),
        },
        allow=config.fastagi.allow,
        deadline_s=config.fastagi.deadline_s,
        observe=metrics.agi_seconds.observe,
    )


def _parts(store: PostgresStore, fastagi: FastAgiServer, watches: Mapping[str, PbxWatch]) -> Parts:
    """What readiness and `status` are read from."""

    def parts() -> Mapping[str, Part]:
        found = {
            "database": Part(up=store.available, needed_for="database"),
            "fastagi": Part(up=True, needed_for="fastagi", detail=f"{fastagi.host}:{fastagi.port}"),
        }
        for number, watch in watches.items():
            state = watch.ami.state
            found[f"ami {number}"] = Part(
                up=state.connected_since is not None, needed_for="ami", detail=state.last_error or state.banner
            )
        return found

    return parts
