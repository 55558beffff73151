"""Missed calls: who takes one upon himself, and cards that say what became of it.

The ledger notes that a customer was reached in the transaction that stores the call; what his earlier cards say about
it follows here, behind the calls' backs. Invariant: a card that does not say how its call stands is found again after
whatever crash, for the table knows of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.desk_ports import Operator, PressedCard
from vochi_agent.errors import StoreRefused, StoreUnavailable

__all__ = ["CallBackStore", "CallBacks"]

log = logging.getLogger(__name__)

# What another daemon or an earlier life left: nobody wakes us for that.
LOOK_AGAIN_S: Final = 5.0


class CallBackStore(Protocol):
    """The table of missed calls. Every method raises StoreUnavailable."""

    async def take(self, card: PressedCard, operator: Operator) -> tuple[bool, CallBack | None]:
        """Of several who press at once exactly one gets it; also how it stands now."""
        ...

    async def stale(self, enterprises: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Enterprise and linkedid of missed calls whose cards do not say how they stand."""
        ...


class CallBacks:
    """The missed calls of all enterprises.

    Args:
        refresh: Writes the cards of a call anew, by enterprise and linkedid. Raises StoreUnavailable.
        ours: The enterprises whose cards this daemon writes now.
        cards_changed: Wakes whoever sends cards.
    """

    def __init__(
        self,
        store: CallBackStore,
        *,
        refresh: Callable[[str, str], Awaitable[int]],
        ours: Callable[[], Sequence[str]],
        cards_changed: Callable[[], None],
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._ours = ours
        self._cards_changed = cards_changed
        self._look_again_s = look_again_s
        self._changed = asyncio.Event()
        self._seen: Sequence[tuple[str, str]] = ()

    def wake(self) -> None:
        """A call was stored: it may have reached somebody who waited."""
        self._changed.set()

    async def take(self, card: PressedCard, operator: Operator) -> tuple[bool, CallBack | None]:
        """See `desk_ports.CallBackDesk.take`."""
        taken, call_back = await self._store.take(card, operator)
        if taken:
            self.wake()
        return taken, call_back

    async def run(self) -> None:
        """Keep the cards true, for ever."""
        while True:
            self._changed.clear()
            try:
                done = await self._look()
            except StoreUnavailable:
                done = 0
            if done:
                self._cards_changed()
                continue
            try:
                async with asyncio.timeout(self._look_again_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _look(self) -> int:
        """Write the cards that are behind; returns how many calls that were, 0 when looking again at once is idle."""
        ours = self._ours()
        found = await self._store.stale(ours) if ours else ()
        for enterprise_number, linkedid in found:
            try:
                await self._refresh(enterprise_number, linkedid)
            except StoreRefused:
                log.exception("The cards of a missed call cannot be written", extra={"action": "card_bug"})
        before, self._seen = self._seen, found
        return len(found) if found != before else 0
