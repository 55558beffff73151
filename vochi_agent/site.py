"""One enterprise at work: its PBX under watch, whose turn it is to write, and the closing of its gaps."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import aiohttp

from vochi_agent.asterisk.ari import Ari, AriPeer
from vochi_agent.asterisk.phones import PbxPhones
from vochi_agent.asterisk.records import living_channels, open_records
from vochi_agent.asterisk.switchboard import AriDialler, PbxSwitchboard
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.call_log import CallLog
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.clicks import Placing
from vochi_agent.config import Enterprise
from vochi_agent.control import CallControl, ClickToCall
from vochi_agent.duty import Duty
from vochi_agent.enrichment import Enrichment
from vochi_agent.metrics import Metrics
from vochi_agent.naming import RecoveredNames
from vochi_agent.ports import CustomerDirectory, Renderer
from vochi_agent.recoverer import Recoverer
from vochi_agent.recovery import Recovery
from vochi_agent.retention import Kind, Retention
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.sweeping import Sweeper
from vochi_agent.watching import WatchKeeper

__all__ = ["Site", "Sites"]

log = logging.getLogger(__name__)


class Site:
    """Everything that belongs to one enterprise.

    Attributes:
        watch: Follows the PBX.
        phones: Says which of its telephones are free.
        click_to_call: Places calls, for the interfaces that people click in.
        control: Hangs up, hands over and listens, for the same.
        duty: Whether its calls are ours to write.
        keeper: Writes down what time was watched.
        recoverer: Finds what happened in the rest.
        sweeper: Takes back live cards that nothing else ends.
        retention: Lets go of what is too old.
    """

    def __init__(
        self,
        enterprise: Enterprise,
        layout: Layout,
        *,
        session: aiohttp.ClientSession,
        store: PostgresStore,
        customers: CustomerDirectory,
        call_log: CallLog,
        enrichment: Enrichment,
        metrics: Metrics,
        render: Renderer,
        announce: Callable[[Sequence[Call]], Awaitable[None]],
        cards_changed: Callable[[], None],
        terms: Mapping[Kind, timedelta],
        ready: asyncio.Event,
        filled: Callable[[], Awaitable[None]],
    ) -> None:
        """Connect nothing yet.

        Args:
            session: For the REST interface of its PBX.
            customers: Whom its people call.
            render: Its cards.
            announce: Tells chats of many recovered calls at once. Raises StoreUnavailable.
            cards_changed: Wakes whoever sends cards.
            terms: After what time rows leave.
            ready: Set when the database has our schema.
            filled: Told when no gap of this enterprise is left that can be closed.

        Raises:
            ConfigError: the records of its PBX need a driver that is not installed.
        """
        self.number = enterprise.number
        self._call_log = call_log
        self._announce = announce
        self.duty = Duty(call_log.tell, clock=time.monotonic)
        self._turn_is_ours = False  # known, while duty.ours is also the answer of one who could not ask yet
        peer = AriPeer.of(enterprise.asterisk)
        ari = Ari(peer, session) if peer else None
        self.watch = PbxWatch(
            layout,
            enterprise.asterisk,
            ari=ari,
            tell=self.duty.tell,
            connected=self._connected,
            interrupted=self._interrupted,
            metrics=metrics,
            clock=time.time,
        )
        self.phones = PbxPhones(self.watch)
        self.control = CallControl(self.watch.tracker, PbxSwitchboard(self.watch.ami, ari))
        self.click_to_call = ClickToCall(
            self._layout,
            AriDialler(ari),
            customers=customers,
            lookups=enrichment,
            primary_source=enterprise.primary_source,
            clock=time.time,
        )
        self.keeper = WatchKeeper(
            self.number,
            store.watched,
            ping=lambda: self.watch.ami.action("Ping"),
            pbx_time=self.watch.pbx_time,
            monotonic=time.monotonic,
            all_stored=lambda: call_log.state.waiting == 0,
            dropped=lambda: call_log.state.spool.dropped,
            recover=self._look_for_gaps,
            ready=ready,
        )
        self.sweeper = Sweeper(
            self.number,
            store.cards,
            alive=self._calls_that_go_on,
            taken_back=cards_changed,
        )
        self.retention = Retention(
            self.number,
            store.old_rows,
            terms=terms,
            may=lambda: self._turn_is_ours and call_log.state.waiting == 0,
            clock=lambda: datetime.fromtimestamp(time.time(), UTC),
            ready=ready,
            metrics=metrics,
        )
        self._names = RecoveredNames(self.number, enrichment)
        records = open_records(enterprise, self._layout)
        recovery = None
        if records is not None:
            recovery = Recovery(
                self._layout,
                records,
                store.calls,
                store.watched,
                render=render,
                clock=lambda: datetime.fromtimestamp(self.watch.pbx_time(), UTC),
                stored=self._recovered,
                announce=self._announced,
            )
        self.recoverer = Recoverer(
            self.number,
            recovery,
            store.watched,
            horizon=self.keeper.horizon,
            alive=lambda: living_channels(self.watch.ami),
            names=self._names,
            metrics=metrics,
            ready=ready,
            filled=filled,
        )

    def turn(self, held: bool) -> None:
        """The turn is ours from here on, or another daemon's: who does not write must not say what was written."""
        self._turn_is_ours = held
        self.duty.changed(held)
        if not held:
            self.keeper.interrupted()
        elif self.watch.connected:
            self.keeper.connected(self.watch.pbx_time())

    def _layout(self) -> Layout:
        return self.watch.tracker.layout

    def _look_for_gaps(self) -> None:
        self.recoverer.trigger()

    def _connected(self, at: float) -> None:
        if self.duty.ours:
            self.keeper.connected(at)

    def _interrupted(self) -> None:
        self.keeper.interrupted()

    def _recovered(self, call: Call) -> None:
        self._names.add(call)
        self._call_log.recovered(call)

    def _calls_that_go_on(self) -> Collection[str] | None:
        if not self.duty.ours or not self.watch.connected:
            return None
        return self.watch.tracker.live_linkedids

    async def _announced(self, calls: Sequence[Call]) -> None:
        log.warning(
            "%d calls of %s were recovered, too many for a card each; `vochi-agent calls` lists them",
            len(calls),
            self.number,
            extra={"action": "recovered_many"},
        )
        await self._announce(calls)


class Sites(dict[str, Site]):
    """By enterprise number. What serves all of them is made before they are and asks here when it needs one."""

    def ours(self, number: str) -> bool:
        """Whether this daemon writes the calls of an enterprise now."""
        return number in self and self[number].duty.ours

    def watch(self, number: str) -> PbxWatch | None:
        """What follows the PBX of an enterprise."""
        return self[number].watch if number in self else None

    def placing(self, number: str) -> Placing:
        """What places the calls of an enterprise."""

        def place(
            extension: str, phone: str, *, begins: Callable[[str], Awaitable[None]] | None = None
        ) -> Awaitable[str]:
            return self[number].click_to_call.call_out(extension, phone, begins=begins)

        return place

    def stored(self, call: Call) -> None:
        """A live call was stored."""
        # It may have waited on disk while its enterprise left the configuration.
        if site := self.get(call.enterprise_number):
            site.recoverer.live_call_stored(call)
