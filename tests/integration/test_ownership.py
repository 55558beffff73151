"""Two daemons on one database: exactly one owns an enterprise, and the other takes over when it is gone."""

import asyncio
import contextlib

import asyncpg

from vochi_agent.store.database import Database
from vochi_agent.store.ownership import Ownership
from vochi_agent.supervisor import keep_running

TAKE_OVER_S = 5.0


class Claim:
    """One daemon's ownership of 0901 on a database connection of its own."""

    def __init__(self, database):
        self.changed = asyncio.Condition()
        self.told = []
        self.ownership = Ownership(database, {"0901": self.told.append})
        self.task = None

    async def __aenter__(self):
        self.task = asyncio.get_running_loop().create_task(keep_running("ownership", self.ownership.run))
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def until(self, *, held, within=TAKE_OVER_S):
        """Wait until the lock is ours, or another's."""
        async with asyncio.timeout(within):
            while self.ownership.held.get("0901") is not held:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def claims(database, told):
    """Claims on several enterprises; `told`: by number, where what each is told is written."""
    ownership = Ownership(database, {number: each.append for number, each in told.items()})
    task = asyncio.get_running_loop().create_task(keep_running("ownership", ownership.run))
    try:
        yield ownership
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true):
    while not true():
        await asyncio.sleep(0.02)


async def test_one_of_two_owns_and_the_other_takes_over(dsn):
    """The standby waits while the owner lives, and has the lock soon after it ended."""
    async with Database(dsn) as database, Claim(database) as standby_later:
        await standby_later.until(held=True)
        async with Claim(database) as second:
            await asyncio.sleep(1.5)
            assert not second.ownership.held["0901"]
            await standby_later.__aexit__()

            await second.until(held=True)

        assert second.told == [False, True]


async def test_an_owner_that_falls_silent_loses_the_lock(dsn):
    """As a frozen process does: its connection stays open, nothing is said on it."""
    async with Database(dsn) as database, database.dedicated(idle_timeout_s=1.0) as frozen:
        row = await frozen.fetchrow("take_ownership", ["0901"])
        assert row["taken"]
        async with Claim(database) as standby:
            await standby.until(held=True)


async def test_enterprises_are_owned_one_by_one(dsn):
    """One daemon may own one enterprise and stand by for another."""
    told = {"0901": [], "0902": []}
    async with Database(dsn) as database, contextlib.AsyncExitStack() as other:
        session = await other.enter_async_context(database.dedicated(idle_timeout_s=60))
        assert (await session.fetchrow("take_ownership", ["0902"]))["taken"]
        async with asyncio.timeout(TAKE_OVER_S), claims(database, told) as ownership:
            await until(lambda: len(ownership.held) == 2)
            assert ownership.held == {"0901": True, "0902": False}

            await other.aclose()
            await until(lambda: ownership.held["0902"])

    assert told == {"0901": [True], "0902": [False, True]}


async def test_a_hundred_enterprises_need_one_connection(dsn):
    """PostgreSQL has a hundred connections as it comes."""
    told = {f"{number:04}": [] for number in range(100)}
    async with Database(dsn) as database, claims(database, told) as ownership, asyncio.timeout(TAKE_OVER_S):
        await until(lambda: len(ownership.held) == 100)
        connection = await asyncpg.connect(dsn)
        locks = await connection.fetch("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        await connection.close()

    assert all(each == [True] for each in told.values())
    assert len(locks) == 100
    assert len({row["pid"] for row in locks}) == 1
