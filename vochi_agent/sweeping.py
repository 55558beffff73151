"""Takes back live cards whose calls nobody follows any more: the daemon was dead when they ended, and no record of the
PBX tells of them.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final, Protocol

from vochi_agent.errors import StoreUnavailable

__all__ = ["LiveCardTable", "Sweeper"]

PERIOD_S: Final = 60.0
# Recovery finds most of these calls sooner, and their cards become finals.
SILENT_FOR: Final = timedelta(minutes=2)


class LiveCardTable(Protocol):
    """Where live cards are."""

    async def take_back_abandoned(
        self, enterprise_number: str, alive: Collection[str], *, silent_for: timedelta
    ) -> int:
        """Take back those that are not alive. Raises StoreUnavailable."""
        ...


class Sweeper:
    """The live cards of one enterprise.

    Args:
        alive: Linkedids of the calls that go on; None while that is not known, or not ours to say.
        taken_back: Told when cards were.
    """

    def __init__(
        self,
        enterprise_number: str,
        table: LiveCardTable,
        *,
        alive: Callable[[], Collection[str] | None],
        taken_back: Callable[[], None],
        period_s: float = PERIOD_S,
        silent_for: timedelta = SILENT_FOR,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._table = table
        self._alive = alive
        self._taken_back = taken_back
        self._period_s = period_s
        self._silent_for = silent_for

    async def run(self) -> None:
        """Look for ever. A PBX that has just been reached has not told yet what goes on there."""
        before = None
        while True:
            alive = self._alive()
            if alive is not None and before is not None:
                await self._sweep(alive)
            before = alive
            await asyncio.sleep(self._period_s)

    async def _sweep(self, alive: Collection[str]) -> None:
        try:
            taken = await self._table.take_back_abandoned(self._enterprise_number, alive, silent_for=self._silent_for)
        except StoreUnavailable:
            return  # the next time
        if taken:
            self._taken_back()
