"""The CRMs of all enterprises, composed: who is asked, what they are told, what they tell by themselves."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from vochi_agent.call_books import CallBooks
from vochi_agent.call_screens import CallScreens, Customers
from vochi_agent.calls.model import Call, CallUpdate
from vochi_agent.change_ports import ClickRegistry
from vochi_agent.changes import Changes
from vochi_agent.clicks import Clicks, Placing
from vochi_agent.config import CrmConfig, Enterprise
from vochi_agent.crm import CRMS, CrmFactory, Limiters, State, Surroundings, books_of, clicks_of, feed_of, webhook_of
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment, OnProfile
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CallScreen
from vochi_agent.registered_calls import RegisteredCalls
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.web.webhooks import Receiver, webhook_routes

__all__ = ["Crms", "clicks_in_chats", "crms_of"]

BREAKER_LEVEL: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
# Of the requests that a CRM allows, changes may take this share: callers' names have the rest.
CHANGES_SHARE: Final = 0.25

log = logging.getLogger(__name__)


class Crms:
    """All CRMs at work.

    Attributes:
        enrichment: Asks them who calls.
        books: Tells their lists of finished calls.
        screens: Shows what goes on to those who sit before them.
        clicks: On phone numbers in each of them.
        changes: What each of them tells by itself.
    """

    def __init__(
        self,
        enterprises: Sequence[Enterprise],
        asked: Mapping[str, Sequence[CrmOfEnterprise]],
        store: PostgresStore,
        customers: Customers,
        *,
        on_profile: OnProfile,
        recording_link: Callable[[str, str], str],
        place: Callable[[str], Placing],
        ours: Callable[[str], bool],
        ready: asyncio.Event,
        metrics: Metrics,
    ) -> None:
        """Ask nobody yet.

        Args:
            asked: The CRMs of each enterprise, by its number.
            customers: Whom a screen shows.
            on_profile: Keeps who somebody is.
            recording_link: Where a recording is heard, by enterprise and linkedid.
            place: What places the calls of an enterprise.
            ours: Whether this daemon writes an enterprise's calls.
            ready: Set when the database has our schema.
        """
        self._enterprises = {each.number: each for each in enterprises}
        self._asked = asked
        self._place = place
        self._ours = ours
        self._metrics = metrics
        self._recording_link = recording_link
        self.enrichment = Enrichment(
            asked, on_profile=on_profile, let_go=store.customers.let_go, metrics=metrics, clock=time.monotonic
        )
        self.books = CallBooks(
            [
                (enterprise.number, book)
                for enterprise, crm, table in self._each()
                for book in books_of(crm.source, table, clock=time.monotonic)
            ],
            store.outbox,
            ours=ours,
            recording_url=self._recording_url,
            metrics=metrics,
        )
        self.screens = CallScreens(
            self._screens(), customers, store.outbox.note_remote_id, metrics=metrics, clock=time.monotonic
        )
        self.clicks = [self._clicks_in(*each) for each in self._each()]
        take = {(each.enterprise_number, each.source): each.take for each in self.clicks}
        self.changes = [
            Changes(
                enterprise.number,
                crm.source,
                feed_of(crm.source, table),
                store.changes,
                primary=crm.primary,
                on_profile=on_profile,
                forget=self.enrichment.forget,
                click=take[enterprise.number, crm.source.name],
                asks_per_s=table.rps * CHANGES_SHARE,
                ours=partial(ours, enterprise.number),
                ready=ready,
                clock=lambda: datetime.fromtimestamp(time.time(), UTC),
                metrics=metrics,
            )
            for enterprise, crm, table in self._each()
        ]

    def tell(self, update: CallUpdate) -> None:
        """Take an update of a call; never waits."""
        self.screens.tell(update)
        for each in self.clicks:
            each.tell(update)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Where webhooks come in: only for CRMs that have a secret and whose messages we read."""
        receivers = {}
        for clicks, changes in zip(self.clicks, self.changes, strict=True):
            enterprise = self._enterprises[changes.enterprise_number]
            table = enterprise.crm[changes.source]
            secret, read = table.webhook_secret.get_secret_value(), webhook_of(table, country=enterprise.country)
            read_click = clicks_of(table)
            if secret and (read or read_click):
                receivers[enterprise.number, changes.source] = Receiver(
                    secret=secret, read=read, take=changes.take, read_click=read_click, click=clicks.take
                )
        return webhook_routes(receivers, self._metrics)

    def _each(self) -> Iterator[tuple[Enterprise, CrmOfEnterprise, CrmConfig]]:
        for number, enterprise in self._enterprises.items():
            for crm in self._asked[number]:
                yield enterprise, crm, enterprise.crm[crm.source.name]

    def _screens(self) -> Mapping[str, Sequence[CallScreen]]:
        """The CRMs that show live calls and are to do so."""
        shown: dict[str, list[CallScreen]] = {number: [] for number in self._enterprises}
        for enterprise, crm, table in self._each():
            if isinstance(crm.source, CallScreen) and table.popups:
                shown[enterprise.number].append(crm.source)
        return shown

    def _clicks_in(self, enterprise: Enterprise, crm: CrmOfEnterprise, table: CrmConfig) -> Clicks:
        registered = None
        if isinstance(crm.source, ClickRegistry):
            ours = partial(self._ours, enterprise.number)
            registered = RegisteredCalls(enterprise.number, crm.source, note=self.screens.expect, ours=ours)
        return Clicks(
            enterprise.number,
            crm.source.name,
            agents=table.agents,
            country=enterprise.country,
            prefixes=enterprise.click_prefixes,
            place=self._place(enterprise.number),
            registered=registered,
            clock=time.monotonic,
            metrics=self._metrics,
        )

    def _recording_url(self, call: Call) -> str:
        return self._recording_link(call.enterprise_number, call.linkedid) if call.recording else ""


