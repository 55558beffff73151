"""`POST /webhooks/{enterprise}/{crm}/{secret}`: a CRM tells that something changed.

Invariants: whoever does not know the secret learns nothing, not even which enterprises there are: the same 404, in the
same time, before a byte of his body is read. 200 means kept: what was accepted outlives the process.
"""

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from vochi_agent.change_ports import Change, WebhookReader
from vochi_agent.errors import ForeignTenant, NotUnderstood, StoreUnavailable
from vochi_agent.metrics import Metrics

__all__ = ["Receiver", "webhook_routes"]

log = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 10.0
RETRY_AFTER_S: Final = 30
# What the log keeps of a message that makes no sense.
LOGGED: Final = 500
# Seven digits and more with what stands between them when people write numbers, also percent-encoded.
PHONE_LIKE: Final = re.compile(r"(?:%2B|\+)?\d(?:(?:[\s().\-+]|%20|%28|%29|%2B)*\d){6,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where the webhooks of one CRM of one enterprise go.

    Attributes:
        secret: The last part of the address.
        take: Keeps a change before it returns. Raises StoreUnavailable.
    """

    secret: str
    read: WebhookReader
    take: Callable[[Change], Awaitable[None]]


def webhook_routes(receivers: Mapping[tuple[str, str], Receiver], metrics: Metrics) -> Sequence[web.AbstractRouteDef]:
    """The route of all webhooks.

    Args:
        receivers: By enterprise number and name of the CRM.
    """
    nobody = hashlib.sha256(b"").digest()
    digests = {key: _digest(receiver.secret) for key, receiver in receivers.items() if receiver.secret}

    async def receive(request: web.Request) -> web.Response:
        key = (request.match_info["enterprise"], request.match_info["crm"])
        # Of digests, so that the time tells nothing of the secret's length, and for strangers' addresses too.
        known = hmac.compare_digest(_digest(request.match_info["secret"]), digests.get(key, nobody))
        if not known or key not in digests:
            raise web.HTTPNotFound
        try:
            answer = await _accept(request, key, receivers[key])
        except web.HTTPException as refused:
            metrics.webhooks.labels(*key, str(refused.status)).inc()
            raise
        metrics.webhooks.labels(*key, str(answer.status)).inc()
        return answer

    return [web.post("/webhooks/{enterprise}/{crm}/{secret}", receive)]


async def _accept(request: web.Request, key: tuple[str, str], receiver: Receiver) -> web.Response:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()  # raises 413 as soon as it is too large
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    try:
        found = receiver.read(request.headers.get("Content-Type", ""), request.rel_url.raw_query_string, body)
        changes = [found] if isinstance(found, Change) else found or []
        for change in changes:
            await receiver.take(change)
    except ForeignTenant as reason:
        log.warning("A webhook for %s/%s is refused: %s", *key, reason, extra={"action": "webhook_foreign"})
        raise web.HTTPNotFound from None
    except NotUnderstood as reason:
        log.warning(
            "A webhook for %s/%s is not understood: %s", *key, reason,
            extra={"action": "webhook_not_understood", "body": _shown(request.rel_url.raw_query_string, body)},
        )  # fmt: skip
        return web.json_response({"error": str(reason)}, status=422)
    except StoreUnavailable:
        # Kept nowhere, so not accepted: a sender that repeats does, and the next call asks the CRM anyway.
        message = {"error": "cannot be kept now, send it again"}
        return web.json_response(message, status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
    return web.json_response({"accepted": bool(changes)})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _shown(query: str, body: bytes) -> str:
    """The beginning of a message without its telephone numbers, whatever the log itself masks."""
    text = f"?{query} " if query else ""
    text += body[: 4 * LOGGED].decode("utf-8", "replace")
    return PHONE_LIKE.sub("***", text)[:LOGGED]
