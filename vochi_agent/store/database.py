"""The connection pool: named statements, a deadline on everything, driver errors translated at this door.

It opens and lives while PostgreSQL is down: connections are made when they are needed, so the first statement after an
outage works again. A connection whose statement was cut off is thrown away, never given to the next caller.

    database = Database(dsn, pool_size=10)
    async with database: await database.fetch("person", "0901", ["uon:1"])
    async with database.transaction() as session: await session.fetchrow("customer", "0901", "+375290000011")
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import asyncpg

from vochi_agent.errors import ConfigError, StoreConflict, StoreForbidden, StoreRefused, StoreUnavailable, VochiError

from .statements import statement

__all__ = ["Database", "Row", "Session"]

# A row of asyncpg, which ships no types; rows.py turns it into dataclasses.
Row = Any
T = TypeVar("T")
Isolation = Literal["read_committed", "repeatable_read"]

CONNECT_TIMEOUT_S = 3.0
DEADLINE_S = 5.0
ROLLBACK_TIMEOUT_S = 1.0
LISTEN_PROBE_S = 15.0
SERVER_SETTINGS = {
    "application_name": "vochi-agent",
    "timezone": "UTC",
    "jit": "off",  # compiling a plan takes longer than any of ours runs
    # A daemon that is frozen in the middle of a transaction must not block the one that takes over.
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
}
# What a later attempt may cure: the server is away, starting, stopping, full, read-only, or not letting us in yet.
CURED_BY_WAITING = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # The server's last word ("terminating connection...") was read, the end of the connection was not yet: the next
    # statement finds the driver in the middle of an answer.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The schema is not there yet, or an older one is: somebody will run `migrate`.
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    # He did, and a statement that was prepared before stood in a transaction; the driver has forgotten it now.
    asyncpg.InvalidCachedStatementError,
)
# What PostgreSQL cannot hold, now or later: a value out of range, a key too long for its index, a broken constraint.
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Session:
    """Statements of queries.sql on one connection."""

    def __init__(self, connection: Row) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: object) -> list[Row]:
        """All rows of a statement."""
        return list(await self._connection.fetch(statement(name), *arguments))

    async def fetchrow(self, name: str, *arguments: object) -> Row | None:
        """The first row, None when there is none."""
        return await self._connection.fetchrow(statement(name), *arguments)

    async def execute(self, name: str, *arguments: object) -> None:
        """A statement without a result."""
        await self._connection.execute(statement(name), *arguments)

    async def fetch_each(self, name: str, arguments: Iterable[Sequence[object]]) -> list[Row]:
        """All rows of a statement that is run with each of these arguments in turn, in one round trip."""
        return list(await self._connection.fetchmany(statement(name), arguments))

    async def execute_each(self, name: str, arguments: Iterable[Sequence[object]]) -> None:
        """The same of a statement without a result."""
        await self._connection.executemany(statement(name), arguments)

    async def run_script(self, text: str) -> None:
        """The statements of a migration."""
        await self._connection.execute(text)


class Database:
    """A pool of connections to one PostgreSQL database.

    Attributes:
        available: Whether the last transaction found the server.
        problem: Why it did not, "" while it does.
    """

    def __init__(self, dsn: str, *, pool_size: int = 10, deadline_s: float = DEADLINE_S) -> None:
        self._dsn = dsn
        self._deadline_s = deadline_s
        self._pool_size = pool_size
        self._pool: Row | None = None
        self.available = False
        self.problem = ""

    async def __aenter__(self) -> Self:
        with _translated():
            # Without a minimum nothing connects here, so a database that is down does not stop the daemon.
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=self._pool_size,
                timeout=CONNECT_TIMEOUT_S,
                init=_register_codecs,
                reset=_as_it_is,
                server_settings=SERVER_SETTINGS,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(self._deadline_s):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def fetch(self, name: str, *arguments: object) -> list[Row]:
        """All rows of a statement of queries.sql. Raises StoreUnavailable."""
        return await self._alone(lambda session: session.fetch(name, *arguments))

    async def fetchrow(self, name: str, *arguments: object, deadline_s: float | None = None) -> Row | None:
        """The first row of a statement, None when there is none. Raises StoreUnavailable."""
        return await self._alone(lambda session: session.fetchrow(name, *arguments), deadline_s)

    async def execute(self, name: str, *arguments: object) -> None:
        """A statement without a result. Raises StoreUnavailable."""
        await self._alone(lambda session: session.execute(name, *arguments))

    @asynccontextmanager
    async def transaction(
        self, *, deadline_s: float | None = None, isolation: Isolation = "read_committed"
    ) -> AsyncIterator[Session]:
        """One transaction: committed at the end of the block, rolled back by any exception.

        When StoreUnavailable comes out of the commit itself it may have happened; repeat what is safe to repeat.

        Args:
            deadline_s: For everything from waiting for a connection to the commit.
            isolation: `repeatable_read`: all statements see the database as it was at the first one, and rows that
                somebody changed since cannot be written.

        Raises:
            StoreConflict: it lost against another transaction.
            StoreUnavailable: not done this time.
            StoreRefused: it never can be done.
        """
        async with (
            self._connection(deadline_s) as connection,
            _transaction_of(connection, isolation),
        ):
            yield Session(connection)

    async def _alone(self, run: Callable[[Session], Awaitable[T]], deadline_s: float | None = None) -> T:
        """One statement: a transaction of its own, which nobody has to begin and to commit."""
        async with self._connection(deadline_s) as connection:
            try:
                return await run(Session(connection))
            except BaseException as error:
                # Unless PostgreSQL has only refused the statement, nobody knows what still comes on this connection.
                if not isinstance(error, asyncpg.PostgresError) or isinstance(error, CURED_BY_WAITING):
                    connection.terminate()
                raise

    @asynccontextmanager
    async def _connection(self, deadline_s: float | None) -> AsyncIterator[Row]:
        """One of the pool's; everything that is done with it has the deadline."""
        if self._pool is None:
            raise StoreUnavailable("the database is closed")
        try:
            with _translated():
                async with asyncio.timeout(self._deadline_s if deadline_s is None else deadline_s):
                    connection = await self._pool.acquire()
                    try:
                        yield connection
                    finally:
                        await self._pool.release(connection, timeout=ROLLBACK_TIMEOUT_S)
        except StoreUnavailable as exc:
            self.available, self.problem = False, str(exc)
            raise
        self.available, self.problem = True, ""

    @asynccontextmanager
    async def dedicated(self, *, idle_timeout_s: float) -> AsyncIterator[Session]:
        """A connection of one's own, for what a session holds; every statement has the deadline.

        Args:
            idle_timeout_s: The server ends the session, and what it holds, after so long without a statement.

        Raises:
            StoreUnavailable: it cannot be made, or is gone.
        """
        settings = {**SERVER_SETTINGS, "idle_session_timeout": f"{int(idle_timeout_s * 1000)}ms"}
        with _translated():
            connection = await asyncpg.connect(
                self._dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=self._deadline_s, server_settings=settings
            )
            try:
                yield Session(connection)
            finally:
                connection.terminate()

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call `heard` with every notification's text, once at first with "" for those missed; runs until cancelled.

        Raises:
            StoreUnavailable: the connection could not be made or is gone; call again.
        """
        with _translated():
            async with asyncio.timeout(self._deadline_s):
                connection = await asyncpg.connect(
                    self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=SERVER_SETTINGS
                )
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            try:
                async with asyncio.timeout(self._deadline_s):
                    await connection.add_listener(channel, lambda *told: heard(str(told[-1])))
                heard("")
                while not await _happened(lost, within_s=LISTEN_PROBE_S):
                    async with asyncio.timeout(self._deadline_s):
                        await connection.execute(statement("ping"))
            finally:
                connection.terminate()
        raise StoreUnavailable("the connection that listens for notifications is gone")


@asynccontextmanager
async def _transaction_of(connection: Row, isolation: Isolation) -> AsyncIterator[None]:
    """The driver's transaction, but for one thing: its rollback would wait for ever on a server that went silent."""
    transaction = connection.transaction(isolation=isolation)
    try:
        await transaction.start()
        yield
        await transaction.commit()
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except BaseException:
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                await transaction.rollback()
        except (*CURED_BY_WAITING, asyncpg.PostgresError):
            connection.terminate()
        raise


