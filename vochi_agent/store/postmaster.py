"""The postmaster process: started, watched by its own log, stopped; and the one a killed daemon left behind.

A process is only ever signalled after /proc has shown that it is the postmaster of our data folder.
"""

import asyncio
import logging
import os
import re
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vochi_agent.errors import StoreUnavailable

__all__ = ["Postmaster", "RunningServer", "clear_left_behind", "last_port", "running_server"]

READY_LINE = "database system is ready to accept connections"
READY_STATUS = "ready"
# Each step is the next harder shutdown of PostgreSQL: fast, immediate, none at all.
SHUTDOWN_STEPS = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0))
REMEMBERED_LINES = 20
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A live postmaster of a data folder, as its lock file and /proc show it."""

    pid: int
    port: int
    ready: bool


class Postmaster(asyncio.SubprocessProtocol):
    """One life of the server as our child."""

    def __init__(self) -> None:
        self._transport: asyncio.SubprocessTransport | None = None
        self._turn = asyncio.Event()
        self._ended = asyncio.Event()
        self._partial = b""
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> "Postmaster":
        """Start the server and wait until it accepts connections.

        Raises:
            StoreUnavailable: it ended at once; the message holds its last lines.
        """
        _, self = await asyncio.get_running_loop().subprocess_exec(
            cls,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is the daemon's to handle, not the server's
        )
        try:
            await self._turn.wait()
        except BaseException:
            await self.stop()
            raise
        if self._ended.is_set():
            raise StoreUnavailable("the embedded PostgreSQL did not start: " + " / ".join(self._lines))
        return self

    @property
    def alive(self) -> bool:
        """False once the server has ended."""
        return not self._ended.is_set()

    async def ended(self) -> None:
        """Wait until the server has ended, whatever the reason."""
        await self._ended.wait()

    async def stop(self) -> None:
        """End the server; nothing committed is lost."""
        for number, patience_s in SHUTDOWN_STEPS:
            if self._transport is None or self._ended.is_set():
                break
            self._transport.send_signal(number)
            try:
                async with asyncio.timeout(patience_s):
                    await self._ended.wait()
            except TimeoutError:
                log.warning("The embedded PostgreSQL ignores %s", number.name, extra={"action": "postgres_stop"})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.SubprocessProtocol."""
        # What subprocess_exec promises; uvloop's is no subclass of it.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  # stderr is the only pipe
        """Part of asyncio.SubprocessProtocol: the server's log."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            self._lines.append(text)
            log.debug("< %s", text, extra={"action": "postgres_log"})
            if READY_LINE in text:
                self._turn.set()

    def process_exited(self) -> None:
        """Part of asyncio.SubprocessProtocol."""
        self._ended.set()
        self._turn.set()
        if self._transport is not None:
            self._transport.close()


def running_server(data: Path) -> RunningServer | None:
    """The live server of a data folder; None when there is none or the lock file is stale.

    postmaster.pid holds a line each: pid, folder, start time, port, socket folder, address, shared memory, status.
    """
    lines = _lock_file(data)
    if not lines or not lines[0].isdigit() or not _is_postmaster(int(lines[0]), data):
        return None
    port = int(lines[3]) if len(lines) > 3 and lines[3].isdigit() else 0  # noqa: PLR2004
    return RunningServer(pid=int(lines[0]), port=port, ready=lines[-1].strip() == READY_STATUS)


def last_port(data: Path) -> int:
    """The port of the server that ran here last, 0 when there was none: its clients look for the next one there.

    postmaster.opts holds the whole command line, each argument in quotes, and stays when the server has ended.
    """
    try:
        command = (data / "postmaster.opts").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return 0
    port = re.search(r'"--port=(\d{1,5})"', command)
    return int(port[1]) if port else 0


async def clear_left_behind(data: Path) -> None:
    """Stop a server whose daemon was killed, and forget a lock file that nobody holds.

    The caller holds the lock of the folder, so no living daemon uses this server.

    Raises:
        StoreUnavailable: something still uses the data; try again later.
    """
    left = running_server(data)
    if left is not None:
        log.warning("Stopping an embedded PostgreSQL that was left behind", extra={"action": "postgres_left_behind"})
        await _stop_process(left.pid)
    lines = _lock_file(data)
    if not lines:
        return
    # PostgreSQL itself takes a lock file for live when any process of the same user has that pid now, which is
    # common after a container's restart. It is removed here, but never while a backend still holds the memory.
    if len(lines) > 6 and _is_attached(lines[6]):  # noqa: PLR2004
        raise StoreUnavailable(f"processes of an earlier PostgreSQL still use {data}")
    (data / "postmaster.pid").unlink(missing_ok=True)


def _lock_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _is_postmaster(pid: int, data: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        owner = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return False
    return (
        owner == data.stat().st_uid
        and os.path.basename(arguments[0]) == b"postgres"  # noqa: PTH119  # bytes, not a path of ours
        and os.fsencode(data) in arguments[1:]
    )


def _is_attached(shared_memory: str) -> bool:
    """Whether processes still hold the segment that line 7 of the lock file names: key and id."""
    fields = shared_memory.split()
    try:
        rows = [row.split() for row in Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return False
    return any(len(fields) == 2 and row[1] == fields[1] and int(row[6]) > 0 for row in rows)  # noqa: PLR2004


async def _stop_process(pid: int) -> None:
    """End a process that is no child of ours; a pidfd becomes readable when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        for number, patience_s in SHUTDOWN_STEPS:
            signal.pidfd_send_signal(descriptor, number)
            try:
                async with asyncio.timeout(patience_s):
                    await ended.wait()
            except TimeoutError:
                continue
            return
        raise StoreUnavailable(f"an earlier PostgreSQL (pid {pid}) cannot be stopped")
    except ProcessLookupError:
        return
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
