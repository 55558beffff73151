"""One FastAGI connection as a small machine of callbacks: header, work, replies, closed. See `fastagi` for the whole.

Only the script runs in a task; everything else happens in the callbacks of the transport and of one timer, because
this is the path a ringing telephone waits for. Each phase but the last has its moment to end, so no session can outlive
it; one timer serves them all.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, cast

from vochi_agent.errors import RemoteProtocolError
from vochi_agent.log import about_call
from vochi_agent.protocols.agi import AgiEvent, AgiHangup, AgiReader, AgiReply, AgiRequest, set_variable

__all__ = ["PING", "STATUS", "Answer", "Door", "FastAgiStats", "Script", "Session"]

log = logging.getLogger(__name__)

HEADER_TIMEOUT_S = 2.0
# Kept of the deadline for setting the variables: seven round trips on loopback take 1.5 ms.
SENDING_RESERVE_S = 0.1
# uvloop's clock counts whole milliseconds: a timer may ring so much too early.
CLOCK_S = 0.001
OK = 200
PING = "ping"
STATUS = "VOCHI_STATUS"

NOT_ASKED = AgiRequest()

Answer = Mapping[str, str]
"""Variables to set, in this order; `VOCHI_STATUS` is moved to the end."""


@dataclass(frozen=True, slots=True)
class Script:
    """What answers one path, as in `agi://host/callerid`.

    Attributes:
        answer: Gets the request and the moment by the event loop's clock at which it is interrupted.
        fallback: What to say instead, at once and without waiting for anything; gets the request and the status,
            "timeout" or "error".
    """

    answer: Callable[[AgiRequest, float], Awaitable[Answer]]
    fallback: Callable[[AgiRequest, str], Answer]


@dataclass(slots=True)
class FastAgiStats:
    """Counters since the start; the server's own probes are in none of them but `in_flight`.

    Attributes:
        in_flight: Connections open now.
        requests: Complete requests.
        answered: Answers that Asterisk acknowledged to the last variable.
        deadline_misses: Fallbacks sent because the script was not done in time.
        errors: Scripts that failed or do not exist.
        hangups: Callers who were gone before the answer was complete.
        broken: Peers that do not speak AGI, say too much, or say nothing for too long.
        rejected_commands: Variables that Asterisk did not take.
        refused: Connections from addresses that are not allowed.
        overflows: Connections beyond the limit.
        seconds: Sum of the times from accept to the last reply over all answers.
    """

    in_flight: int = 0
    requests: int = 0
    answered: int = 0
    deadline_misses: int = 0
    errors: int = 0
    hangups: int = 0
    broken: int = 0
    rejected_commands: int = 0
    refused: int = 0
    overflows: int = 0
    seconds: float = 0.0


class Door(Protocol):
    """What a session needs from its server."""

    scripts: Mapping[str, Script]
    stats: FastAgiStats
    deadline_s: float

    def admit(self, session: "Session", peer: str, own: str) -> bool:
        """Whether the connection may go on."""
        ...

    def start(self, session: "Session", script: str) -> "asyncio.Task[None]":
        """Run `session.work()` in a task that the server owns."""
        ...

    def answered(self, seconds: float) -> None:
        """Asterisk has acknowledged the whole answer."""
        ...

    def missed(self) -> None:
        """A script was not done in time."""
        ...

    def in_time(self) -> None:
        """A script was done before its deadline."""
        ...

    def left(self, session: "Session") -> None:
        """The connection is gone."""
        ...


class Phase(Enum):
    """Where a session stands; it only moves down."""

    HEADER = auto()
    WORK = auto()
    REPLIES = auto()
    CLOSED = auto()


# By the name of the class each costs three times as much, and every reply asks for two.
HEADER, WORK, REPLIES, CLOSED = Phase


class Session(asyncio.Protocol):
    """One connection from Asterisk."""

    __slots__ = (
        "_accepted",
        "_began",
        "_commands",
        "_door",
        "_due",
        "_loop",
        "_phase",
        "_reader",
        "_request",
        "_script",
        "_task",
        "_then",
        "_timer",
        "_transport",
    )

    def __init__(self, door: Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._reader = AgiReader()
        self._phase = HEADER
        self._transport: asyncio.Transport
        self._accepted = 0.0
        self._began = 0.0
        self._due = 0.0
        self._then: Callable[[], None] = self._drop
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._request = NOT_ASKED
        self._script: Script
        self._commands: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected; `peername` is None when it is gone already."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        own = transport.get_extra_info("sockname")
        if peer is None or own is None or not self._door.admit(self, peer[0], own[0]):
            self.abort()
            return
        self._accepted = self._loop.time()
        self._began = time.perf_counter()
        self._due = self._accepted + min(HEADER_TIMEOUT_S, self._door.deadline_s)
        # The first moment at which any phase may have to end.
        self._timer = self._loop.call_at(min(self._due, self._cut), self._ring)

    def data_received(self, data: bytes) -> None:
        """Bytes from Asterisk."""
        if self._phase is CLOSED:
            return
        try:
            events = self._reader.feed(data)
        except RemoteProtocolError as error:
            log.debug("FastAGI drops a peer: %s", error, extra={"action": "agi_broken"})
            self._drop()
            return
        for event in events:
            self._take(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer closed, or we did. A caller who hung up in the middle needs no answer any more."""
        del exc
        if self._phase in (WORK, REPLIES):
            self._door.stats.hangups += 1
        self._enter(CLOSED)
        self._door.left(self)

    def abort(self) -> None:
        """End now, whatever is in hand."""
        self._enter(CLOSED)
        self._transport.abort()

    async def work(self) -> None:
        """Run the script and begin to send what it says; the one place where any exception of a script ends."""
        with about_call(self._request.uniqueid):
            try:
                commands = _commands(await self._script.answer(self._request, self._cut))
            except Exception:
                log.exception("FastAGI script %r failed", self._request.script, extra={"action": "agi_error"})
                self._door.stats.errors += 1
                commands = self._fallback("error")
        self._task = None
        if self._phase is WORK:  # else it was interrupted, but did not let itself be
            self._door.in_time()
            self._send(commands)

    @property
    def _cut(self) -> float:
        """When the script is interrupted, by the loop's clock: early enough to say something else in time."""
        deadline_s = self._door.deadline_s
        return self._accepted + deadline_s - min(SENDING_RESERVE_S, deadline_s / 4)

    def _take(self, event: AgiEvent) -> None:
        match event:
            case AgiReply() if self._phase is REPLIES:
                self._go_on(event)
            case _ if self._phase is CLOSED:
                return
            case AgiRequest():
                self._begin(event)
            case AgiHangup():
                self._door.stats.hangups += 1
                self.abort()
            case AgiReply():
                self._drop()

    def _begin(self, request: AgiRequest) -> None:
        self._request = request
        if request.script != PING:
            self._door.stats.requests += 1
        script = self._door.scripts.get(request.script)
        if script is None:
            log.warning("FastAGI has no script %r", request.script[:50], extra={"action": "agi_unknown_script"})
            self._door.stats.errors += 1
            self._send(_commands({STATUS: "error"}))
            return
        self._script = script
        self._enter(WORK)
        self._wait_until(self._cut, self._interrupt)
        self._task = self._door.start(self, request.script)

    def _interrupt(self) -> None:
        """The script is late: answer without it. Its task is cancelled, not waited for."""
        self._door.missed()
        with about_call(self._request.uniqueid):
            self._send(self._fallback("timeout"))

    def _fallback(self, status: str) -> list[bytes]:
        try:
            return _commands(self._script.fallback(self._request, status))
        except Exception:
            log.exception("FastAGI fallback of %r failed", self._request.script, extra={"action": "agi_error"})
            self._door.stats.errors += 1
            return _commands({STATUS: "error"})

    def _send(self, commands: list[bytes]) -> None:
        """Begin to set the variables; from here the whole answer has what is left of the deadline."""
        self._enter(REPLIES)
        self._wait_until(self._accepted + self._door.deadline_s, self._drop)
        self._commands = commands[::-1]
        self._send_next()

    def _go_on(self, reply: AgiReply) -> None:
        if reply.code != OK:
            self._door.stats.rejected_commands += 1
            sentence = "Asterisk did not take a variable: %d %r"
            log.warning(sentence, reply.code, reply.data[:100], extra={"action": "agi_rejected"})
        self._send_next()

    def _send_next(self) -> None:
        if self._commands:
            self._transport.write(self._commands.pop())
            return
        self._enter(CLOSED)
        self._transport.close()
        if self._request.script != PING:
            self._door.answered(time.perf_counter() - self._began)

    def _drop(self) -> None:
        """The peer does not speak AGI, or is too slow."""
        self._door.stats.broken += 1
        self.abort()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if self._timer and phase is CLOSED:
            self._timer.cancel()
            self._timer = None
        if self._task:
            self._task.cancel()
            self._task = None

    def _wait_until(self, when: float, then: Callable[[], None]) -> None:
        """`then` at that moment, unless another phase has begun; a timer that rings before is left to ring."""
        self._due, self._then = when, then
        if self._timer and self._timer.when() > when:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() + CLOCK_S < self._due:
            self._wait_until(self._due, self._then)
        else:
            self._then()


def _commands(answer: Answer) -> list[bytes]:
    """The status stands last: a dialplan that finds it knows that everything before it was set."""
    ordered = {name: value for name, value in answer.items() if name != STATUS}
    if STATUS in answer:
        ordered[STATUS] = answer[STATUS]
    return [set_variable(name, value) for name, value in ordered.items()]
