"""The store while PostgreSQL is away, silent or restarting: says so in time, comes back by itself."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.calls import answered
from tests.support.tcp_gate import TcpGate
from vochi_agent.errors import ConfigError, StoreUnavailable, VochiError
from vochi_agent.ports import Recorded
from vochi_agent.store.database import Database
from vochi_agent.store.ledger import CallLedger
from vochi_agent.store.postgres import PostgresStore

DEADLINE_S = 0.4


@pytest.fixture
async def database(gate: TcpGate, dsn: str) -> AsyncIterator[Database]:
    """A pool behind the gate."""
    behind = urlsplit(dsn)
    address = behind._replace(netloc=f"{behind.username}:{behind.password}@127.0.0.1:{gate.port}").geturl()
    async with Database(address, pool_size=2, deadline_s=DEADLINE_S) as database:
        yield database


async def test_a_pool_opens_while_the_server_is_down_and_works_when_it_is_up(gate: TcpGate, database: Database) -> None:
    await gate.close()
    with pytest.raises(StoreUnavailable):
        await database.execute("ping")
    await gate.open()

    await database.execute("ping")


async def test_a_cut_connection_is_replaced(gate: TcpGate, database: Database) -> None:
    await database.execute("ping")
    await gate.close()
    with pytest.raises(StoreUnavailable):
        await database.execute("ping")
    await gate.open()

    await database.execute("ping")


async def test_a_silent_server_is_left_at_the_deadline_and_used_again_later(gate: TcpGate, database: Database) -> None:
    ledger = CallLedger(database)
    await database.execute("ping")
    gate.freeze()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(4):  # more than the pool holds: none of its connections stays lost
        with pytest.raises(StoreUnavailable):
            await ledger.record(answered(), lambda *_, **__: ())
    assert loop.time() - began < 4 * (DEADLINE_S + 0.3)
    gate.thaw()

    recorded = await ledger.record(answered(), lambda *_, **__: ())
    assert recorded in (Recorded(inserted=True, changed=True), Recorded(inserted=False, changed=False))


async def end_all_sessions(dsn: str) -> None:
    """As an administrator or a shutdown does; the farewells have arrived when this returns."""
    administrator = await asyncpg.connect(dsn)
    await administrator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await administrator.close()
    await asyncio.sleep(0.1)  # the driver reads without telling anybody


async def test_a_farewell_without_the_end_of_the_connection_is_an_outage(
    gate: TcpGate, database: Database, dsn: str
) -> None:
    """`terminating connection` was read and the FIN is late: the driver takes no statement, and says so oddly."""
    gate.hold_ends()
    await database.execute("ping")
    await end_all_sessions(dsn)
    with pytest.raises(StoreUnavailable):
        await database.execute("ping")
    await database.execute("ping")

    with pytest.raises(StoreUnavailable):  # noqa: PT012 - it comes out of the whole session
        async with database.dedicated(idle_timeout_s=60) as session:
            await end_all_sessions(dsn)
            await session.execute("ping")


async def test_a_full_pool_says_so_at_the_deadline(database: Database) -> None:
    async with database.transaction(deadline_s=10), database.transaction(deadline_s=10):
        with pytest.raises(StoreUnavailable):
            await database.execute("ping")

    await database.execute("ping")


async def test_a_wrong_password_and_a_missing_database_are_waited_for(dsn: str) -> None:
    parts = urlsplit(dsn)
    for wrong in (
        parts._replace(netloc=f"vochi:wrong@127.0.0.1:{parts.port}").geturl(),
        parts._replace(path="/nowhere").geturl(),
    ):
        async with PostgresStore(wrong) as store:
            with pytest.raises(StoreUnavailable):
                await store.ping()


async def test_a_url_that_is_none_is_a_configuration_mistake() -> None:
    async with PostgresStore("http://127.0.0.1/vochi") as store:
        with pytest.raises(ConfigError, match=r"database\.url"):
            await store.ping()


async def test_a_transaction_whose_session_is_ended_is_unavailable_and_the_next_one_works(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        async with database.transaction() as session:
            await session.run_script("SELECT pg_terminate_backend(pg_backend_pid())")

    await database.execute("ping")


async def test_a_statement_that_cannot_be_run_is_a_bug_and_no_outage(database: Database) -> None:
    with pytest.raises(VochiError, match="syntax error") as refused:
        async with database.transaction() as session:
            await session.run_script("SELECT FROM WHERE")
    with pytest.raises(VochiError, match="cannot hold") as unfit:
        await database.fetch("customer", "0901", 5)

    assert not isinstance(refused.value, StoreUnavailable)
    assert not isinstance(unfit.value, StoreUnavailable)
