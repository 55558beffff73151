"""The daemon's HTTP server: one listener for health, metrics and whatever routes others bring.

Invariant: a port that cannot be bound is `PortTaken` with the name of its holder; on leaving, requests in flight get
a moment and the listener is gone.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from vochi_agent.config import Address
from vochi_agent.ports_in_use import port_taken

__all__ = ["serving"]

# Contract §7: a larger body is answered 413.
MAX_BODY_BYTES = 256 * 1024
SHUTDOWN_S = 2.0


@asynccontextmanager
async def serving(address: Address, routes: Iterable[web.AbstractRouteDef]) -> AsyncIterator[Address]:
    """Serve the routes while the block runs; yields the address with the real port where 0 was asked for.

    Raises:
        PortTaken: somebody else listens there.
    """
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.add_routes(routes)
    # Addresses of webhooks hold secrets, so there is no access log.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as exc:
            raise port_taken("The HTTP server", *address, exc) from exc
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()
