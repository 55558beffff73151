"""Runs `vochi-agent` as people do: a process of its own, in a folder with a configuration and secret files."""

import asyncio
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Workplace"]

ROOT = Path(__file__).resolve().parents[2]
COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output as the JSON value it must be."""
        return json.loads(self.out)


class Workplace:
    """A folder with `config.toml` and what it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"

    def write(self, configuration: str, **secrets: str) -> None:
        """The configuration, and secret files named after the arguments (`ami_secret` -> `ami-secret`)."""
        self.config.write_text(configuration)
        for name, value in secrets.items():
            (self.folder / name.replace("_", "-")).write_text(value + "\n")

    async def vochi(self, *arguments: str, within: float = COMMAND_TIMEOUT_S) -> Answer:
        """Run a command to its end. Whatever it is told, a traceback is never its answer."""
        process = await self._start(*arguments)
        try:
            async with asyncio.timeout(within):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        answer = Answer(process.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in answer.out + answer.err, answer.err
        return answer

    async def vochi_with_peak(self, *arguments: str) -> tuple[Answer, float]:
        """The same, and the most memory it ever had, in MiB; looked up while it runs."""
        process = await self._start(*arguments)
        status, peak = Path(f"/proc/{process.pid}/status"), 0.0
        said = asyncio.create_task(process.communicate())
        while not said.done():
            try:
                lines = status.read_text().splitlines()  # noqa: ASYNC240 - no disk stands behind it
            except FileNotFoundError:
                lines = []  # it has just ended
            peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))])
            await asyncio.wait([said], timeout=0.05)
        out, err = said.result()
        return Answer(process.returncode or 0, out.decode(), err.decode()), peak

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Process]:
        """`vochi-agent run` while the block runs; ended by SIGTERM, with exit code 0. Its log is kept: `daemon.log`."""
        process = await self._start("run")
        try:
            async with asyncio.TaskGroup() as tasks:
                said = tasks.create_task(process.communicate(), name="what the daemon says")
                yield process
                process.terminate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        out, err = said.result()
        (self.folder / "daemon.log").write_bytes(out)
        assert process.returncode == 0, (out + err).decode()

    async def until_ready(self, daemon: Process) -> None:
        """Return when the daemon says that it is ready."""
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            while (await self.vochi("status")).code != 0:
                assert daemon.returncode is None, "the daemon ended"

    async def _start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vochi_agent",
            "-c",
            str(self.config),
            *arguments,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
