"""What systemd is told: ready, status, watchdog, reloading, stopping (sd_notify(3)).

Invariant: a message that cannot be delivered is dropped; the daemon's work never depends on systemd.
"""

import logging
import socket
import time

from vochi_agent.log import visible

__all__ = ["Notifier"]

log = logging.getLogger(__name__)


class Notifier:
    """Sends datagrams to systemd's socket; silent without one.

    Args:
        address: `$NOTIFY_SOCKET`: a path, or `@name` for a socket in the abstract namespace.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line in words for `systemctl status`."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """The event loop turns."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        # systemd 253 and later tell this from an earlier reload by the monotonic time (Type=notify-reload requires it),
        # older ones read the first line alone. With Type=notify `systemctl reload` waits for `ready` as well, unless it
        # heard of the end of ExecReload first (seen on 252 of Debian 12).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as outlet:
            try:
                outlet.sendto("\n".join(assignments).encode(), address)
            except OSError as exc:
                log.debug("systemd could not be notified: %s", exc, extra={"action": "notify_failed"})


def _status(text: str) -> str:
    """One line, for `systemctl status` prints it as it is, whatever a PBX said when it refused us."""
    return "STATUS=" + visible(" ".join(text.split()))
