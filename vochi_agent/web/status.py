"""`/status`: what the running daemon sees, as one JSON object, for `vochi-agent status` and for people with curl."""

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from .health import NEVER_STORED

__all__ = ["STATUS_PATH", "status_routes"]

STATUS_PATH = "/status"


def status_routes(status: Callable[[], Mapping[str, object]]) -> Sequence[web.AbstractRouteDef]:
    """`/status`; the mapping holds plain JSON values and no secrets, and is made anew for every request."""

    async def show(_: web.Request) -> web.Response:
        return web.json_response(dict(status()), headers=NEVER_STORED)

    return [web.get(STATUS_PATH, show)]
