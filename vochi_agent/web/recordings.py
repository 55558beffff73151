"""Recordings for those who have the link of a card: unguessable, and good for one file only.

Invariant: nothing outside the folder of recordings is ever served, whatever the ledger says.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

__all__ = ["recording_link", "recording_routes"]

# Telegram's and other crawlers follow links in chats; a conversation is not for them.
HEADERS = {"Cache-Control": "private, max-age=3600", "X-Robots-Tag": "noindex, nofollow"}


def recording_link(public_url: str, secret: str, enterprise_number: str, linkedid: str) -> str:
    """Where a call's recording is to be had."""
    signature = _signature(secret, enterprise_number, linkedid)
    return f"{public_url.rstrip('/')}/recordings/{enterprise_number}/{quote(linkedid, safe='')}/{signature}"


def recording_routes(
    secrets: Mapping[str, str], find: Callable[[str, str], Awaitable[Path | None]]
) -> Sequence[web.AbstractRouteDef]:
    """`GET /recordings/{enterprise}/{linkedid}/{signature}`, ranges included.

    Args:
        secrets: By enterprise number; what its links are signed with.
        find: The file of a call, None when there is none.
    """

    async def serve(request: web.Request) -> web.StreamResponse:
        number, linkedid, signature = (request.match_info[name] for name in ("number", "linkedid", "signature"))
        secret = secrets.get(number, "")
        good = hmac.compare_digest(_signature(secret, number, linkedid).encode(), signature.encode())
        file = await find(number, linkedid) if secret and good else None
        if file is None or not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers=HEADERS)

    return [web.get("/recordings/{number}/{linkedid}/{signature}", serve)]


def _signature(secret: str, enterprise_number: str, linkedid: str) -> str:
    what = f"recording/{enterprise_number}/{linkedid}".encode()
    return hmac.new(secret.encode(), what, hashlib.sha256).hexdigest()[:32]
