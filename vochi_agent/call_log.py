"""From call updates to the ledger: asks who calls, stores each finished call once, and keeps its cards true.

`tell` is called by the thread of AMI events and never waits; `run` stores, in order of the calls' end, those that end
together in one transaction; while PostgreSQL is away finished calls wait in the backlog. A card that cannot be rendered
costs no call.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from vochi_agent.backlog import Backlog, BacklogState
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallProgress, CallUpdate, Direction, Phase
from vochi_agent.customers.model import Profile
from vochi_agent.errors import StoreUnavailable
from vochi_agent.log import about_call
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CallStore, CustomerDirectory, LedgerEntry, Renderer, Spool

__all__ = ["CallLog", "Ledger", "Lookups"]

log = logging.getLogger(__name__)

# How many of the last calls may still get the name of a customer whose CRM answered late.
RECENT_CALLS: Final = 1000


class Ledger(CallStore, Protocol):
    """Where finished calls are kept."""

    async def merge(self, enterprise_number: str, linkedid: str, into: str) -> bool:
        """A stored call turned out to be part of another. Raises StoreUnavailable."""
        ...

    async def refresh_cards(self, enterprise_number: str, linkedid: str, render: Renderer) -> int:
        """Render a stored call's cards again; returns how many changed. Raises StoreUnavailable."""
        ...


class Lookups(Protocol):
    """Starts asking the CRMs who a number is."""

    def prefetch(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> None:
        """Returns at once; the answer comes to `CallLog.learned`."""
        ...


class CallLog:
    """The sink of every PBX's call updates.

    Attributes:
        lookups: Who asks the CRMs; None asks nobody.
        stored: Told every call that was stored.
        filed: Told every call that was stored, live or recovered.
        listeners: Told every update, live ones included; they never wait.
        named: Told whose name is news: enterprise, number.
    """

    def __init__(
        self,
        ledger: Ledger,
        directory: CustomerDirectory,
        spool: Spool,
        *,
        renderer: Callable[[str], Renderer],
        cards_changed: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """`renderer`: of an enterprise's cards, by its number; `cards_changed` wakes whoever sends them."""
        self.lookups: Lookups | None = None
        self.stored: Callable[[Call], None] = lambda _: None
        self.filed: Callable[[Call], None] = lambda _: None
        self.listeners: list[Callable[[CallUpdate], None]] = []
        self.named: Callable[[str, str], None] = lambda *_: None
        self._ledger = ledger
        self._directory = directory
        self._renderer = renderer
        self._cards_changed = cards_changed
        self._metrics = metrics
        self._backlog = Backlog(self._store, spool, metrics=metrics)
        self._recent: OrderedDict[tuple[str, str], list[str]] = OrderedDict()
        # Cut off at their commit: they may be in the ledger when they come there again, and be counted nowhere.
        self._doubtful: set[tuple[str, str]] = set()

    @property
    def state(self) -> BacklogState:
        """What waits to be stored, where, and what was lost."""
        return self._backlog.state

    def tell(self, update: CallUpdate) -> None:
        """Take an update; nothing here waits, whatever is down."""
        with about_call(_linkedid(update)):
            self._take(update)

    def _take(self, update: CallUpdate) -> None:
        for listener in self.listeners:
            listener(update)
        if isinstance(update, CallProgress):
            if update.phase in (Phase.START, Phase.DIAL):
                self._ask(update.enterprise_number, update.phone, update.linkedid)
            return
        if isinstance(update, CallFinished) and update.call.direction is not Direction.INTERNAL:
            # Without the linkedid: the end of a call asks anew, what the start learned may be hours old.
            self._ask(update.call.enterprise_number, update.call.phone, "")
        self._backlog.put(update)

    def store_ready(self) -> None:
        """The database has our schema: storing may begin. Until then finished calls wait on disk."""
        self._backlog.store_ready()

    async def run(self) -> None:
        """Store what was told, for ever; when cancelled, what is not stored goes to the disk."""
        await self._backlog.run()

    async def drained(self) -> None:
        """Return when everything told so far is stored or on disk."""
        await self._backlog.settled()

    def recovered(self, call: Call) -> None:
        """A call was stored by another way; its card may still get a late name."""
        self._remember(call)
        self.filed(call)
        self._cards_changed()

    async def learned(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> None:
        """A CRM said who a number is: keep it, and put the name on cards that were made without it.

        Raises:
            StoreUnavailable: try again later.
        """
        if await self._directory.enrich(enterprise_number, phone, profile, primary=primary) is None:
            return  # he was erased, and has not called since
        self.named(enterprise_number, phone)
        changed = 0
        for linkedid in self._recent.get((enterprise_number, phone), ()):
            changed += await self._ledger.refresh_cards(enterprise_number, linkedid, self._renderer(enterprise_number))
        if changed:
            self._cards_changed()

    def _ask(self, enterprise_number: str, phone: str | None, linkedid: str) -> None:
        if phone and self.lookups:
            self.lookups.prefetch(enterprise_number, phone, linkedid=linkedid)

    async def _store(self, entries: Sequence[LedgerEntry]) -> int:
        """Store the first of these entries; returns how many."""
        with about_call(_linkedid(entries[0])):
            if isinstance(entries[0], CallMerged):
                await self._ledger.merge(entries[0].enterprise_number, entries[0].linkedid, entries[0].into)
                stored = 1
            else:
                stored = await self._record(_finished(entries))
        self._cards_changed()
        return stored

    async def _record(self, calls: Sequence[Call]) -> int:
        try:
            with self._metrics.store_seconds.time():
                recorded = await self._ledger.record_some(calls, self._renderer(calls[0].enterprise_number))
        except (StoreUnavailable, asyncio.CancelledError):
            self._doubtful.update(map(_key, calls))
            raise
        for call, done in zip(calls, recorded, strict=False):
            if done.inserted or _key(call) in self._doubtful:
                verdict = (call.direction.value, call.status.value, call.reason.value)
                self._metrics.calls.labels(call.enterprise_number, *verdict).inc()
            with about_call(call.linkedid):
                self._remember(call)
                self.filed(call)
                self.stored(call)
            self._doubtful.discard(_key(call))
        return len(recorded)

    def _remember(self, call: Call) -> None:
        if call.phone:
            key = (call.enterprise_number, call.phone)
            self._recent[key] = [*self._recent.pop(key, [])[-4:], call.linkedid]
            if len(self._recent) > RECENT_CALLS:
                self._recent.popitem(last=False)


def _finished(entries: Sequence[LedgerEntry]) -> list[Call]:
    """The calls that one renderer is for, as far as they follow one another."""
    calls: list[Call] = []
    for entry in entries:
        if not isinstance(entry, CallFinished):
            break
        if calls and entry.call.enterprise_number != calls[0].enterprise_number:
            break
        calls.append(entry.call)
    return calls


def _key(call: Call) -> tuple[str, str]:
    return call.enterprise_number, call.linkedid


def _linkedid(update: CallUpdate) -> str:
    return update.call.linkedid if isinstance(update, CallFinished) else update.linkedid
