"""The composition root: a configuration becomes objects. `lifetime` makes them run.

Opened in this order and closed in the reverse one: database, CRMs, Telegram, the doors that others knock at, the PBXs.
So intake ends first and the database closes last, with every finished call stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp

from vochi_agent.asterisk.fastagi import FastAgiServer, Script
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.call_log import CallLog
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.chats import Chats
from vochi_agent.config import Config, Enterprise
from vochi_agent.crm import CRMS, CrmFactory, Limiters, lists_of
from vochi_agent.crm.clocks import Clocks
from vochi_agent.crms import Crms, clicks_in_chats, crms_of
from vochi_agent.late_names import LateNames
from vochi_agent.metrics import Metrics
from vochi_agent.overview import overview
from vochi_agent.recorded_calls import RecordedCalls, RecordingFolders
from vochi_agent.retention import terms_of
from vochi_agent.routing import Routing
from vochi_agent.site import Site, Sites
from vochi_agent.store.embedded import EmbeddedPostgres
from vochi_agent.store.news import CustomerNews
from vochi_agent.store.ownership import Ownership
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers
from vochi_agent.store.spool import DiskSpool
from vochi_agent.telegram.door import Bot
from vochi_agent.web.health import Part, health_routes
from vochi_agent.web.server import serving
from vochi_agent.web.status import status_routes

__all__ = ["Daemon", "assembled", "open_store"]

Parts = Callable[[], Mapping[str, Part]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The parts of a daemon; `lifetime.living` makes them run.

    Attributes:
        embedded: The PostgreSQL of our own, None with a real one.
        sites: By enterprise: its PBX and what belongs to it.
        ownership: The claims on the database's locks that decide whose calls are ours to write.
        schema_ready: Set when the database has our schema.
        parts: What readiness is read from.
    """

    config: Config
    metrics: Metrics
    store: PostgresStore
    embedded: EmbeddedPostgres | None
    customers: RememberedCustomers
    news: CustomerNews
    call_log: CallLog
    caller_id: CallerId
    chats: Chats
    crms: Crms
    recorded_calls: RecordedCalls
    sites: Sites
    ownership: Ownership
    schema_ready: asyncio.Event
    fastagi: FastAgiServer
    parts: Parts
    http_port: int

    def reload(self, config: Config) -> None:
        """Take lines, agents, departments, texts and chats from a new configuration; all else needs a restart.

        Calls that go on are judged by the layout they began with. `config.waiting_for_restart` names what is not taken.
        """
        told = {each.number: each for each in config.enterprises}
        # Enterprises come and go with a restart: until then one that is gone from the file keeps its names and cards.
        ours = tuple(told.get(each.number, each) for each in self.config.enterprises)
        config = config.model_copy(update={"enterprises": ours})
        layouts = _layouts(ours)
        self.caller_id.use(layouts)
        self.chats.use(config)
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
    metrics, sites, ready = Metrics(), Sites(), asyncio.Event()
    layouts = _layouts(config.enterprises)
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

        recordings = RecordingFolders(config)
        redial = clicks_in_chats(config.enterprises, sites.placing, metrics=metrics)
        chats = Chats(config, store, customers, recordings, redial=redial, bots=bots, ours=sites.ours, metrics=metrics)
        call_log = CallLog(
            store.calls,
            customers,
            spool,
            renderer=chats.rendering.of,
            cards_changed=chats.wake,
            metrics=metrics,
        )
        limiters: Limiters = {}  # enterprises may share an account, whose requests are counted together
        asked = {
            each.number: crms_of(each, session, metrics, crms, state_dir=config.daemon.state_dir, limiters=limiters)
            for each in config.enterprises
        }
        spoken = Crms(
            config.enterprises,
            asked,
            store,
            customers,
            on_profile=call_log.learned,
            recording_link=recordings.link,
            place=sites.placing,
            ours=sites.ours,
            ready=ready,
            metrics=metrics,
        )
        stack.push_async_callback(spoken.enrichment.aclose)
        recorded_calls = RecordedCalls(
            recordings, store, render=chats.rendering.of, cards_changed=chats.wake, kept=spoken.books.wake
        )
        filled = _GapsFilled(layouts, spool.gap_filled)
        for number, (enterprise, layout) in layouts.items():
            sites[number] = Site(
                enterprise,
                layout,
                session=session,
                store=store,
                customers=customers,
                call_log=call_log,
                enrichment=spoken.enrichment,
                metrics=metrics,
                render=chats.rendering.of(number),
                announce=partial(chats.tell_recovered, number),
                cards_changed=chats.wake,
                terms=terms_of(config.retention),
                ready=ready,
                filled=partial(filled.of, number),
            )
        late_names = LateNames(spoken.enrichment, sites.watch, enterprises=layouts, metrics=metrics)
        stack.push_async_callback(late_names.aclose)
        caller_id = CallerId(
            layouts,
            customers=customers,
            lookups=spoken.enrichment,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
            router=Routing(
                {number: site.phones for number, site in sites.items()}, lookups=spoken.enrichment, history=customers
            ),
            unnamed=late_names.expect,
            answered=lambda status: metrics.agi_requests.labels(status).inc(),
        )
        news = CustomerNews(store.database, customers, enterprises=list(layouts))

        # Who tells whom.
        store.calls.recording_waits = recordings.waits
        call_log.lookups = spoken.enrichment
        call_log.listeners += [chats.live.tell, spoken.tell]
        call_log.named = chats.live.named
        call_log.filed = recorded_calls.add
        call_log.stored = partial(_stored, spoken, chats, sites)
        news.heard, news.missed = spoken.enrichment.forget, spoken.enrichment.forget_all

        fastagi = await enter(_fastagi(config, caller_id, metrics))
        watches = {number: site.watch for number, site in sites.items()}
        parts = _parts(store, fastagi, watches)
        seen = overview(
            config,
            metrics=metrics,
            watches=watches,
            fastagi=fastagi,
            parts=parts,
            spool=lambda: call_log.state.spool,
            started_at=time.time(),
        )
        routes = [
            *health_routes(parts, metrics.registry),
            *status_routes(seen),
            *spoken.routes(),
            *chats.routes(),
            *recorded_calls.routes(),
        ]
        address = await enter(serving(config.http.listen, routes))
        yield Daemon(
            config=config,
            metrics=metrics,
            store=store,
            embedded=embedded,
            customers=customers,
            news=news,
            call_log=call_log,
            caller_id=caller_id,
            chats=chats,
            crms=spoken,
            recorded_calls=recorded_calls,
            sites=sites,
            ownership=Ownership(store.database, {number: site.turn for number, site in sites.items()}),
            schema_ready=ready,
            fastagi=fastagi,
            parts=parts,
            http_port=address.port,
        )


def _layouts(enterprises: Iterable[Enterprise]) -> dict[str, tuple[Enterprise, Layout]]:
    return {each.number: (each, Layout(each)) for each in enterprises}


def _stored(crms: Crms, chats: Chats, sites: Sites, call: Call) -> None:
    crms.books.wake(call.enterprise_number)
    chats.call_backs.wake()
    sites.stored(call)


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
            "database": Part(up=store.available, needed_for="database", detail=store.problem),
            "fastagi": Part(up=True, needed_for="fastagi", detail=f"{fastagi.host}:{fastagi.port}"),
        }
        for number, watch in watches.items():
            state = watch.ami.state
            found[f"ami {number}"] = Part(
                up=state.connected_since is not None, needed_for="ami", detail=state.last_error or state.banner
            )
        return found

    return parts
