"""Many dialplans at once, as cheap as Python can play them: plain sockets on one epoll, no object a session.

Each is a session as Asterisk has it: connect, the environment, a reply to each command, until the server closes. A
server says one command and waits, so its next bytes are the next command: they are replied to at once, counted, and
read together at the end.
"""

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from benchmarks.agi.servers import Server
from vochi_agent.protocols.agi_pbx import AgiCommandReader, encode_reply

__all__ = ["Traffic", "commands_of", "traffic"]

REPLY: Final = encode_reply("1")
PATIENCE_S: Final = 10.0
EACH_ARRIVAL: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
OVER: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was seen of so many sessions.

    Attributes:
        sessions: How many.
        per_second: As above.
        server_us: User and system time of the server's process a session, in microseconds.
        server_busy: Share of the time in which the server had its core; near 1 the asker was not what held it up.
        asker_busy: The same of this process.
        p50_ms: Half of the sessions took no longer, from the connect to the server's end of the connection.
        p99_ms: As above, ninety-nine of a hundred.
    """

    sessions: int
    per_second: float
    server_us: float
    server_busy: float
    asker_busy: float
    p50_ms: float
    p99_ms: float


def commands_of(port: int, environment: bytes) -> list[str]:
    """The commands that a server says to one caller, read as carefully as Asterisk does."""
    said: list[str] = []
    reader = AgiCommandReader()
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as call:
        call.sendall(environment)
        pending = b""
        while data := call.recv(8192):
            pending += data
            if reader.feed(data) is not None:
                said.append(pending.decode().removesuffix("\n"))
                pending = b""
                call.sendall(REPLY)
    return said


def traffic(server: Server, callers: Iterator[bytes], *, in_flight: int, seconds: float, commands: int) -> Traffic:
    """Ask for so long with always so many sessions in flight.

    Args:
        callers: The environments, one after the other; endless.
        commands: How many each session has to be told.

    Raises:
        RuntimeError: a session was told fewer or more, or nothing more for seconds.
    """
    clock, took = time.perf_counter, []
    with _Askers(server.port, callers, commands) as askers:
        server_s, asker_s, began = server.cpu_s(), time.process_time(), clock()
        for _ in range(in_flight):
            askers.begin()
        until = began + seconds
        while askers.calls:
            for lasted in askers.step():
                took.append(lasted)
                if clock() < until:
                    askers.begin()
        lasted = clock() - began
        server_s, asker_s = server.cpu_s() - server_s, time.process_time() - asker_s
    took.sort()
    return Traffic(
        sessions=len(took),
        per_second=len(took) / lasted,
        server_us=server_s / len(took) * 1e6,
        server_busy=server_s / lasted,
        asker_busy=asker_s / lasted,
        p50_ms=took[len(took) // 2] * 1000,
        p99_ms=took[int(len(took) * 0.99)] * 1000,
    )


class _Askers:
    """The sessions in flight: by descriptor the socket and the moment of the connect."""

    def __init__(self, port: int, callers: Iterator[bytes], commands: int) -> None:
        self.calls: dict[int, tuple[socket.socket, float]] = {}
        self._address = ("127.0.0.1", port)
        self._callers = callers
        self._commands = commands
        self._epoll = select.epoll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for call, _began in self.calls.values():
            call.close()
        self._epoll.close()

    def begin(self) -> None:
        began = time.perf_counter()
        call = socket.socket()
        call.connect(self._address)
        call.send(next(self._callers))
        self.calls[call.fileno()] = call, began
        self._epoll.register(call, EACH_ARRIVAL)

    def step(self) -> Iterator[float]:
        """Take what has come; yields the seconds of each session that is over."""
        ready = self._epoll.poll(PATIENCE_S)
        if not ready:
            raise RuntimeError("the server keeps its callers waiting")
        for descriptor, what in ready:
            call, began = self.calls[descriptor]
            if not what & OVER:
                call.send(REPLY)
                continue
            said = call.recv(65536)
            call.close()
            del self.calls[descriptor]
            if said.count(b"\n") != self._commands:
                raise RuntimeError(f"a session was told {said.count(10)} commands instead of {self._commands}")
            yield time.perf_counter() - began
