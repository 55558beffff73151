"""`POST /webhooks/{enterprise}/{crm}/{secret}`: a CRM tells that something changed, or that a phone was clicked on.

CRMs that want an address for clicks alone have it below: `…/{secret}/call`, by GET or POST.

Invariants: whoever does not know the secret learns nothing, not even which enterprises there are: the same 404, in the
same time, before a byte of his body is read. 200 means kept: a change that was accepted outlives the process. A click
is not kept: the phone rings now or not at all, and its sender hears 200 before it does.
"""

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final
from urllib.parse import quote

from aiohttp import web

from vochi_agent.change_ports import Change, Click, ClickReader, WebhookReader
from vochi_agent.errors import ForeignTenant, NotPossible, NotUnderstood, StoreUnavailable, TooOften
from vochi_agent.metrics import Metrics

__all__ = ["Receiver", "click_address", "webhook_address", "webhook_routes"]

log = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 10.0
RETRY_AFTER_S: Final = 30
# 0 from the beginning, not nothing: what appears with its first event has not grown.
LIKELY_ANSWERS: Final = (200, 422)
# What the log keeps of a message that makes no sense.
LOGGED: Final = 500
# Seven digits and more with what stands between them when people write numbers, also percent-encoded.
PHONE_LIKE: Final = re.compile(r"(?:%2B|\+)?\d(?:(?:[\s().\-+]|%20|%28|%29|%2B)*\d){6,}", re.IGNORECASE)
# What a field of a form or of JSON holds whose name says that it lets somebody in: Bitrix24 sends tokens with events.
KEY_LIKE: Final = re.compile(
    r"""
    ( (?:token|secret|passw(?:or)?d|api_?key) (?:\]|%5D)? (?: = | (?:"|%22) [\s+]* : [\s+]* (?:"|%22)? ) )
    (?: (?!%22) [^&",\s}] )+
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where the webhooks of one CRM of one enterprise go.

    Attributes:
        secret: The last part of the address.
        read: None: nothing but clicks comes in.
        take: Keeps changes before it returns, all or none. Raises StoreUnavailable.
        read_click: None: there is no address for clicks alone.
        click: Takes a click. Raises NotPossible, TooOften.
    """

    secret: str
    read: WebhookReader | None
    take: Callable[[Sequence[Change]], Awaitable[None]]
    read_click: ClickReader | None
    click: Callable[[Click], None]


def webhook_address(public_url: str, enterprise_number: str, crm: str, secret: str) -> str:
    """Where a CRM sends what it has to tell."""
    return f"{public_url.rstrip('/')}/webhooks/{enterprise_number}/{crm}/{quote(secret, safe='')}"


def click_address(public_url: str, enterprise_number: str, crm: str, secret: str) -> str:
    """Where a CRM sends clicks on phone numbers, when it wants an address for these alone."""
    return f"{webhook_address(public_url, enterprise_number, crm, secret)}/call"


def webhook_routes(receivers: Mapping[tuple[str, str], Receiver], metrics: Metrics) -> Sequence[web.AbstractRouteDef]:
    """The route of all webhooks.

    Args:
        receivers: By enterprise number and name of the CRM.
    """
    nobody = hashlib.sha256(b"").digest()
    digests = {key: _digest(receiver.secret) for key, receiver in receivers.items() if receiver.secret}
    for key, status in product(digests, LIKELY_ANSWERS):
        metrics.webhooks.labels(*key, str(status))

    async def receive(request: web.Request) -> web.Response:
        return await admit(request, lambda receiver: receiver.read)

    async def clicked(request: web.Request) -> web.Response:
        return await admit(request, lambda receiver: receiver.read_click)

    async def admit(request: web.Request, reader: Callable[[Receiver], WebhookReader | None]) -> web.Response:
        key = (request.match_info["enterprise"], request.match_info["crm"])
        # Of digests, so that the time tells nothing of the secret's length, and for strangers' addresses too.
        known = hmac.compare_digest(_digest(request.match_info["secret"]), digests.get(key, nobody))
        read = reader(receivers[key]) if known and key in digests else None
        if read is None:
            raise web.HTTPNotFound
        try:
            answer = await _accept(request, key, receivers[key], read)
        except web.HTTPException as refused:
            metrics.webhooks.labels(*key, str(refused.status)).inc()
            raise
        metrics.webhooks.labels(*key, str(answer.status)).inc()
        return answer

    address = "/webhooks/{enterprise}/{crm}/{secret}"
    return [
        web.post(address, receive),
        web.get(f"{address}/call", clicked, allow_head=False),
        web.post(f"{address}/call", clicked),
    ]


async def _accept(request: web.Request, key: tuple[str, str], receiver: Receiver, read: WebhookReader) -> web.Response:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()  # raises 413 as soon as it is too large
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    try:
        told = read(request.headers.get("Content-Type", ""), request.rel_url.raw_query_string, body)
        if isinstance(told, Click):
            receiver.click(told)
        else:
            await receiver.take([told] if isinstance(told, Change) else told or ())
    except ForeignTenant as reason:
        log.warning("A webhook for %s/%s is refused: %s", *key, reason, extra={"action": "webhook_foreign"})
        raise web.HTTPNotFound from None
    except NotUnderstood as reason:
        log.warning(
            "A webhook for %s/%s is not understood: %s", *key, reason,
            extra={"action": "webhook_not_understood", "body": _shown(request.rel_url.raw_query_string, body)},
        )  # fmt: skip
        return web.json_response({"error": str(reason)}, status=422)
    except NotPossible as reason:
        log.warning("A click in %s/%s calls nobody: %s", *key, reason, extra={"action": "click_refused"})
        return web.json_response({"error": str(reason)}, status=422)
    except TooOften as reason:
        return web.json_response({"error": str(reason)}, status=429, headers={"Retry-After": str(RETRY_AFTER_S)})
    except StoreUnavailable:
        # Kept nowhere, so not accepted: a sender that repeats does, and the next call asks the CRM anyway.
        message = {"error": "cannot be kept now, send it again"}
        return web.json_response(message, status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
    return web.json_response({"accepted": bool(told)})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _shown(query: str, body: bytes) -> str:
    """The beginning of a message without its telephone numbers and tokens, whatever the log itself masks."""
    text = f"?{query} " if query else ""
    text += body[: 4 * LOGGED].decode("utf-8", "replace")
    return PHONE_LIKE.sub("***", KEY_LIKE.sub(r"\1***", text))[:LOGGED]
