"""Databases for the tests, each on Debian's PostgreSQL 15 and on the embedded 18; and what many files share besides."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.company import Site, company
from tests.support.postgres import PostgresServer, in_memory
from tests.support.required import require
from tests.support.tcp_gate import TcpGate
from vochi_agent.store.installations import find_installation
from vochi_agent.store.postgres import PostgresStore


def _programs(version: str) -> Path:
    if version == "18":
        return find_installation().path / "bin"
    return require("postgresql15").bin


@pytest.fixture(scope="session", params=["18", "15"], ids=["postgresql18", "postgresql15"])
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running server with the template database, for the whole session."""
    with in_memory() as folder, PostgresServer(_programs(request.param), folder) as server:
        asyncio.run(server.make_template())
        yield server


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    """The store on a migrated database of the test's own."""
    async with PostgresStore(dsn, pool_size=4) as store:
        yield store


@pytest.fixture
async def site(tmp_path: Path, dsn: str, store: PostgresStore) -> AsyncIterator[Site]:
    """A company for the commands, with its servers on loopback and a database of the test's own."""
    async with company(tmp_path, dsn, store) as site:
        yield site


@pytest.fixture
async def gate(dsn: str) -> AsyncIterator[TcpGate]:
    """The way to that database, which can be closed."""
    port = urlsplit(dsn).port
    assert port is not None
    async with TcpGate(port) as gate:
        yield gate


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """As the daemon has it for its CRMs."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
