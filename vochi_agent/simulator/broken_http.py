"""Answers of a web server that is ill, the same for every stand-in of a CRM."""

from typing import Final

from aiohttp import web

__all__ = ["cut_short", "endless", "failed", "reset", "web_page"]

HUGE: Final = 50 << 20
PIECE: Final = 1 << 16


def web_page() -> web.Response:
    """What a proxy or a hosting page says in place of an API."""
    page = "<!DOCTYPE html><html><body><h1>Страница не найдена</h1></body></html>"
    return web.Response(text=page, content_type="text/html", charset="utf-8")


def failed() -> web.Response:
    """What a server says when something of its own broke."""
    return web.Response(status=500, text="Internal Server Error")


async def cut_short(request: web.Request) -> web.StreamResponse:
    """A JSON body that ends, with its connection, long before the length it promised."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "4096"})
    await response.prepare(request)
    await response.write(b'{"success":true,"customers":[{"id":1,"firstName":"')
    if request.transport:
        request.transport.close()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    """Fifty megabytes of nothing, as far as somebody reads them."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(HUGE // PIECE):
        await response.write(b" " * PIECE)
    return response


def reset(request: web.Request) -> web.Response:
    """The connection is torn down; the response is only there because aiohttp wants one."""
    if request.transport:
        request.transport.abort()
    return web.Response()