def crms_of(
    enterprise: Enterprise,
    session: aiohttp.ClientSession,
    metrics: Metrics,
    crms: Mapping[str, CrmFactory] = CRMS,
    *,
    state_dir: Path,
    limiters: Limiters | None = None,
) -> list[CrmOfEnterprise]:
    """The CRMs of an enterprise that we speak with; nothing is connected yet.

    Args:
        limiters: Those of the other enterprises, see `Surroundings`.
    """
    found = []
    for name, table in enterprise.crm.items():
        factory = crms.get(name)
        if factory is None:
            log.warning("%s of %s is configured but not spoken yet", name, enterprise.number, extra={"action": "crm"})
            continue
        _show_breaker(metrics, enterprise.number, name, State.CLOSED)
        around = Surroundings(
            enterprise_number=enterprise.number,
            country=enterprise.country,
            session=session,
            clock=time.monotonic,
            on_state=partial(_show_breaker, metrics, enterprise.number, name),
            state_dir=state_dir,
            limiters={} if limiters is None else limiters,
        )
        source = factory(table, around)
        found.append(CrmOfEnterprise(source=source, primary=name == enterprise.primary_source, wait_s=table.timeout_s))
    return found


def clicks_in_chats(
    enterprises: Sequence[Enterprise], place: Callable[[str], Placing], *, metrics: Metrics
) -> dict[str, Clicks]:
    """What takes presses of «Перезвонить», for each enterprise whose PBX can be asked to call."""
    return {
        each.number: Clicks(
            each.number,
            "telegram",
            agents={},
            country=each.country,
            prefixes=each.click_prefixes,
            place=place(each.number),
            clock=time.monotonic,
            metrics=metrics,
        )
        for each in enterprises
        if each.asterisk.ari
    }


def _show_breaker(metrics: Metrics, enterprise_number: str, crm: str, state: State) -> None:
    metrics.crm_breaker.labels(enterprise_number, crm).set(BREAKER_LEVEL[state])
