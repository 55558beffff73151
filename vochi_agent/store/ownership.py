"""Which of several daemons writes an enterprise's calls: whoever holds its session advisory lock.

The locks live as long as the connection that took them, one for all enterprises of a daemon. The server ends that
connection itself when its owner has been mute for `MUTE_S` (idle_session_timeout), so a daemon that is frozen by
SIGSTOP loses its locks like one that is dead.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from .database import Database, Session

__all__ = ["Ownership"]

# Together below the 5 s in which a standby has to take over.
BEAT_S: Final = 1.0
MUTE_S: Final = 3.0


class Ownership:
    """One daemon's claims on its enterprises.

    Attributes:
        held: By enterprise number: we are the owner, as far as we can know. One is not in it until the database was
            asked.
    """

    def __init__(self, database: Database, claims: Mapping[str, Callable[[bool], None]]) -> None:
        """`claims`: by enterprise number, who is told whenever the lock is taken or lost."""
        self.held: dict[str, bool] = {}
        self._database = database
        self._claims = claims

    async def run(self, up: Callable[[], None]) -> None:
        """Take each lock as soon as it is free and keep it.

        While the database is away nobody can take a lock from us, so an owner stays one until he is told otherwise.

        Raises:
            StoreUnavailable: the connection is gone; call again.
        """
        async with self._database.dedicated(idle_timeout_s=MUTE_S) as session:
            up()
            wanted = set(self._claims)
            while True:
                # Also with nothing left to take: the statement is what keeps the connection alive.
                taken = await self._take(session, wanted)
                for number in sorted(wanted):
                    self._become(number, held=number in taken)
                wanted -= taken
                await asyncio.sleep(BEAT_S)

    async def _take(self, session: Session, wanted: set[str]) -> set[str]:
        rows = await session.fetch("take_ownership", sorted(wanted))
        return {row["number"] for row in rows if row["taken"]}

    def _become(self, number: str, *, held: bool) -> None:
        if held is not self.held.get(number):
            self.held[number] = held
            self._claims[number](held)
