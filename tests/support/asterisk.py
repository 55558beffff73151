"""One real Asterisk on loopback, booted for a test with the shipped dialplan and its own folder and ports.

Invariant: when the context is left, the process is gone and so is its folder; nothing outside it was written.
"""

import asyncio
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.asterisk_files import SHIPPED, AsteriskFiles, Ports
from tests.support.fetch import Tool
from tests.support.manager import Manager, ManagerError
from tests.support.polling import until

__all__ = ["SHIPPED", "Asterisk", "Ports"]

BOOT_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class Asterisk:
    """The instance. AMI users: `vochi` (the shipped rights), `lab` (everything), `call-only`; ARI: `vochi`, `lab`.

    Attributes:
        ports: See `Ports`.
        secret: The password of every AMI and ARI user.
        version: What the program calls itself.
        home: Everything it writes, below `parent`; there while the context is.
    """

    def __init__(
        self, tool: Tool, *, ports: Ports | None = None, send_pai: bool = False, parent: Path | None = None
    ) -> None:
        self.ports = ports or Ports.choose()
        self.secret = secrets.token_hex(8)
        self.version = tool.version
        self._tool = tool
        self._send_pai = send_pai
        self._parent = parent
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        # A short path: the control socket below it may have 107 characters in all.
        self.home = Path(tempfile.mkdtemp(prefix="ast-", dir=self._parent))
        try:
            AsteriskFiles(self.home, self.root, self.ports, self.secret, send_pai=self._send_pai).write()
            await self.start()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def log(self) -> Path:
        """What Asterisk says, with verbose messages."""
        return self.home / "log" / "full"

    @property
    def cel(self) -> Path:
        """The channel event log in the shipped columns."""
        return self.home / "log" / "cel-custom" / "vochi.csv"

    @property
    def cdr(self) -> Path:
        """The call detail records of cdr_csv."""
        return self.home / "log" / "cdr-csv" / "Master.csv"

    @property
    def recordings(self) -> Path:
        """Where MixMonitor writes."""
        return self.home / "spool" / "monitor"

    def has_module(self, name: str) -> bool:
        """Whether this version brings the module."""
        return any(self.root.glob(f"usr/lib/**/asterisk/modules/{name}.so"))

    @property
    def root(self) -> Path:
        """The unpacked program, which runs wherever this folder is shown."""
        if self._tool.root is None:
            raise RuntimeError("the laboratory runs an unpacked Asterisk only")
        return self._tool.root

    @property
    def program(self) -> str:
        """The program itself, also a console for the running one: `-C FILE -rx COMMAND`."""
        return str(self._tool.program("asterisk"))

    @property
    def pid(self) -> int:
        """The running process."""
        return self._running().pid

    async def start(self) -> None:
        """Boot and wait for FullyBooted; 0.3 s on an idle machine."""
        output = (self.home / "log" / "output").open("ab")
        with output:
            self._process = await asyncio.create_subprocess_exec(
                self.program,
                "-f",
                "-C",
                str(self.home / "etc" / "asterisk.conf"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Asterisk with a terminal writes to its own process group's terminal; it gets none.
                start_new_session=True,
            )
        await until(self._is_booted, within=BOOT_TIMEOUT_S)

    async def stop(self) -> None:
        """SIGTERM, as systemd would; calls end."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL: as a power cut, but what was written stays."""
        await self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and silent."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def manager(self, username: str = "lab", *, events: str = "on") -> Manager:
        """An AMI connection of that user, to be entered."""
        return Manager(self.ports.ami, username, self.secret, events=events)

    async def command(self, line: str) -> str:
        """What the console prints for a command."""
        async with self.manager(events="off") as manager:
            return await manager.command(line)

    async def reload(self, module: str = "") -> None:
        """Read the configuration again, of one module or of everything."""
        await self.command(f"module reload {module}".strip())

    async def set_global(self, name: str, value: str) -> None:
        """Set a global variable of the dialplan."""
        async with self.manager(events="off") as manager:
            await manager.action("Setvar", Variable=name, Value=value)

    async def get_global(self, name: str) -> str:
        """A global variable of the dialplan, "" when it is not set."""
        async with self.manager(events="off") as manager:
            return (await manager.action("Getvar", Variable=name)).get("Value", "")

    async def until_idle(self, *, within: float = 10.0) -> None:
        """Wait until no channel is left; CEL and CDR follow some ms later."""
        await until(self._is_idle, within=within)

    async def until_written(self, file: Path, text: str, *, within: float = 10.0) -> None:
        """Wait until a log or record has this text; a call's last CEL row is LINKEDID_END."""

        async def is_there() -> bool:
            return _holds(file, text)

        await until(is_there, within=within)

    def problems(self) -> list[str]:
        """Every warning and error that Asterisk has logged."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " WARNING[" in line or " ERROR[" in line]

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("Asterisk is not running")
        return self._process

    async def _is_idle(self) -> bool:
        return "0 active channels" in await self.command("core show channels")

    async def _is_booted(self) -> bool:
        process = self._running()
        if process.returncode is not None:
            raise RuntimeError(f"Asterisk ended at once with {process.returncode}:\n{self._last_words()}")
        try:
            async with self.manager() as manager:
                await manager.wait_for(lambda event: event.get("Event") == "FullyBooted")
        except (OSError, EOFError, ManagerError):
            return False
        return True

    def _last_words(self) -> str:
        files = [path for path in (self.home / "log" / "output", self.log) if path.exists()]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in files)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._running(), None
        if process.returncode is None:
            if how != signal.SIGKILL:
                # A suspended process takes any other signal only after this one.
                process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _leave(self) -> None:
        if self._process is not None:
            # An orderly end takes a second, and nothing is left to be ordered.
            await self._end(signal.SIGKILL)
        shutil.rmtree(self.home)


def _holds(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text(errors="replace")
