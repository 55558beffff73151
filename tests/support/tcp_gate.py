"""A TCP relay in front of a real server that can cut its connections, refuse new ones, or fall silent."""

import asyncio
from types import TracebackType
from typing import Self

from tests.support.ports import free_port

__all__ = ["TcpGate"]

CHUNK = 65536


class TcpGate:
    """Relays `port` to the server on 127.0.0.1:`target` while it is open."""

    def __init__(self, target: int) -> None:
        # Below the ephemeral range: nobody takes it while the gate is closed.
        self.port = free_port()
        self._target = target
        self._flowing, self._ending = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._ending.set()
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Accept and relay, on the same port as before."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Cut every connection and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def freeze(self) -> None:
        """Keep connections, pass nothing on: a server that fell silent."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on what was held back."""
        self._flowing.set()

    def hold_ends(self) -> None:
        """Pass on what is said, but not that a side has hung up: the last packet of a connection is lost."""
        self._ending.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        upstream_writer = None
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, upstream_writer), name="gate: up")
                group.create_task(self._pump(upstream_reader, writer), name="gate: down")
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            return  # the test cut it, or a side went away
        finally:
            writer.close()
            if upstream_writer is not None:
                upstream_writer.close()
            self._relays.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._flowing.wait()
            writer.write(chunk)
            await writer.drain()
        await self._ending.wait()
        writer.close()
