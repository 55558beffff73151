"""A FastAGI server for tests of the dialplan, independent of the product's: it answers, or keeps silent."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["FastAgi", "Request", "black_hole"]

READ_TIMEOUT_S = 10.0
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Request:
    """What Asterisk asked.

    Attributes:
        at: When, in seconds since the epoch.
        environment: Without `agi_`.
        replies: To what we sent.
    """

    at: float
    environment: Mapping[str, str]
    replies: Sequence[str]


class FastAgi:
    """Sets the same variables for everybody, in the order given.

    Attributes:
        answer: Variables to set; may be changed between calls.
        mute: Accepts, reads, and never says anything.
        requests: Everything that was asked.
        gone: A permit for each connection that Asterisk has ended.
    """

    def __init__(
        self, port: int, answer: Mapping[str, str] | None = None, *, mute: bool = False, host: str = "127.0.0.1"
    ) -> None:
        self.answer = dict(answer or {})
        self.mute = mute
        self.requests: list[Request] = []
        self.gone = asyncio.Semaphore(0)
        self._host, self._port = host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, backlog=BACKLOG)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies: list[str] = []
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT_S):
                environment = await _environment(reader)
                self.requests.append(Request(time.time(), environment, replies))
                if self.mute:
                    await reader.read()
                for name, value in {} if self.mute else self.answer.items():
                    # One command and its reply at a time: Asterisk loses a second one in the same segment.
                    writer.write(f'SET VARIABLE {name} "{value}"\n'.encode())
                    replies.append((await reader.readline()).decode().rstrip())
        writer.close()
        self.gone.release()


async def _environment(reader: asyncio.StreamReader) -> dict[str, str]:
    environment: dict[str, str] = {}
    while line := (await reader.readline()).decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        environment[name.removeprefix("agi_")] = value
    return environment


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """A port whose queue of connections is full: whoever connects gets no answer at all, not even a refusal."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)  # noqa: FBT003 - socket has no keyword for it
            client.connect_ex(("127.0.0.1", port))
        yield
