"""How late the event loop is: whatever holds it up holds up every call, and nothing else would show it."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

__all__ = ["watch_stalls"]

# A stall of this length is met by one look at least.
PERIOD_S: Final = 0.25


async def watch_stalls(observe: Callable[[float], None]) -> None:
    """Tell for ever, with every look, by how many seconds a timer woke late."""
    while True:
        # Not the loop's own clock: uvloop's stands still between two rounds, so in a stall.
        due = time.monotonic() + PERIOD_S
        await asyncio.sleep(PERIOD_S)
        observe(max(0.0, time.monotonic() - due))
