"""The real programs; see `tests.support.required` for what becomes of a test whose program cannot be had."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.asterisk import Asterisk
from tests.support.fetch import Tool
from tests.support.pack import Company, company_at
from tests.support.postgres import PostgresServer, in_memory
from tests.support.required import require
from tests.support.sipp import Sipp
from vochi_agent.store.installations import find_installation


@pytest.fixture(scope="session")
def asterisk22_tool() -> Tool:
    return require("asterisk22")


@pytest.fixture(scope="session")
def asterisk16_tool() -> Tool:
    return require("asterisk16")


@pytest.fixture(scope="session")
def sipp_tool() -> Tool:
    return require("sipp")


@pytest.fixture
async def asterisk(asterisk22_tool: Tool) -> AsyncIterator[Asterisk]:
    """A running Asterisk 22."""
    async with Asterisk(asterisk22_tool) as instance:
        yield instance


@pytest.fixture
async def asterisk16(asterisk16_tool: Tool) -> AsyncIterator[Asterisk]:
    """A running Asterisk 16, the oldest that is supported."""
    async with Asterisk(asterisk16_tool) as instance:
        yield instance


@pytest.fixture
async def sipp(asterisk: Asterisk, sipp_tool: Tool) -> AsyncIterator[Sipp]:
    """Telephones, provider and callers around `asterisk`."""
    async with Sipp(sipp_tool, asterisk.ports) as players:
        yield players


@pytest.fixture
async def sipp16(asterisk16: Asterisk, sipp_tool: Tool) -> AsyncIterator[Sipp]:
    """The same around `asterisk16`."""
    async with Sipp(sipp_tool, asterisk16.ports) as players:
        yield players


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL for the session; the store itself is tried on two versions in tests/integration."""
    with in_memory() as folder, PostgresServer(find_installation().path / "bin", folder) as server:
        asyncio.run(server.make_template())
        yield server


@pytest.fixture(params=["asterisk22", "asterisk16"])
async def pbx(request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    """The newest and the oldest Asterisk, one after the other."""
    async with Asterisk(require(request.param)) as instance:
        yield instance


@pytest.fixture
async def lines(pbx: Asterisk) -> AsyncIterator[Sipp]:
    """Telephones, provider and callers around `pbx`."""
    async with Sipp(require("sipp"), pbx.ports) as players:
        yield players


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["asterisk22", "asterisk16"])
async def founded(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Company]:
    """A company on the plain pack for all tests of a file, which run in one loop: to found one takes seconds."""
    async with (
        Asterisk(require(request.param)) as pbx,
        Sipp(require("sipp"), pbx.ports) as lines,
        company_at(pbx, lines, postgres, tmp_path_factory.mktemp("company")) as company,
    ):
        yield company
