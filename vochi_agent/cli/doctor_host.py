"""The parts of `doctor` that lie on this machine: the configuration, our ports, the daemon, the disk."""

import shutil
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.config import Address, Config, Enterprise
from vochi_agent.diagnosis import Finding, fine, problem, unknown, warning
from vochi_agent.errors import PortTaken
from vochi_agent.ports_in_use import listening_addresses, port_taken

__all__ = ["examine_configuration", "examine_daemon", "examine_disk", "examine_exposure", "examine_listener"]

LITTLE_BYTES: Final = 1 << 30
HTTP_PORTS: Final = {"http": 80, "https": 443}
TOO_LITTLE_BYTES: Final = 100 << 20


def examine_configuration(config: Config) -> list[Finding]:
    """What it describes."""
    names = ", ".join(enterprise.number for enterprise in config.enterprises)
    found = [fine("configuration", f"sound; enterprises: {names}")]
    found += [
        warning(
            "configuration",
            f"{enterprise.number} has no lines: every trunk is taken for something else, and no call has a customer",
            "one table [[enterprises.lines]] for every trunk",
        )
        for enterprise in config.enterprises
        if not enterprise.lines
    ]
    return found


def examine_daemon(status: Mapping[str, object] | None) -> list[Finding]:
    """Whether it runs; `status` is its own answer."""
    if status is None:
        return [warning("daemon", "it does not run", "systemctl start vochi-agent, or vochi-agent run")]
    sentence = f"version {status.get('version')} runs, pid {status.get('pid')}"
    if status.get("ready") is True:
        return [fine("daemon", sentence)]
    return [warning("daemon", f"{sentence}, and is not ready", "vochi-agent status says what it waits for")]


def examine_listener(name: str, listen: Address, *, runs: bool) -> list[Finding]:
    """A port of ours: served by the running daemon, free, or somebody else's.

    Args:
        name: The table of the configuration: fastagi or http.
        listen: Where.
        runs: The daemon of this configuration answers on its HTTP address.
    """
    found = [_exposure(name, listen)] if not ip_address(listen.host).is_loopback else []
    taken = _taken(name, listen)
    if taken is None:
        sentence = f"{listen} is free"
        if runs:
            cure = "restart the daemon: it still has another configuration"
            return [*found, warning(name, f"{sentence}, but the daemon runs", cure)]
        return [*found, fine(name, sentence)]
    if runs:
        return [*found, fine(name, f"the daemon listens on {listen}")]
    return [*found, problem(name, str(taken), f"stop that program, or choose another {name}.listen")]


def examine_disk(state_dir: Path, *, spool_bytes: int) -> list[Finding]:
    """Room for the embedded database and for what waits to be stored, at most `spool_bytes`."""
    try:
        place = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
        free = shutil.disk_usage(place).free
    except PermissionError as exc:
        sentence = f"{state_dir} is closed to this user ({exc.strerror})"
        return [unknown("disk", sentence, "call doctor as root or as the user of the daemon")]
    except OSError as exc:
        return [problem("disk", f"{state_dir} cannot be looked at: {exc.strerror}", "choose another daemon.state_dir")]
    sentence = f"{state_dir} has {free / (1 << 30):.1f} GiB left"
    if free < max(TOO_LITTLE_BYTES, spool_bytes):
        return [problem("disk", f"{sentence}: calls will be lost while PostgreSQL is away", "make room on that disk")]
    if free < LITTLE_BYTES:
        return [warning("disk", sentence, "make room on that disk")]
    return [fine("disk", sentence)]


def examine_exposure(enterprise: Enterprise) -> list[Finding]:
    """Who can reach the doors of a PBX; on this machine the kernel says it."""
    asterisk = enterprise.asterisk
    doors = [("ami", asterisk.ami, "manager.conf")]
    if asterisk.ari:
        parts = urlsplit(asterisk.ari)
        doors.append(("ari", Address(parts.hostname or "", parts.port or HTTP_PORTS[parts.scheme]), "http.conf"))
    return [finding for door in doors for finding in _door(enterprise.number, *door)]


def _door(number: str, name: str, address: Address, file: str) -> list[Finding]:
    part, what = f"{name} {number}", name.upper()
    try:
        is_here = address.host == "localhost" or ip_address(address.host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        sentence = f"{address} is another machine: who else reaches its {what} cannot be seen, nor is it encrypted"
        return [unknown(part, sentence, f"bindaddr in {file}, a firewall or a VPN: let this machine alone in")]
    open_to = sorted(each for each in listening_addresses(address.port) if not ip_address(each).is_loopback)
    if not open_to:
        return []
    sentence = f"port {address.port} listens on {', '.join(open_to)}: {what} is open to the network"
    return [warning(part, sentence, f"bindaddr = 127.0.0.1 in {file}, or a firewall")]


def _exposure(name: str, listen: Address) -> Finding:
    if name == "fastagi":
        sentence = f"{listen} is open to the network: FastAGI has no password, only fastagi.allow keeps others out"
    else:
        sentence = f"{listen} is open to the network: health, metrics and the phones of live calls have no password"
    return warning(name, sentence, f"{name}.listen on 127.0.0.1, or a firewall")


def _taken(name: str, listen: Address) -> PortTaken | None:
    """Why nobody could listen there now, None when somebody could; the port is given back at once."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(listen)
            probe.listen(1)
    except OSError as exc:
        return port_taken("FastAGI" if name == "fastagi" else "The HTTP server", *listen, exc)
    return None
