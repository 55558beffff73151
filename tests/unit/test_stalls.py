"""What holds up the event loop is seen."""

import asyncio
import time

from vochi_agent.stalls import PERIOD_S, watch_stalls

STALL_S = 0.3


async def test_a_stall_is_told_with_its_length() -> None:
    """However it lies between two looks, one timer was due before it ended."""
    seen: list[float] = []
    watching = asyncio.create_task(watch_stalls(seen.append))
    while not seen:
        await asyncio.sleep(0.01)
    before = len(seen)

    time.sleep(PERIOD_S + STALL_S)  # noqa: ASYNC251 - that is the point
    while len(seen) == before:
        await asyncio.sleep(0.01)
    watching.cancel()

    assert seen[before] >= STALL_S * 0.9
    assert min(seen) >= 0
