"""Free loopback ports for servers that must be told their number.

Taken from below the kernel's ephemeral range, so that no outgoing connection of a neighbour sits on one between the
moment it is chosen and the moment the server binds it.
"""

import random
import socket
from pathlib import Path

__all__ = ["free_port", "free_ports", "free_udp_range"]

# Two bands, so that no range covers a port that is still to be bound.
LOWEST, LOWEST_RANGE = 11000, 20000
ATTEMPTS = 200


def free_port() -> int:
    """A port that is free for TCP and for UDP on 127.0.0.1."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """That many different ones."""
    candidates = random.sample(range(LOWEST, LOWEST_RANGE), ATTEMPTS + count)
    found = [p for p in candidates if _is_free(p, socket.SOCK_STREAM) and _is_free(p, socket.SOCK_DGRAM)]
    if len(found) < count:
        raise OSError("no free ports found")
    return found[:count]


def free_udp_range(length: int) -> tuple[int, int]:
    """First and last of that many UDP ports in a row, the first one even."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(ATTEMPTS):
        first = random.randrange(LOWEST_RANGE, ephemeral - length, 2)
        if all(_is_free(port, socket.SOCK_DGRAM) for port in range(first, first + length)):
            return first, first + length - 1
    raise OSError("no free range of ports found")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
