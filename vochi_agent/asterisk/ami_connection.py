"""One life of an AMI connection: connect, log in, carry actions and events until it breaks.

Invariants: events reach the callback in the order they came, from inside the read loop; an action is written once and
never repeated by itself; what is pending fails when the connection does.

The callback is synchronous and must be quick: nothing more is read from the socket while it runs. That bounds memory in
a flood. What waits, waits in the kernel and in Asterisk, which holds events for a slow reader and drops it after
`writetimeout`.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from vochi_agent.errors import ActionFailed, ConnectionLost, LoginRefused, NotReachable, RemoteProtocolError
from vochi_agent.protocols.ami import AmiReader, Message, Only, encode_action

from .clock import epoch_of

__all__ = ["AmiConnection", "AmiPeer", "AmiTimeouts", "Fields", "connect"]

READ_BYTES = 1 << 16
GREETING = "Asterisk Call Manager"

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
Clock = Callable[[], float]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AmiPeer:
    """Where an AMI listens and who we are there."""

    host: str
    port: int
    username: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmiTimeouts:
    """Seconds. A peer that vanished without a word is noticed after `ping_every + pong` at most, here 9."""

    connect: float = 5.0
    login: float = 5.0
    action: float = 10.0
    ping_every: float = 5.0
    pong: float = 4.0


@dataclass(slots=True)
class _Exchange:
    """An action on its way. `sink` takes the items of a list; without it the first response is the answer."""

    name: str
    answered: asyncio.Future[Message]
    sink: Callable[[Message], None] | None

    def receive_response(self, message: Message) -> None:
        if self.answered.done():
            return
        if message.response == "Error":
            self.answered.set_exception(ActionFailed(f"{self.name}: {message.get('Message', 'no reason given')}"))
        elif self.sink is None or message.get("EventList").lower() != "start":
            self.answered.set_result(message)

    def receive_item(self, message: Message) -> None:
        if self.sink is not None:
            self.sink(message)
            # Only the event that closes a list (Complete, Cancelled) has this header.
            if "EventList" in message and not self.answered.done():
                self.answered.set_result(message)


class AmiConnection:
    """A connection that is logged in, as `connect` yields it.

    Attributes:
        banner: Asterisk's greeting.
        last_event_at: When the last event came, by our clock; None before the first.
        clock_offset: The PBX's clock minus ours, seconds, measured at every Pong; None before the first.
    """

    def __init__(
        self,
        stream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        on_event: Callable[[Message], None] | None = None,
        wanted: Collection[str] | None = None,
        only: Only | None = None,
        timeouts: AmiTimeouts | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.last_event_at: float | None = None
        self.clock_offset: float | None = None
        self._stream = stream
        self._writer = writer
        self._reader = AmiReader(wanted if on_event else (), only=only)
        self._on_event = on_event
        self._wanted = wanted
        self._timeouts = timeouts or AmiTimeouts()
        self._clock = clock
        # Everybody on the PBX sees the ActionID of an Originate or UserEvent, so ours must not collide with theirs.
        self._action_ids = f"vochi-{secrets.token_hex(4)}"
        self._serial = 0
        self._pending: dict[str, _Exchange] = {}
        self._received = 0
        self._usable = False

    @property
    def banner(self) -> str:
        """Asterisk's greeting, with the version of its AMI."""
        return self._reader.banner or ""

    async def action(self, name: str, fields: Fields = (), within: float | None = None) -> Message:
        """Send an action once and return its response.

        Raises:
            ActionFailed: the PBX answered with an error.
            NotReachable: no answer within so many seconds; whether it was done is unknown.
            ConnectionLost: the connection ended before the answer, or had ended before.
            LocalProtocolError: a field would break out of its line; nothing was sent.
        """
        sent_at = self._clock()
        answer = await self._exchange(name, fields, within)
        if name == "Ping":
            self._measure_clock(answer, sent_at)
        return answer

    async def list_action(self, name: str, fields: Fields = (), within: float | None = None) -> list[Message]:
        """Send an action that answers with a list, and return its items. Raises as `action` does."""
        items: list[Message] = []
        await self._exchange(name, fields, within, items.append)
        return [item for item in items if "EventList" not in item]

    async def feed(self, name: str, fields: Fields = (), within: float | None = None) -> None:
        """Send an action that answers with a list, and give each item to the event callback, the closing one too.

        The items take their place among the live events in the order of the wire. So a channel that hangs up while
        the list is under way cannot come to life again. Raises as `action` does.
        """
        await self._exchange(name, fields, within, self._deliver)

    async def until_lost(self) -> NoReturn:
        """Wait for the end; `connect` then raises the reason from the `async with`."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the future is never resolved")

    @asynccontextmanager
    async def life(self, peer: AmiPeer) -> AsyncIterator[None]:
        """Log in, carry traffic while the block runs, close. Raises as `connect` does, which is the way to call it."""
        try:
            await self._greet()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(), name=f"AMI {peer}: read")
                await self._log_in(peer)
                pinging = tasks.create_task(self._keep_alive(), name=f"AMI {peer}: ping")
                yield
                pinging.cancel()
                reading.cancel()
        except BaseExceptionGroup as group:
            raise _reason(group)  # noqa: B904 - the group is its context; its own cause stays
        finally:
            # Nothing is worth flushing, and a half-open peer would never take it.
            self._writer.transport.abort()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _exchange(
        self, name: str, fields: Fields, within: float | None, sink: Callable[[Message], None] | None = None
    ) -> Message:
        if not self._usable:
            raise ConnectionLost(f"{name} was not sent: the AMI connection has ended")
        self._serial += 1
        action_id = f"{self._action_ids}-{self._serial}"
        wire = encode_action(name, fields, action_id)
        exchange = _Exchange(name, asyncio.get_running_loop().create_future(), sink)
        self._pending[action_id] = exchange
        seconds = self._timeouts.action if within is None else within
        try:
            async with asyncio.timeout(seconds):
                # No drain(): actions are small, and a peer that does not read them is dropped by the next Ping.
                self._writer.write(wire)
                return await exchange.answered
        except TimeoutError as exc:
            raise NotReachable(f"{name} was not answered within {seconds:g} s") from exc
        finally:
            del self._pending[action_id]

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.login):
                while self._reader.banner is None:
                    self._reader.receive_data(await self._read_some())
        except TimeoutError as exc:
            raise NotReachable("connected, but nothing greets us there") from exc
        if not self.banner.startswith(GREETING):
            raise RemoteProtocolError(f"no Asterisk answers there, but {self.banner[:60]!r}")
        self._usable = True

    async def _log_in(self, peer: AmiPeer) -> None:
        try:
            challenge = await self._exchange("Challenge", {"AuthType": "MD5"}, self._timeouts.login)
        except ActionFailed:
            proof = {"Secret": peer.secret}
        else:
            key = hashlib.md5((challenge.get("Challenge") + peer.secret).encode(), usedforsecurity=False)
            proof = {"AuthType": "MD5", "Key": key.hexdigest()}
        events = "on" if self._on_event else "off"
        fields = {"Username": peer.username, **proof, "Events": events}
        try:
            await self._exchange("Login", fields, self._timeouts.login)
        except ActionFailed as exc:
            raise LoginRefused(f"AMI user {peer.username!r} is not let in ({exc})") from exc

    async def _read(self) -> NoReturn:
        # The deadline of this read is the Ping: silence ends the connection from _keep_alive().
        try:
            while True:
                data = await self._read_some()
                for message in self._reader.receive_data(data, answers=bool(self._pending)):
                    self._receive(message)
        finally:
            self._end()

    async def _read_some(self) -> bytes:
        try:
            data = await self._stream.read(READ_BYTES)
        except OSError as exc:
            raise ConnectionLost(f"the connection broke: {exc}") from exc
        if not data:
            raise ConnectionLost("the PBX closed the connection")
        self._received += 1
        return data

    async def _keep_alive(self) -> NoReturn:
        while True:
            received = self._received
            try:
                await self.action("Ping", within=self._timeouts.pong)
            except ConnectionLost:
                raise
            except ActionFailed:
                pass  # an Asterisk that shuts down refuses everything until its last call has ended, and is alive
            except NotReachable as exc:
                # A Pong may be late behind a flood of events; while anything comes at all, the peer lives.
                if self._received == received:
                    raise ConnectionLost(f"the PBX was silent for {self._timeouts.pong:g} s after a Ping") from exc
            await asyncio.sleep(self._timeouts.ping_every)

    def _measure_clock(self, pong: Message, sent_at: float) -> None:
        at = epoch_of(pong.get("Timestamp"))
        if at is not None:
            self.clock_offset = at - (sent_at + self._clock()) / 2

    def _receive(self, message: Message) -> None:
        exchange = self._pending.get(message.action_id) if self._pending else None
        if message.response:
            if exchange is not None:
                exchange.receive_response(message)
        elif exchange is not None and exchange.sink is not None:
            exchange.receive_item(message)
        elif self._wanted is None or message.event in self._wanted:
            # Asked again here: the reader lets through what carries any ActionID, such as a list given up long ago.
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        if self._on_event is None:
            return
        self.last_event_at = self._clock()
        try:
            self._on_event(message)
        except Exception:
            log.exception("An AMI event was dropped: %s", message.event, extra={"action": "ami_event_failed"})

    def _end(self) -> None:
        self._usable = False
        for exchange in self._pending.values():
            if not exchange.answered.done():
                exchange.answered.set_exception(
                    ConnectionLost(f"{exchange.name}: the AMI connection ended before the answer")
                )


@asynccontextmanager
async def connect(
    peer: AmiPeer,
    *,
    on_event: Callable[[Message], None] | None = None,
    wanted: Collection[str] | None = None,
    only: Only | None = None,
    timeouts: AmiTimeouts | None = None,
    clock: Clock = time.time,
) -> AsyncIterator[AmiConnection]:
    """A connection that is logged in, closed when the block is left. When it breaks, the block is cancelled.

    Args:
        peer: Whom to call.
        on_event: Takes each event, in order; quick and synchronous. Without it no events are asked for.
        wanted: Names of the events to read; None reads all. Items of lists that we ask for come in any case.
        only: Which of them, see `AmiReader`.
        timeouts: Deadlines of everything that waits for the PBX.
        clock: Our clock, seconds since the epoch.

    Raises:
        NotReachable: nobody listens or answers there.
        LoginRefused: the PBX does not accept the user.
        ConnectionLost: it broke, or fell silent.
        RemoteProtocolError: who listens there does not speak AMI.
    """
    timeouts = timeouts or AmiTimeouts()
    stream, writer = await _open(peer, timeouts.connect)
    connection = AmiConnection(
        stream, writer, on_event=on_event, wanted=wanted, only=only, timeouts=timeouts, clock=clock
    )
    async with connection.life(peer):
        yield connection


async def _open(peer: AmiPeer, seconds: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.open_connection(peer.host, peer.port, limit=READ_BYTES)
    except TimeoutError as exc:
        raise NotReachable(f"{peer} does not take a connection within {seconds:g} s") from exc
    except OSError as exc:
        raise NotReachable(f"{peer} takes no connection: {exc.strerror or exc}") from exc


def _reason(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Why the block ended: a lost connection fails the block's own actions too, so anything else says more."""
    reasons = group.exceptions
    return next((reason for reason in reasons if not isinstance(reason, ConnectionLost)), reasons[0])
