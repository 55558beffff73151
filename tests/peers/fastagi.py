"""panoramisk's FastAGI server and ours: what one bad connection does to the next call."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from panoramisk import fast_agi

from tests.peers.finding import Finding
from vochi_agent.asterisk.fastagi import FastAgiServer
from vochi_agent.protocols.agi import set_variable

HEARTBEAT_S = 0.05
WATCHED_FOR_S = 2.0
ENVIRONMENT = b"agi_network: yes\nagi_network_script: name\n\n"
HOSTILE_NAME = 'x"\nEXEC System "id'
TIMEOUT_S = 5.0


class PanoramiskServer:
    """Its server on an event loop of its own thread, with a heartbeat that shows whether the loop turns."""

    def __init__(self) -> None:
        self.port = 0
        self.beats = 0
        self.listening = threading.Event()

    async def run(self) -> None:
        """Serve and beat for ever."""
        application = fast_agi.Application(loop=asyncio.get_running_loop())
        application.add_route("name", self.answer)
        server = await asyncio.start_server(application.handler, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        while True:
            self.beats += 1
            await asyncio.sleep(HEARTBEAT_S)

    async def answer(self, request: fast_agi.Request) -> None:
        """As its documentation shows it: the command is a string."""
        await request.send_command(f'SET VARIABLE CALLERID(name) "{HOSTILE_NAME}"')


@contextmanager
def panoramisk() -> Iterator[PanoramiskServer]:
    """The server, listening. Its thread may be past stopping; the trial's process ends with os._exit()."""
    server = PanoramiskServer()
    threading.Thread(target=lambda: asyncio.run(server.run()), daemon=True).start()
    server.listening.wait(TIMEOUT_S)
    yield server


def close_early() -> Finding:
    """A health check or a port scan: connect, say nothing, close."""
    with panoramisk() as server:
        socket.create_connection(("127.0.0.1", server.port)).close()
        before = server.beats
        time.sleep(WATCHED_FOR_S)
        beats = server.beats - before
    answered = asyncio.run(_ours_after_an_early_close())
    due = round(WATCHED_FOR_S / HEARTBEAT_S)
    return Finding(
        defect="FastAGI: a connection that closes at once",
        peer=f"the event loop stops: {beats} of {due} heartbeats",
        ours="the next call is answered" if answered else "no answer",
        reproduced=beats < due / 4 and answered,
    )


async def _ours_after_an_early_close() -> bool:
    async with FastAgiServer(
        "127.0.0.1", 0, scripts={}, allow=[ip_network("127.0.0.0/8")], deadline_s=TIMEOUT_S
    ) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await writer.wait_closed()
        return await server.probe(TIMEOUT_S)


def newline_in_a_name() -> Finding:
    """A customer's name with a newline and a quote goes into SET VARIABLE."""
    with panoramisk() as server, socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as call:
        call.sendall(ENVIRONMENT)
        commands = call.recv(4096).splitlines()
    ours = set_variable("CALLERID(name)", HOSTILE_NAME).splitlines()
    injected = any(command.startswith(b"EXEC System") for command in commands)
    return Finding(
        defect="FastAGI: a newline in the name that is set",
        peer="a second command, EXEC System, is sent" if injected else "one command",
        ours="one command, the newline left out" if len(ours) == 1 else "more than one command",
        reproduced=injected and len(ours) == 1,
    )


def leave() -> None:
    """End the process even though a thread spins."""
    os._exit(0)
