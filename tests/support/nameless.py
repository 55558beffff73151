"""`vochi-agent` on a machine whose name servers are silent: `python -m tests.support.nameless run`.

In a mount namespace of its own /etc/resolv.conf names three servers, a port of loopback that nobody reads.
"""

import ctypes
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from vochi_agent.cli import entry

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
RESOLV_CONF = "/etc/resolv.conf"
SILENT = "127.0.53.99"


def is_possible() -> bool:
    """Whether we may have mounts of our own: as root, but not in every container."""
    may_mount = not subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode
    return may_mount and os.geteuid() == 0 and Path(RESOLV_CONF).exists()


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _lose_the_name_servers() -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(CLONE_NEWNS))
    _checked(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"nameserver {SILENT}\n" * 3)
        file.flush()
        _checked(libc.mount(file.name.encode(), RESOLV_CONF.encode(), None, ctypes.c_ulong(MS_BIND), None))
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((SILENT, 53))
    return server


if __name__ == "__main__":
    SERVER = _lose_the_name_servers()
    entry()
