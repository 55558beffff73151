"""Puts the recording of a call on its row and its cards, as soon as the PBX has written it.

Invariant: nobody waits for a file; calls whose file is looked for are bounded, the oldest give way.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from vochi_agent.calls.model import Call
from vochi_agent.errors import StoreUnavailable

__all__ = ["LOOKS_S", "Recordings"]

# MixMonitor closes its file after the hangup, and a script of the dialplan may still convert it.
LOOKS_S: Final = (0.3, 1.0, 3.0, 10.0)
MOST_CALLS: Final = 1000


class Recordings:
    """The recordings of one PBX.

    Args:
        find: The file of a call, "" when there is none yet.
        keep: Notes it in the ledger and renders the cards again. Raises StoreUnavailable.
    """

    def __init__(
        self,
        find: Callable[[Call], Awaitable[str]],
        keep: Callable[[Call, str], Awaitable[None]],
        *,
        looks_s: tuple[float, ...] = LOOKS_S,
    ) -> None:
        self._find = find
        self._keep = keep
        self._looks_s = looks_s
        self._calls: deque[tuple[float, int, Call]] = deque(maxlen=MOST_CALLS)
        self._added = asyncio.Event()

    def add(self, call: Call) -> None:
        """A call was stored. Returns at once."""
        if not call.recording:
            self._calls.append((asyncio.get_running_loop().time() + self._looks_s[0], 0, call))
            self._added.set()

    async def run(self) -> None:
        """Look for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            self._added.clear()
            due = min(self._calls, key=lambda each: each[0], default=None)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due[0] - clock())):
                    await self._added.wait()
            except TimeoutError:
                if due is not None and due in self._calls:  # else it has just given way
                    self._calls.remove(due)
                    await self._look(due[2], due[1])

    async def _look(self, call: Call, looks: int) -> None:
        try:
            if file := await self._find(call):
                return await self._keep(call, file)
        except StoreUnavailable:
            pass  # later
        if looks + 1 < len(self._looks_s):
            at = asyncio.get_running_loop().time() + self._looks_s[looks + 1]
            self._calls.append((at, looks + 1, call))
        return None
