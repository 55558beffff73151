"""Shows live calls on the screens of the CRMs' users while the telephones ring.

A popup is worth nothing later: one that waited longer than a few seconds is dropped, none is repeated, none is kept
over a restart, and calls found afterwards never come here. Who sees what follows from the calls' phases: a phone that
begins to ring opens a card on its user's screen; it closes when he declines while others ring, when others ring or talk
instead of him, and at the end.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallProgress, CallUpdate, Direction, Phase
from vochi_agent.customers.model import Customer
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, StoreUnavailable
from vochi_agent.log import about_call
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CallScreen, Popup
from vochi_agent.supervisor import bulkhead

__all__ = ["CallScreens", "Customers", "NoteRemoteId"]

log = logging.getLogger(__name__)

FRESH_S: Final = 5.0
# Popups of one call go one after another, those of several calls beside each other.
LANES: Final = 4
LANE_LENGTH: Final = 100
# Calls whose end we never hear of (a PBX that fell over) must not be remembered for ever.
MAX_LIVE: Final = 10_000


class Customers(Protocol):
    """Who calls, as the local table knows it."""

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        ...


class NoteRemoteId(Protocol):
    """Keeps the id that a CRM gave a live call, for the record that is written when it is over."""

    def __call__(self, enterprise_number: str, crm: str, linkedid: str, remote_id: str) -> Awaitable[None]:
        """Raises StoreUnavailable."""
        ...


@dataclass(slots=True)
class _Live:
    """What was told of a call that goes on."""

    progress: CallProgress
    told: tuple[str, ...] = ()


class CallScreens:
    """All CRMs that show live calls.

    Args:
        screens: By enterprise number.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        screens: Mapping[str, Sequence[CallScreen]],
        customers: Customers,
        note_remote_id: NoteRemoteId,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._screens = {
            number: [
                _Screen(number, each, customers=customers, note_remote_id=note_remote_id, metrics=metrics, clock=clock)
                for each in of_enterprise
            ]
            for number, of_enterprise in screens.items()
        }
        self._note_remote_id = note_remote_id
        self._live: OrderedDict[tuple[str, str], _Live] = OrderedDict()

    def tell(self, update: CallUpdate) -> None:
        """Take an update; never waits."""
        if isinstance(update, CallProgress):
            if update.enterprise_number in self._screens and update.direction is not Direction.INTERNAL:
                self._progressed(update)
        elif isinstance(update, CallFinished):
            self._over(update.call.enterprise_number, update.call.linkedid, update.call)
        elif isinstance(update, CallMerged):
            self._over(update.enterprise_number, update.linkedid, None)

    async def expect(self, enterprise_number: str, crm: str, linkedid: str, remote_id: str) -> None:
        """A call is about to begin that a CRM has registered already, whether it shows live calls or not.

        Raises:
            StoreUnavailable: its record will be written under another id.
        """
        for screen in self._screens.get(enterprise_number, ()):
            if screen.name == crm:
                screen.expect(linkedid, remote_id)
        await self._note_remote_id(enterprise_number, crm, linkedid, remote_id)

    async def run(self) -> None:
        """Show for ever; a bug in one CRM's adapter delays no other."""
        async with asyncio.TaskGroup() as tasks:
            for of_enterprise in self._screens.values():
                for screen in of_enterprise:
                    tasks.create_task(bulkhead(screen.label, screen.run), name=screen.label)

    def _progressed(self, progress: CallProgress) -> None:
        key = (progress.enterprise_number, progress.linkedid)
        live = self._live.setdefault(key, _Live(progress))
        talk = progress.phase is Phase.BRIDGE
        now = progress.agents[-1:] if talk else progress.agents
        began = tuple(agent for agent in now if talk or agent not in live.told)
        ended = tuple(agent for agent in live.told if agent not in now)
        live.progress, live.told = progress, now
        self._pass_on(Popup(progress=progress, customer=None, began=began, ended=ended))
        if len(self._live) > MAX_LIVE:
            self._live.popitem(last=False)

    def _over(self, enterprise_number: str, linkedid: str, finished: Call | None) -> None:
        live = self._live.pop((enterprise_number, linkedid), None)
        if live is not None:
            progress = replace(live.progress, phase=Phase.HANGUP, agents=())
            self._pass_on(Popup(progress=progress, customer=None, ended=live.told, finished=finished))

    def _pass_on(self, popup: Popup) -> None:
        for screen in self._screens[popup.progress.enterprise_number]:
            screen.put(popup)


class _Screen:
    """One CRM of one enterprise."""

    def __init__(
        self,
        enterprise_number: str,
        screen: CallScreen,
        *,
        customers: Customers,
        note_remote_id: NoteRemoteId,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.name = screen.name
        self.label = f"the popups of {screen.name} of {enterprise_number}"
        self._enterprise_number = enterprise_number
        self._screen = screen
        self._customers = customers
        self._note_remote_id = note_remote_id
        self._results = partial(metrics.crm_popups.labels, enterprise_number, screen.name)
        self._clock = clock
        self._lanes = [deque[tuple[float, Popup]](maxlen=LANE_LENGTH) for _ in range(LANES)]
        self._woken = [asyncio.Event() for _ in range(LANES)]
        self._remote_ids: OrderedDict[str, str] = OrderedDict()

    def put(self, popup: Popup) -> None:
        lane = hash(popup.progress.linkedid) % LANES
        self._lanes[lane].append((self._clock(), popup))
        self._woken[lane].set()

    def expect(self, linkedid: str, remote_id: str) -> None:
        self._remote_ids[linkedid] = remote_id
        if len(self._remote_ids) > MAX_LIVE:
            self._remote_ids.popitem(last=False)

    async def run(self) -> None:
        """Show for ever."""
        async with asyncio.TaskGroup() as tasks:
            for lane, woken in zip(self._lanes, self._woken, strict=True):
                tasks.create_task(self._work(lane, woken), name=self.label)

    async def _work(self, lane: deque[tuple[float, Popup]], woken: asyncio.Event) -> None:
        while True:
            await woken.wait()
            woken.clear()
            while lane:
                told_at, popup = lane.popleft()
                # The end closes what stands on a screen, however late; it opens nothing.
                late = self._clock() - told_at > FRESH_S and popup.progress.phase is not Phase.HANGUP
                with about_call(popup.progress.linkedid):
                    self._results("stale" if late else await self._show(popup)).inc()

    async def _show(self, popup: Popup) -> str:
        linkedid = popup.progress.linkedid
        known = self._remote_ids.get(linkedid, "")
        try:
            remote_id = await self._screen.show(replace(popup, customer=await self._who(popup), remote_id=known))
        except (CrmUnavailable, CrmAuthFailed, CrmRejected) as failure:
            # The CRM's client warned already, once an outage; a popup is not worth a line of its own.
            log.debug("%s: %s", self.label, failure, extra={"action": "crm_popup"})
            return "failed"
        if popup.progress.phase is Phase.HANGUP:
            self._remote_ids.pop(linkedid, None)
        elif remote_id and remote_id != known:
            await self._remember(linkedid, remote_id)
        return "shown"

    async def _who(self, popup: Popup) -> Customer | None:
        if popup.progress.phone is None:
            return None
        try:
            return await self._customers.customer(self._enterprise_number, popup.progress.phone)
        except StoreUnavailable:
            return None

    async def _remember(self, linkedid: str, remote_id: str) -> None:
        self.expect(linkedid, remote_id)
        with contextlib.suppress(StoreUnavailable):
            await self._note_remote_id(self._enterprise_number, self._screen.name, linkedid, remote_id)
