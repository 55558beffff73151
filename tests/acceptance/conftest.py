"""The real programs. What cannot be had skips its tests loudly; with VOCHI_REQUIRE_ASTERISK=1 they fail."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.asterisk import Asterisk
from tests.support.fetch import Tool, ToolMissing, fetch
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from vochi_agent.store.embedded import find_installation

missing: dict[str, str] = {}


def require(name: str) -> Tool:
    """The tool, or the end of the test."""
    try:
        return fetch(name)
    except ToolMissing as exc:
        missing[name] = str(exc)
        if os.getenv("VOCHI_REQUIRE_ASTERISK") == "1":
            pytest.fail(f"{name} is required and cannot be had: {exc}")
        pytest.skip(f"NOT TESTED against {name}: {exc}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it once more where nobody overlooks it."""
    for name, reason in missing.items():
        terminalreporter.write_sep("!", f"nothing was tested against {name}", red=True)
        terminalreporter.write_line(reason)


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
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running PostgreSQL for the session; the store itself is tried on two versions in tests/integration."""
    with PostgresServer(find_installation().path / "bin", tmp_path_factory.mktemp("pg")) as server:
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
