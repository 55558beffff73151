"""The daemon's HTTP server: one listener for health, metrics and whatever routes others bring.

Invariant: a port that cannot be bound is `PortTaken` with the name of its holder; on leaving, requests in flight get
a moment and the listener is gone; what strangers send costs no line of the log and is never unpacked.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from vochi_agent.config import Address
from vochi_agent.ports_in_use import port_taken

__all__ = ["serving"]

# Contract §7: a larger body is answered 413.
MAX_BODY_BYTES = 256 * 1024
SHUTDOWN_S = 2.0

# Of requests; aiohttp's own is the log of its other servers in this process, too.
log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(address: Address, routes: Iterable[web.AbstractRouteDef]) -> AsyncIterator[Address]:
    """Serve the routes while the block runs; yields the address with the real port where 0 was asked for.

    Raises:
        PortTaken: somebody else listens there.
    """
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.add_routes(routes)
    log.addFilter(_is_our_fault)
    runner = web.AppRunner(
        application,
        access_log=None,  # addresses of webhooks hold secrets
        logger=log,
        # A body that is packed grows a thousandfold, even while it is only passed over; no CRM packs its own.
        auto_decompress=False,
        shutdown_timeout=SHUTDOWN_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as exc:
            raise port_taken("The HTTP server", *address, exc) from exc
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whoever speaks no HTTP or breaks off has got his answer; a traceback for each would let anybody fill the disk."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError)
