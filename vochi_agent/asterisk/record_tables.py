"""Rows of the tables in which a PBX keeps CEL and CDR: PostgreSQL, and MySQL or MariaDB as FreePBX has it. Only reads.

Times without a zone come back as the table has them; `clock.PrintedTimes` knows what to make of them. So the window
that is asked for is wider than the one that is wanted, by the widest zone there is.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import asyncpg

from vochi_agent.errors import ConfigError, RecordsUnavailable

__all__ = ["MySqlTable", "PostgresTable", "Row", "Table", "open_table", "text_of"]

CONNECT_TIMEOUT_S: Final = 5.0
# A table of years without an index on time is scanned once.
FETCH_TIMEOUT_S: Final = 60.0
BATCH: Final = 500
ZONES_S: Final = 15 * 3600.0
MYSQL_PORT: Final = 3306

Row = Mapping[str, Any]


class Table(Protocol):
    """A table of records."""

    def rows(self, since: float, until: float) -> AsyncGenerator[Sequence[Row], None]:
        """The rows of a time (epoch seconds), and some around it. Raises RecordsUnavailable."""
        ...


def open_table(url: str, kind: str) -> Table:
    """The table `kind` (`cel`, `cdr`) of a database; nothing connects yet.

    Raises:
        ConfigError: the driver is not installed.
    """
    if url.startswith("postgresql://"):
        return PostgresTable(url, kind)
    try:
        driver = importlib.import_module("aiomysql")
    except ImportError as exc:
        problem = f"asterisk.{kind}: a mysql:// address needs a driver: pip install vochi-agent[mysql]"
        raise ConfigError([problem]) from exc
    return MySqlTable(url, kind, driver)


class PostgresTable:
    """A table of a PostgreSQL database."""

    def __init__(self, url: str, kind: str) -> None:
        self._url = url
        self._kind = kind

    async def rows(self, since: float, until: float) -> AsyncGenerator[Sequence[Row], None]:
        """See `Table.rows`."""
        with _translated(self._kind):
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=FETCH_TIMEOUT_S,
                server_settings={"application_name": "vochi-agent", "timezone": "UTC"},
            )
            try:
                async with connection.transaction(readonly=True):
                    query = _statement(f"pbx_{self._kind}_postgresql.sql")
                    cursor = await connection.cursor(query, since - ZONES_S, until + ZONES_S)
                    while rows := await cursor.fetch(BATCH):
                        yield [dict(row) for row in rows]
            finally:
                connection.terminate()


class MySqlTable:
    """A table of a MySQL or MariaDB database. `driver` is the module aiomysql, an optional dependency."""

    def __init__(self, url: str, kind: str, driver: ModuleType) -> None:
        self._kind = kind
        self._driver: Any = driver
        parts = urlsplit(url)
        self._address = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or MYSQL_PORT,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "db": parts.path.lstrip("/") or "asteriskcdrdb",
        }

    async def rows(self, since: float, until: float) -> AsyncGenerator[Sequence[Row], None]:
        """See `Table.rows`."""
        with _translated(self._kind, self._driver.MySQLError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._driver.connect(
                    **self._address, charset="utf8mb4", init_command="SET time_zone = '+00:00'"
                )
            try:
                # Unbuffered: a buffered cursor would hold the whole result.
                cursor = await connection.cursor(self._driver.SSDictCursor)
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    await cursor.execute(_statement(f"pbx_{self._kind}_mysql.sql"), (since - ZONES_S, until + ZONES_S))
                while rows := await _in_time(cursor.fetchmany(BATCH)):
                    yield rows
            finally:
                connection.close()


def text_of(row: Row, *names: str) -> str:
    """The first of these columns that the table has and that is not null, as text."""
    value = next((row[name] for name in names if row.get(name) is not None), "")
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


async def _in_time(fetching: Any) -> Sequence[Row]:
    async with asyncio.timeout(FETCH_TIMEOUT_S):
        rows: Sequence[Row] = await fetching
        return rows


def _statement(name: str) -> str:
    text = (resources.files("vochi_agent.sql") / name).read_text(encoding="utf-8")
    # A comment may hold what a driver takes for a parameter.
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("--")).rstrip().rstrip(";")


@contextmanager
def _translated(kind: str, *foreign: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, *foreign) as exc:
        raise RecordsUnavailable(f"the {kind} table: {str(exc) or type(exc).__name__}") from exc
