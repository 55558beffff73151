"""The FastAGI servers that are compared: each a process of its own on one core, what asks it on the other."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BACKLOG", "Server", "apart", "cpu_s", "ratio", "serving"]

# For every server the same: two hundred callers come in one breath.
BACKLOG: Final = 1024
ROOT: Final = Path(__file__).resolve().parents[2]
PEERS: Final = ROOT / "var" / "peers-venv" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        port: Where it listens on 127.0.0.1.
        pid: Its process.
    """

    port: int
    pid: int

    def cpu_s(self) -> float:
        """User and system time that the process has had, in seconds."""
        return cpu_s(self.pid)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The middle one of the rounds: what slows a whole round slows both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def cpu_s(pid: int) -> float:
    """User and system time that a process has had, in seconds."""
    # The clock of another process, as clock_getcpuclockid(3) makes its number; /proc counts in 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def apart() -> tuple[int, int]:
    """Move this process, and what it starts, to one core; returns that of the servers, then ours.

    On a machine with a single core they are the same.
    """
    cores = sorted(os.sched_getaffinity(0))
    theirs, ours = cores[0], cores[-1]
    os.sched_setaffinity(0, {ours})
    return theirs, ours


@contextlib.contextmanager
def serving(module: str, facts: object, *, core: int | None = None, peer: bool = False) -> Iterator[Server]:
    """Run `benchmarks.agi.<module>`, which gets `facts` as JSON and prints its port, until the block is left.

    Args:
        core: Where it runs; None for wherever we do.
        peer: With the libraries of `make peers`, where they are installed; ours have the same panoramisk.
    """
    program = str(PEERS) if peer and PEERS.exists() else sys.executable
    command: Sequence[str] = (program, "-m", f"benchmarks.agi.{module}", json.dumps(facts))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        try:
            port = process.stdout.readline()
            if not port:
                raise RuntimeError(f"{module} ended with {process.wait()} instead of serving")
            yield Server(int(port), process.pid)
            process.stdin.close()  # it ends by itself, and closes its connections to PostgreSQL
            process.wait(10)
        finally:
            process.kill()
