"""A real PostgreSQL server for the tests: one a session and version, a fresh clone of a migrated database a test.

Everything lies in one folder; as root the server runs as an unprivileged account. It dies with the test run. A fresh
database is a few hundred files, so those of a whole session lie in memory where there is some: on a disk the making of
databases alone was a quarter of the work of all tests that use one.
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

import asyncpg

from tests.support.ports import free_port
from vochi_agent.store.account import borrowed_capability, choose_account
from vochi_agent.store.database import Database
from vochi_agent.store.migrate import migrate
from vochi_agent.store.postmaster import ENVIRONMENT, READY_LINE

__all__ = ["SURVIVES_A_CRASH", "PostgresServer", "in_memory", "statements_that_wait", "waits_for_a_lock"]

TEMPLATE = "vochi_template"
# The tests' data may be lost with the machine; the product never sets these.
SURVIVES_A_CRASH = ("fsync=off", "shared_buffers=32MB", "max_connections=60")
FAST = (*SURVIVES_A_CRASH, "full_page_writes=off", "synchronous_commit=off")
MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 2 << 30
PREFIX = "vochi-test-postgres-"


class PostgresServer:
    """A server on loopback, started from the programs in `programs`."""

    def __init__(self, programs: Path, folder: Path, *, settings: Sequence[str] = FAST) -> None:
        self.programs = programs
        self._settings = settings
        self._folder = folder / "postgres"
        self._password = secrets.token_urlsafe(16)
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[str] | None = None
        # Below the ephemeral range: a restarted server finds its port free.
        self.port = free_port()

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        account = choose_account(self._folder)
        account.own(self._folder)
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        account.own(password_file)
        capability = borrowed_capability() if account.drops else ""
        data = self._folder / "data"
        initdb = [str(self.programs / "initdb"), "-D", str(data), "-U", "vochi", f"--pwfile={password_file}"]
        initdb += ["--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        subprocess.run(
            account.command(initdb, capability=capability),
            check=True,
            env=ENVIRONMENT,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        account = choose_account(self._folder)
        capability = borrowed_capability() if account.drops else ""
        server = [
            str(self.programs / "postgres"),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        server += ["-c", "unix_socket_directories=", *(word for setting in self._settings for word in ("-c", setting))]
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                account.command(server, capability=capability),
                env=ENVIRONMENT,
                cwd="/",
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGTERM waits for clients, SIGINT ends them in order, SIGQUIT leaves like a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(10)

    def dsn(self, database: str) -> str:
        """How to reach one of its databases."""
        return f"postgresql://vochi:{self._password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def make_template(self) -> None:
        """The migrated database that the others are copied from."""
        await self.run(f"CREATE DATABASE {TEMPLATE}")
        async with Database(self.dsn(TEMPLATE)) as database:
            await migrate(database)

    @asynccontextmanager
    async def database(self, template: str = TEMPLATE) -> AsyncIterator[str]:
        """The DSN of a fresh database, dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        # By default a copy goes through the write-ahead log, which takes twice as long.
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY = FILE_COPY")
        yield self.dsn(name)
        await self.run(f"DROP DATABASE {name} WITH (FORCE)")

    async def run(self, sql: str) -> None:
        """One statement outside any test's database."""
        connection = await asyncpg.connect(self.dsn("postgres"))
        await connection.execute(sql)
        await connection.close()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        with subprocess.Popen(
            ["tail", "-n", "+1", "-F", f"--pid={self._process.pid}", str(self._folder / "log")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as tail:
            assert tail.stdout is not None
            seen = list(itertools.takewhile(lambda line: READY_LINE not in line, tail.stdout))
            tail.kill()
        if self._process.poll() is not None:
            raise RuntimeError("PostgreSQL did not start:\n" + "".join(seen))


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for a server, gone afterwards: in memory, or among other temporary files where that is short.

    What a run has left that was killed is removed by the next one.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    for left in MEMORY.glob(f"{PREFIX}*") if roomy else ():
        if not Path("/proc", left.name.removeprefix(PREFIX).partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY if roomy else None) as folder:
        yield Path(folder)


async def waits_for_a_lock(dsn: str) -> bool:
    """Whether some statement in the whole server waits for somebody else's row."""
    return await statements_that_wait(dsn) > 0


async def statements_that_wait(dsn: str) -> int:
    """How many do."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    finally:
        await connection.close()
