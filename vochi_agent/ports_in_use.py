"""Who holds a TCP port, read from /proc: a port that cannot be bound is reported with the name of its holder.

Invariant: never raises. What the kernel does not show to this user (hidepid, another user's descriptors) is
"another program".
"""

import errno
import os
import re
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from vochi_agent.errors import PortTaken

__all__ = ["holder", "listening_addresses", "port_taken"]

PROC = Path("/proc")
UNKNOWN_HOLDER = "another program"
# A row of /proc/net/tcp (proc(5)): sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …;
# st 0A is TCP_LISTEN.
LISTENING_SOCKET = re.compile(
    r"^ *\d+: (?P<address>[0-9A-F]+):(?P<port>[0-9A-F]{4}) \S+ 0A \S+ \S+ \S+ +\d+ +\d+ (?P<inode>\d+) ", re.MULTILINE
)


def holder(host: str, port: int) -> str:
    """The program that listens on `host:port` or on that port of every address: "asterisk (pid 123)".

    Args:
        host: A literal IP address; only used to prefer an exact match, since 0.0.0.0 collides with every address.
        port: The TCP port.
    """
    inodes = _listening_inodes(host, port)
    if not inodes:
        return UNKNOWN_HOLDER
    for process in _processes():
        if inodes & _socket_inodes(process):
            return f"{_name(process)} (pid {process.name})"
    return UNKNOWN_HOLDER


def port_taken(what: str, host: str, port: int, error: OSError) -> PortTaken:
    """The sentence for a failed bind of the listener `what` ("FastAGI", "HTTP"); raise it `from error`."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    reasons = {
        errno.EADDRINUSE: f"{holder(host, port)} listens there already",
        errno.EADDRNOTAVAIL: f"this machine has no address {host}",
        errno.EACCES: f"ports below 1024 need a right this user does not have (port {port})",
    }
    reason = reasons.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
    return PortTaken(f"{what} cannot listen on {place}: {reason}")


def listening_addresses(port: int) -> frozenset[str]:
    """The local addresses on which somebody listens at this TCP port, as the kernel tells; empty where it does not."""
    return frozenset(
        _address_of(socket["address"])
        for table in ("net/tcp", "net/tcp6")
        for socket in LISTENING_SOCKET.finditer(_read(PROC / table))
        if int(socket["port"], 16) == port
    )


def _address_of(kernel_form: str) -> str:
    """An address as /proc/net/tcp writes it on little-endian machines: words of four bytes, each turned round."""
    words = bytes.fromhex(kernel_form)
    turned = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    address = ip_address(turned)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _listening_inodes(host: str, port: int) -> frozenset[str]:
    """Socket inodes that listen on the port; only those of the very address when there are any."""
    exact: set[str] = set()
    other: set[str] = set()
    for table in ("net/tcp", "net/tcp6"):
        for socket in LISTENING_SOCKET.finditer(_read(PROC / table)):
            if int(socket["port"], 16) == port:
                (exact if socket["address"] == _kernel_form(host) else other).add(socket["inode"])
    return frozenset(exact or other)


def _kernel_form(host: str) -> str:
    """An IPv4 address as /proc/net/tcp writes it on little-endian machines; anything else matches nothing."""
    try:
        return IPv4Address(host).packed[::-1].hex().upper()
    except ValueError:
        return ""


def _processes() -> list[Path]:
    try:
        return [path for path in PROC.iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _socket_inodes(process: Path) -> set[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # the process ended meanwhile, or belongs to another user
        return set()
    return {_target(descriptor).removeprefix("socket:[").rstrip("]") for descriptor in descriptors}


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:  # closed meanwhile, as the descriptor of our own directory listing always is
        return ""


def _name(process: Path) -> str:
    return "".join(sign for sign in _read(process / "comm").strip() if sign.isprintable()) or "a program"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
