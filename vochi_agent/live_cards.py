"""What chats should show of calls that go on: the newest state of each call, written behind the calls' backs.

A state costs a lookup of the customer and one statement for all chats, on one connection at a time. Invariants: nobody
waits for it; a database that is slow or away costs the states that came meanwhile, never a final; memory is bounded.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vochi_agent.calls.model import CallFinished, CallMerged, CallProgress, CallUpdate, Direction, Phase
from vochi_agent.customers.model import Customer
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import CustomerDirectory, LiveCardStore, LiveRenderer

__all__ = ["LiveCards"]

log = logging.getLogger(__name__)

# Most greetings are over before anybody could read that they play.
GREETING_S: Final = 3.0
PATIENCE_S: Final = 2.0
# A state that waited longer, for a database that was away, says nothing any more.
WORTH_S: Final = 60.0
MOST_CALLS: Final = 2000

Key = tuple[str, str]


@dataclass(slots=True)
class _Live:
    """A call that goes on.

    Attributes:
        placed_by: The extension that placed it, "" when it came from outside.
        told_at: When this state came, by the event loop's clock.
        due: When it is written; None: it is.
        shown: Some chat was to be told of it.
    """

    progress: CallProgress
    placed_by: str
    told_at: float
    due: float | None
    shown: bool = False


class LiveCards:
    """Takes the phases of calls without waiting and writes them one after another."""

    def __init__(
        self,
        store: LiveCardStore,
        customers: CustomerDirectory,
        *,
        renderers: Mapping[str, LiveRenderer],
        cards_changed: Callable[[], None],
    ) -> None:
        """`renderers` by enterprise number; `cards_changed` wakes whoever sends cards."""
        self._store = store
        self._customers = customers
        self._renderers = renderers
        self._cards_changed = cards_changed
        self._calls: OrderedDict[Key, _Live] = OrderedDict()
        self._told = asyncio.Event()

    def use(self, renderers: Mapping[str, LiveRenderer]) -> None:
        """Render by these from here on."""
        self._renderers = renderers

    def tell(self, update: CallUpdate) -> None:
        """What became of a call. Returns at once; an unwritten older state is forgotten."""
        match update:
            case CallProgress():
                self._go_on(update)
            case CallMerged():
                self._calls.pop((update.enterprise_number, update.linkedid), None)
            case CallFinished():
                self._calls.pop((update.call.enterprise_number, update.call.linkedid), None)

    def named(self, enterprise_number: str, phone: str) -> None:
        """It is known now who the number is: calls of it that go on are written again."""
        for (number, _), live in self._calls.items():
            if number == enterprise_number and live.progress.phone == phone and live.due is None:
                live.due = live.told_at = asyncio.get_running_loop().time()
                self._told.set()

    async def run(self) -> None:
        """Write for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            self._told.clear()
            due = min(((live.due, key) for key, live in self._calls.items() if live.due is not None), default=None)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due[0] - clock())):
                    await self._told.wait()
            except TimeoutError:
                if due is not None and due[1] in self._calls:
                    await self._write(due[1], self._calls[due[1]])

    def _go_on(self, progress: CallProgress) -> None:
        if progress.enterprise_number not in self._renderers:
            return
        key = (progress.enterprise_number, progress.linkedid)
        known = self._calls.get(key)
        placed_by = known.placed_by if known else ""
        if not placed_by and progress.phase is Phase.START and progress.direction is not Direction.IN:
            placed_by = next(iter(progress.agents), "")
        greeting = progress.phase is Phase.START and progress.direction is Direction.IN
        now = asyncio.get_running_loop().time()
        due = now + (GREETING_S if greeting else 0.0)
        self._calls[key] = _Live(progress, placed_by, now, due, shown=known.shown if known else False)
        if len(self._calls) > MOST_CALLS:
            self._calls.popitem(last=False)
        self._told.set()

    async def _write(self, key: Key, live: _Live) -> None:
        live.due = None
        if asyncio.get_running_loop().time() - live.told_at > WORTH_S:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._put(key, live)
        except (StoreUnavailable, TimeoutError):
            return  # the next state comes, or the final
        except Exception:
            log.exception("A live card cannot be written", extra={"action": "card_bug"})

    async def _put(self, key: Key, live: _Live) -> None:
        progress, render = live.progress, self._renderers.get(key[0])
        if render is None or not (drafts := render(progress, None, placed_by=live.placed_by)):
            return
        if not live.shown and not any(draft.wanted for draft in drafts):
            return  # no chat has to be told, and none was
        if progress.phone and (customer := await self._customer(key[0], progress.phone)):
            drafts = render(progress, customer, placed_by=live.placed_by)
        # The final may have been stored while the customer was looked up: the table lets no call go back.
        live.shown = True
        if await self._store.put_live(*key, progress.phase, drafts):
            self._cards_changed()

    async def _customer(self, enterprise_number: str, phone: str) -> Customer | None:
        try:
            return await self._customers.customer(enterprise_number, phone)
        except StoreUnavailable:
            return None
