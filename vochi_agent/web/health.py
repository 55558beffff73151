"""Health and metrics for whoever watches the daemon: a load balancer, Prometheus, a person with curl.

Invariant: liveness depends on nothing but the event loop; a part that is down is shown, never raised.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

__all__ = ["Part", "health_routes", "is_ready"]

NEVER_STORED = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The state of one part of the daemon.

    Attributes:
        up: It works right now.
        needed_for: Parts with the same word stand in for each other: the daemon is ready while at least one of them
            is up ("database", "ami"). "" when readiness does not depend on it.
        detail: A sentence for people, without secrets.
    """

    up: bool
    needed_for: str = ""
    detail: str = ""


def is_ready(parts: Mapping[str, Part]) -> bool:
    """Everything that is needed has at least one part that is up."""
    needed = {part.needed_for for part in parts.values() if part.needed_for}
    return needed <= {part.needed_for for part in parts.values() if part.up}


def health_routes(
    parts: Callable[[], Mapping[str, Part]], registry: CollectorRegistry
) -> Sequence[web.AbstractRouteDef]:
    """`/health/live`, `/health/ready` and `/metrics`.

    Args:
        parts: Name of each part -> its state now; quick, called at every request.
        registry: What `/metrics` prints.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True}, headers=NEVER_STORED)

    async def ready(_: web.Request) -> web.Response:
        now = parts()
        body = {
            "ready": is_ready(now),
            "parts": {
                name: {"up": part.up, "needed": bool(part.needed_for), "detail": part.detail}
                for name, part in now.items()
            },
        }
        return web.json_response(body, status=200 if is_ready(now) else 503, headers=NEVER_STORED)

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    return [web.get("/health/live", live), web.get("/health/ready", ready), web.get("/metrics", metrics)]
