"""Waiting for a fact of another process that sends no event when it becomes true."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["until"]

PERIOD_S = 0.02


async def until(condition: Callable[[], Awaitable[bool]], *, within: float) -> None:
    """Ask until the answer is yes.

    Raises:
        TimeoutError: It was not, for that many seconds.
    """
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(PERIOD_S)
