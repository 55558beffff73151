"""The FastAGI server: answers the dialplan while a caller waits, so it is quick, bounded and harmless.

Invariants: every session ends, answered or not, within `deadline_s` of its accept; one command, its reply, the next;
`VOCHI_STATUS` is the last variable set, so an answer cut off in the middle never looks complete; a peer that
misbehaves costs its own session and leaves no task behind.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Self

from vochi_agent.ports_in_use import port_taken
from vochi_agent.protocols.agi import AgiRequest, set_variable
from vochi_agent.protocols.agi_pbx import encode_environment, encode_reply

from .fastagi_session import PING, STATUS, Answer, FastAgiStats, Script, Session

__all__ = ["Answer", "FastAgiServer", "FastAgiStats", "Script"]

log = logging.getLogger(__name__)

MAX_SESSIONS = 1000
# Asterisk waits 2 s for a connection when the accept queue is full, and its caller waits with it.
BACKLOG = 1024
# A scan of addresses must not fill the log.
MAX_NAMED_PEERS = 64


class FastAgiServer:
    """Listens while it is entered as a context manager; leaving it lets the sessions in hand end first.

    Attributes:
        host: The literal address it listens on.
        port: The port; when 0 was asked for, the one that was free.
        scripts: What answers each path.
        stats: Counters for metrics.
        deadline_s: Seconds from accept to the last variable, whatever happens.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scripts: Mapping[str, Script],
        allow: Sequence[IPv4Network | IPv6Network],
        deadline_s: float,
        observe: Callable[[float], None] | None = None,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        """Prepare; nothing is bound yet.

        Args:
            host: A literal address.
            port: 0 picks a free one.
            scripts: By the first part of the path; `ping` is the server's own.
            allow: Networks that may ask. A peer with our own address is this machine and always may.
            deadline_s: Seconds.
            observe: Called with the seconds of each answer, for a histogram.
            max_sessions: Connections beyond it are closed at once.
        """
        self.host = host
        self.port = port
        self.scripts: Mapping[str, Script] = {**scripts, PING: Script(_pong, lambda _request, status: {STATUS: status})}
        self.stats = FastAgiStats()
        self.deadline_s = deadline_s
        self._allow = tuple(allow)
        self._observe = observe
        self._max_sessions = max_sessions
        self._listener: asyncio.Server | None = None
        self._tasks = asyncio.TaskGroup()
        self._sessions: set[Session] = set()
        self._nobody = asyncio.Event()
        self._named_peers: set[str] = set()
        self._full = False
        self._late = False

    async def __aenter__(self) -> Self:
        """Bind the port.

        Raises:
            PortTaken: it cannot be bound; the message says who holds it.
        """
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Session(self), self.host, self.port, backlog=BACKLOG
            )
        except OSError as error:
            raise port_taken("FastAGI", self.host, self.port, error) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        await self._tasks.__aenter__()
        log.info("FastAGI listens on %s port %d", self.host, self.port, extra={"action": "agi_listen"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Accept no more; let the sessions in hand end by their deadlines, or cut them when something failed."""
        del error, traceback
        if self._listener:
            self._listener.close()
        try:
            while self._sessions and kind is None:
                self._nobody.clear()
                await self._nobody.wait()
        finally:
            for session in tuple(self._sessions):
                session.abort()
            # Not told of the error: it would come out wrapped in a group, and what is left was cancelled just now.
            await self._tasks.__aexit__(None, None, None)

    async def probe(self, timeout_s: float) -> bool:
        """Ask ourselves through the socket, as the dialplan would: is the door open, and does somebody answer?"""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(_reachable(self.host), self.port)
                try:
                    writer.write(encode_environment({"network_script": PING}))
                    answer = await reader.readline()
                    writer.write(encode_reply("1"))
                finally:
                    writer.close()
                return answer == set_variable(STATUS, "ok")
        return False

    def admit(self, session: Session, peer: str, own: str) -> bool:
        """Whether a new connection may go on: an allowed address, and room for it."""
        if peer != own and not self._is_allowed(peer):
            self.stats.refused += 1
            self._name(peer)
            return False
        if len(self._sessions) >= self._max_sessions:
            self.stats.overflows += 1
            if not self._full:
                log.warning("FastAGI is full with %d sessions", self._max_sessions, extra={"action": "agi_full"})
            self._full = True
            return False
        self._sessions.add(session)
        self.stats.in_flight = len(self._sessions)
        return True

    def start(self, session: Session, script: str) -> "asyncio.Task[None]":
        """Run the session's script in a task of the server's group."""
        return self._tasks.create_task(session.work(), name=f"agi-{script}")

    def answered(self, seconds: float) -> None:
        """Count an answer that Asterisk has wholly."""
        self.stats.answered += 1
        self.stats.seconds += seconds
        if self._observe:
            self._observe(seconds)

    def missed(self) -> None:
        """Count an answer given without its script; say so once until one is in time again."""
        self.stats.deadline_misses += 1
        if not self._late:
            log.warning(
                "FastAGI answers without waiting: more than %.1f s", self.deadline_s, extra={"action": "agi_late"}
            )
        self._late = True

    def in_time(self) -> None:
        """A script was done before its deadline."""
        if self._late:
            log.info("FastAGI answers in time again", extra={"action": "agi_in_time"})
        self._late = False

    def left(self, session: Session) -> None:
        """Forget a connection that is gone, also one that was not admitted."""
        self._sessions.discard(session)
        self.stats.in_flight = len(self._sessions)
        if not self._sessions:
            self._nobody.set()
        if self._full and len(self._sessions) <= self._max_sessions // 2:
            log.info("FastAGI has room again", extra={"action": "agi_room"})
            self._full = False

    def _is_allowed(self, peer: str) -> bool:
        address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._allow)

    def _name(self, peer: str) -> None:
        if peer in self._named_peers or len(self._named_peers) >= MAX_NAMED_PEERS:
            return
        self._named_peers.add(peer)
        log.warning("FastAGI refuses %s, which fastagi.allow does not name", peer, extra={"action": "agi_refused"})


async def _pong(request: AgiRequest, cut: float) -> Answer:
    """The probe's script; having been reached is all it has to say."""
    del request, cut
    return {STATUS: "ok"}


def _reachable(host: str) -> str:
    """Where a listener on every address is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