@contextmanager
def _translated() -> Iterator[None]:
    """Driver errors become ours; the cause is kept where it quotes nobody."""
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError as exc:
        raise ConfigError([f"database.url: {exc}"]) from exc
    except REFUSED as exc:
        # Not from it: its text quotes values, a whole row of names and numbers, and a traceback would print it.
        broken = f", {exc.constraint_name}" if exc.constraint_name else ""
        raise StoreRefused(f"PostgreSQL cannot hold a value of the statement ({type(exc).__name__}{broken})") from None
    except asyncpg.TransactionRollbackError as exc:
        raise StoreConflict(f"PostgreSQL: {exc}") from exc  # the victim of a deadlock is one too
    except asyncpg.InsufficientPrivilegeError as exc:
        raise StoreForbidden(f"PostgreSQL: {exc}") from exc
    except CURED_BY_WAITING as exc:
        raise StoreUnavailable(f"PostgreSQL: {str(exc) or type(exc).__name__}") from exc
    except asyncpg.PostgresError as exc:
        raise VochiError(f"PostgreSQL refused a statement: {exc}") from exc


async def _register_codecs(connection: Row) -> None:
    # Without it jsonb arrives as text, and a merge into "text" once erased every other key of meta.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: json.dumps(value, ensure_ascii=False),
        decoder=json.loads,
    )


async def _as_it_is(_: Row) -> None:
    """Nothing of ours outlives its transaction, so a connection is clean when it comes back.

    The driver's own reset asks the server, shielded from cancellation; by a server that went silent it failed where
    nobody looked.
    """


async def _happened(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
