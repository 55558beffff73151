"""Free loopback ports for servers that must be told their number.

Taken from below the kernel's ephemeral range, so that no outgoing connection of a neighbour sits on one between the
moment it is chosen and the moment the server binds it. Every test process of the machine has a stretch of its own,
held by a lock as long as it lives: two of them never choose the same port.
"""

import fcntl
import random
import socket
import tempfile
from collections import deque
from functools import cache
from pathlib import Path
from typing import IO

__all__ = ["free_port", "free_ports", "free_udp_range"]

LOWEST, STRETCH, STRETCHES = 11000, 2600, 8
# Two bands of a stretch, so that no range covers a port that is still to be bound.
SINGLE = 400
ATTEMPTS = 200

held: list[IO[str]] = []
# Chosen lately and perhaps not bound yet.
given: deque[int] = deque(maxlen=100)


def free_port() -> int:
    """A port that is free for TCP and for UDP on 127.0.0.1."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """That many different ones."""
    candidates = random.sample(range(_stretch(), _stretch() + SINGLE), ATTEMPTS + count)
    fresh = [port for port in candidates if port not in given]
    found = [p for p in fresh if _is_free(p, socket.SOCK_STREAM) and _is_free(p, socket.SOCK_DGRAM)][:count]
    if len(found) < count:
        raise OSError("no free ports found")
    given.extend(found)
    return found


def free_udp_range(length: int) -> tuple[int, int]:
    """First and last of that many UDP ports in a row, the first one even."""
    for _ in range(ATTEMPTS):
        first = random.randrange(_stretch() + SINGLE, _stretch() + STRETCH - length, 2)
        if all(_is_free(port, socket.SOCK_DGRAM) for port in range(first, first + length)):
            return first, first + length - 1
    raise OSError("no free range of ports found")


@cache
def _stretch() -> int:
    """The first port of this process's stretch; with too many neighbours it is shared with one."""
    for number in range(STRETCHES):
        path = Path(tempfile.gettempdir()) / f"vochi-test-ports-{number}.lock"
        try:
            lock = path.open("a")
        except OSError:
            continue  # another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        held.append(lock)
        return LOWEST + number * STRETCH
    return LOWEST + random.randrange(STRETCHES) * STRETCH


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
