"""The AMI client of the daemon: many connections, one after the other.

Invariant: nothing asked during an outage is done after it. Who asks for an action while there is no connection is told
so at once; what the PBX did meanwhile is learnt from the lists that `on_connected` asks for.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from vochi_agent.errors import ActionFailed, LoginRefused, NotReachable, VochiError
from vochi_agent.protocols.ami import Message, Only
from vochi_agent.supervisor import REFUSED_WAIT_S, Backoff, keep_running

from .ami_connection import AmiConnection, AmiPeer, AmiTimeouts, Fields, connect

__all__ = ["AmiClient", "AmiConnection", "AmiPeer", "AmiState", "AmiTimeouts", "connect"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AmiState:
    """What `status` and the metrics show. Times are seconds since the epoch, by our clock.

    Attributes:
        connected_since: None while there is no connection.
        last_event_at: Of this connection, or of the last one while there is none.
        reconnects: Logins after the first.
        banner: The greeting of the last connection.
        clock_offset: The PBX's clock minus ours, seconds, as measured last.
        login_refused: The last attempt ended in a refused login.
        last_error: Why there is no connection; empty while there is one.
    """

    connected_since: float | None
    last_event_at: float | None
    reconnects: int
    banner: str
    clock_offset: float | None
    login_refused: bool
    last_error: str


class AmiClient:
    """Stays connected to one AMI.

    Args:
        peer: The AMI and our user there.
        on_event: Takes each event, in order; quick and synchronous.
        on_connected: Runs after every login, while events already come. It asks for the lists (`connection.feed`).
        on_disconnected: Called when that connection has ended, once for each login.
        wanted: Names of the events to read; None reads all.
        only: Which of them, see `AmiReader`.
        timeouts: Deadlines, see `AmiTimeouts`.
        backoff: Waits between attempts; 0.2 to 5 s with jitter unless given.
        refused_wait: Seconds between attempts while the login is refused.
        clock: Our clock, seconds since the epoch.
    """

    def __init__(
        self,
        peer: AmiPeer,
        *,
        on_event: Callable[[Message], None],
        on_connected: Callable[[AmiConnection], Awaitable[None]] | None = None,
        on_disconnected: Callable[[], None] | None = None,
        wanted: Collection[str] | None = None,
        only: Only | None = None,
        timeouts: AmiTimeouts | None = None,
        backoff: Backoff | None = None,
        refused_wait: float = REFUSED_WAIT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.peer = peer
        self._on_event = on_event
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._wanted = wanted
        self._only = only
        self._timeouts = timeouts
        self._backoff = backoff
        self._refused_wait = refused_wait
        self._clock = clock
        self._last: AmiConnection | None = None
        self._connected_since: float | None = None
        self._logins = 0
        self._error: VochiError | None = None

    async def run(self) -> None:
        """Connect and stay connected until cancelled."""
        await keep_running(f"AMI {self.peer}", self._live, backoff=self._backoff, refused_wait=self._refused_wait)

    @property
    def state(self) -> AmiState:
        """How it stands now."""
        last = self._last
        return AmiState(
            connected_since=self._connected_since,
            last_event_at=last.last_event_at if last else None,
            reconnects=max(0, self._logins - 1),
            banner=last.banner if last else "",
            clock_offset=last.clock_offset if last else None,
            login_refused=isinstance(self._error, LoginRefused),
            last_error=str(self._error) if self._error else "",
        )

    def pbx_time(self) -> float | None:
        """The PBX's clock now, seconds since the epoch; None without a connection and before its first Pong."""
        if self._last is None or self._connected_since is None or self._last.clock_offset is None:
            return None
        return self._clock() + self._last.clock_offset

    async def action(self, name: str, fields: Fields = (), within: float | None = None) -> Message:
        """As `AmiConnection.action`, on the connection of this moment. Raises NotReachable at once without one."""
        return await self._current(name).action(name, fields, within)

    async def list_action(self, name: str, fields: Fields = (), within: float | None = None) -> list[Message]:
        """As `AmiConnection.list_action`, on the connection of this moment."""
        return await self._current(name).list_action(name, fields, within)

    def _current(self, name: str) -> AmiConnection:
        if self._last is None or self._connected_since is None:
            raise NotReachable(f"{name} was not sent: AMI {self.peer} is not connected")
        return self._last

    async def _live(self, up: Callable[[], None]) -> None:
        try:
            async with connect(
                self.peer,
                on_event=self._on_event,
                wanted=self._wanted,
                only=self._only,
                timeouts=self._timeouts,
                clock=self._clock,
            ) as connection:
                self._last, self._connected_since, self._error = connection, self._clock(), None
                self._logins += 1
                up()
                try:
                    await self._take_stock(connection)
                    await connection.until_lost()
                finally:
                    self._connected_since = None
                    if self._on_disconnected is not None:
                        self._on_disconnected()
        except VochiError as exc:
            self._error = exc
            raise

    async def _take_stock(self, connection: AmiConnection) -> None:
        if self._on_connected is None:
            return
        try:
            await self._on_connected(connection)
        except ActionFailed as exc:
            # A right that our user lacks costs its lists, never the events that do come.
            log.warning("AMI %s refuses a list after the login: %s", self.peer, exc, extra={"action": "ami_refused"})
