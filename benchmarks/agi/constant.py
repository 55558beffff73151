"""The limit: a bare `asyncio.Protocol` on uvloop that says the same commands to everybody and knows nothing else.

It reads no field and no reply, has no deadline, no list of who may ask, and meets only peers that behave.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

from benchmarks.agi.servers import BACKLOG

END: Final = b"\n\n"


class Constant(asyncio.Protocol):
    """One session: the end of the environment, then each reply, asks for the next command."""

    def __init__(self, commands: Sequence[bytes]) -> None:
        self._commands = commands
        self._said = 0
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Say the next one, or close."""
        if not self._said:
            # Asterisk writes line by line: the empty one may come alone.
            self._read = (self._read + data)[-len(END) :]
            if self._read != END:
                return
        if self._said == len(self._commands):
            self._transport.close()
            return
        self._transport.write(self._commands[self._said])
        self._said += 1


async def serve(commands: Sequence[bytes]) -> None:
    """Until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Constant(commands), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve([f"{command}\n".encode() for command in json.loads(sys.argv[1])]))
