"""panoramisk's FastAGI server as its documentation shows it, with a handler that says the same to everybody."""

import asyncio
import json
import sys
from collections.abc import Sequence

from panoramisk import fast_agi

from benchmarks.agi.servers import BACKLOG


async def serve(commands: Sequence[str]) -> None:
    """Until the input ends."""

    async def answer(request: fast_agi.Request) -> None:
        for command in commands:
            await request.send_command(command)

    application = fast_agi.Application(loop=asyncio.get_running_loop())
    application.add_route("callerid", answer)
    server = await asyncio.start_server(application.handler, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
