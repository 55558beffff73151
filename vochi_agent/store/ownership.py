"""Which of several daemons writes an enterprise's calls: whoever holds its session advisory lock.

The lock lives as long as the connection that took it. The server ends that connection itself when its owner has been
mute for `MUTE_S` (idle_session_timeout), so a daemon that is frozen by SIGSTOP loses the lock like one that is dead.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from .database import Database, Session

__all__ = ["Ownership"]

# Together below the 5 s in which a standby has to take over.
BEAT_S: Final = 1.0
MUTE_S: Final = 3.0


class Ownership:
    """One daemon's claim on one enterprise.

    Attributes:
        held: We are the owner, as far as we can know; None until the database was asked.
    """

    def __init__(self, database: Database, enterprise_number: str, changed: Callable[[bool], None]) -> None:
        """`changed` is told whenever the lock is taken or lost."""
        self.held: bool | None = None
        self._database = database
        self._enterprise_number = enterprise_number
        self._changed = changed

    async def run(self, up: Callable[[], None]) -> None:
        """Take the lock as soon as it is free and keep it.

        While the database is away nobody can take the lock from us, so an owner stays one until he is told otherwise.

        Raises:
            StoreUnavailable: the connection is gone; call again.
        """
        async with self._database.dedicated(idle_timeout_s=MUTE_S) as session:
            up()
            while not await self._take(session):
                self._become(held=False)
                await asyncio.sleep(BEAT_S)
            self._become(held=True)
            while True:
                await asyncio.sleep(BEAT_S)
                await session.execute("ping")

    async def _take(self, session: Session) -> bool:
        row = await session.fetchrow("take_ownership", self._enterprise_number)
        return bool(row and row["taken"])

    def _become(self, *, held: bool) -> None:
        if held is not self.held:
            self.held = held
            self._changed(held)
