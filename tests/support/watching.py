"""`vochi-agent watch` as a process of its own, and what it says."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["WITHIN_S", "interrupted", "until_told", "watching"]

ROOT = Path(__file__).parents[2]
WITHIN_S = 40.0


@asynccontextmanager
async def watching(
    ami_port: int, *more: str, secret: str = "s3cret", terminal: int | None = None
) -> AsyncIterator[Process]:
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "COLUMNS": "80",
        "VOCHI_CONFIG": "/nonexistent/config.toml",
        **({"VOCHI_AMI_SECRET": secret} if secret else {}),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vochi_agent", "watch", "--ami", f"127.0.0.1:{ami_port}",
        "--timezone", "Europe/Minsk", *more,
        cwd=ROOT, env=environment, start_new_session=True,
        stdin=terminal or asyncio.subprocess.DEVNULL, stdout=terminal or PIPE, stderr=terminal or PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_told(process: Process, *pieces: str) -> str:
    """What a pipe gave until all of it was there."""
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(WITHIN_S):
        while not all(piece in text for piece in pieces):
            line = await process.stdout.readline()
            assert line, text
            text += line.decode()
    return text


async def interrupted(process: Process) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
