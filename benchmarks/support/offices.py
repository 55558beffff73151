"""Whole companies for a whole daemon: their PBXs speak AMI on real sockets and repeat recorded calls.

The daemon is a process of its own; PBXs, Telegram and whoever measures are this one. Each has a core.
"""

import asyncio
import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self

import asyncpg

from benchmarks.support.recorded import Recording
from tests.support.daemon import DaemonProcess
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.store.installations import find_installation

__all__ = ["CHAT", "DAEMON_CORE", "OUR_CORE", "PATIENCE_S", "Offices", "cpu_seconds", "pin", "postgres"]

CORES: Final = sorted(os.sched_getaffinity(0))
DAEMON_CORE, OUR_CORE = CORES[0], CORES[-1]
INSTANCE: Final = "a"
PATIENCE_S: Final = 60.0
CHAT: Final = 1_000_000_001

DAEMON: Final = """
[daemon]
state_dir = "{state_dir}"
instance = "{instance}"
[database]
url = "{database}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
{telegram}
"""
TELEGRAM: Final = '[telegram]\ntoken = "42:TEST"\napi_url = "{url}"\n'
# The company of the recordings, see tests/scenarios/lab.toml.
ENTERPRISE: Final = """
[[enterprises]]
number = "{number:04}"
name = "Ромашка"
country = "BY"
  [enterprises.asterisk]
  ami = "127.0.0.1:{port}"
  ami_username = "vochi"
  ami_secret = "played"
  [[enterprises.lines]]
  id = "375172000000"
  endpoint = "PJSIP/trunk"
  label = "Городской"
  number_rule = "+375{{9}}"
  [[enterprises.agents]]
  extension = "101"
  name = "Анна"
  [[enterprises.agents]]
  extension = "103"
  name = "Борис"
  [[enterprises.agents]]
  extension = "104"
  name = "Галина"
"""
ROOM: Final = "  [[enterprises.chats]]\n  id = {chat}\n"


class Offices:
    """So many enterprises and the daemon that follows their PBXs, while the block runs.

    Attributes:
        daemon: Its process.
        database: Its PostgreSQL.
    """

    daemon: DaemonProcess

    def __init__(self, count: int, database: str, folder: Path, *, telegram: str = "") -> None:
        """`telegram`: the address of a Bot API; "" for companies without a bot."""
        self.database = database
        self._folder = folder
        self._telegram = telegram
        self._pbxs = [
            Pbx(phones={}, trunks=["PJSIP/trunk"], users={"vochi": User(secret="played")}) for _ in range(count)
        ]
        self._turns = itertools.cycle(self._pbxs)
        self._serials = itertools.count(1)
        self._played = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the PBXs and prepare the daemon, which is to be started."""
        for pbx in self._pbxs:
            await self._stack.enter_async_context(pbx)
        self._folder.mkdir()
        config = self._folder / "config.toml"
        agi_port, http_port = free_port(), free_port()
        config.write_text(self._configuration(agi_port, http_port), encoding="utf-8")
        self.daemon = DaemonProcess(config, agi_port=agi_port, http_port=http_port)
        self.daemon.options = ()
        await self._stack.enter_async_context(self._ending())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def until_followed(self) -> None:
        """Wait until the daemon answers and has told every PBX that it lives."""
        await self.daemon.until_ready(within=PATIENCE_S)

        async def told() -> bool:
            return all(pbx.switch.variables.get(f"VOCHI_ALIVE_{INSTANCE}") for pbx in self._pbxs)

        await until(told, within=PATIENCE_S)

    async def play(self, recordings: Sequence[Recording], calls: int, *, per_second: float) -> None:
        """So many calls, of these kinds and on the PBXs by turns."""
        began = time.perf_counter()
        for number, recording in zip(range(calls), itertools.cycle(recordings), strict=False):
            await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            next(self._turns).manager.send("call", recording.play(next(self._serials)))
        self._played += calls

    async def stored(self) -> None:
        """Wait until the ledger has every call. The daemon is not asked: its answers would be part of its work."""
        connection = await asyncpg.connect(self.database)

        async def there() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM calls") >= self._played)

        await until(there, within=PATIENCE_S)
        await connection.close()

    @contextlib.asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.daemon.__aexit__(None, None, None)

    def _configuration(self, agi_port: int, http_port: int) -> str:
        room = ROOM.format(chat=CHAT) if self._telegram else ""
        return DAEMON.format(
            state_dir=self._folder / "state",
            instance=INSTANCE,
            database=self.database,
            agi_port=agi_port,
            http_port=http_port,
            telegram=TELEGRAM.format(url=self._telegram) if self._telegram else "",
        ) + "".join(
            ENTERPRISE.format(number=number, port=pbx.manager.port) + room for number, pbx in enumerate(self._pbxs, 1)
        )


@asynccontextmanager
async def postgres() -> AsyncIterator[tuple[PostgresServer, Path]]:
    """A server with a migrated template, and a folder; both are gone after the block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(find_installation().path / "bin", Path(folder)) as server,
    ):
        await server.make_template()
        yield server, Path(folder)


def pin(pid: int, core: int) -> None:
    """All threads of a process, and those that they will start."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, in the nanoseconds of its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)
