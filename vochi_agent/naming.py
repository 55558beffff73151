"""Asks the CRMs who the customers of recovered calls are: afterwards, one after another, since nobody waits for it."""

import asyncio
from typing import Final, Protocol

from vochi_agent.calls.model import Call, Direction

__all__ = ["Lookups", "RecoveredNames"]

# CRMs count requests, and a live call's lookup must never stand behind these.
LOOKUP_PERIOD_S: Final = 0.5
# What does not fit is asked when the customer calls again.
MOST_LOOKUPS: Final = 5000


class Lookups(Protocol):
    """Starts asking the CRMs who a number is."""

    def prefetch(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> None:
        """Returns at once."""
        ...


class RecoveredNames:
    """The numbers of one enterprise that are still to be asked about, each once."""

    def __init__(self, enterprise_number: str, lookups: Lookups, *, period_s: float = LOOKUP_PERIOD_S) -> None:
        self._enterprise_number = enterprise_number
        self._lookups = lookups
        self._period_s = period_s
        self._phones: dict[str, None] = {}
        self._added = asyncio.Event()

    def add(self, call: Call) -> None:
        """A recovered call was stored. Returns at once."""
        if call.phone and call.direction is not Direction.INTERNAL and len(self._phones) < MOST_LOOKUPS:
            self._phones[call.phone] = None
            self._added.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self._added.wait()
            while self._phones:
                phone = next(iter(self._phones))
                del self._phones[phone]
                self._lookups.prefetch(self._enterprise_number, phone)
                await asyncio.sleep(self._period_s)
            self._added.clear()
