"""Health and metrics over a real HTTP connection."""

import asyncio
import os
import zlib

import aiohttp
import aiohttp.web
import pytest
from prometheus_client import CollectorRegistry, Counter

from vochi_agent.config import Address
from vochi_agent.errors import PortTaken
from vochi_agent.web.health import Part, health_routes
from vochi_agent.web.server import MAX_BODY_BYTES, serving

ANY_PORT = Address("127.0.0.1", 0)

UP = {
    "database": Part(up=True, needed_for="database"),
    "fastagi": Part(up=True, needed_for="fastagi"),
    "ami 0901": Part(up=True, needed_for="ami", detail="connected for 12 s"),
    "ami 0902": Part(up=False, needed_for="ami", detail="refused"),
    "telegram": Part(up=False, detail="away"),
}


async def get(address: Address, path: str) -> tuple[int, object]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as response:
        if response.content_type == "application/json":
            return response.status, await response.json()
        return response.status, await response.text()


async def test_ready_while_every_need_has_one_part_that_is_up() -> None:
    async with serving(ANY_PORT, health_routes(lambda: UP, CollectorRegistry())) as address:
        status, body = await get(address, "/health/ready")

    assert status == 200
    assert body["ready"] is True
    assert body["parts"]["ami 0902"] == {"up": False, "needed": True, "detail": "refused"}
    assert body["parts"]["telegram"] == {"up": False, "needed": False, "detail": "away"}


@pytest.mark.parametrize("down", ["database", "fastagi", "ami 0901"])
async def test_not_ready_when_a_needed_part_is_down(down: str) -> None:
    parts = UP | {down: Part(up=False, needed_for=UP[down].needed_for)}
    async with serving(ANY_PORT, health_routes(lambda: parts, CollectorRegistry())) as address:
        status, body = await get(address, "/health/ready")
        alive, _ = await get(address, "/health/live")

    assert (status, body["ready"], body["parts"][down]["up"]) == (503, False, False)
    assert alive == 200


async def test_readiness_is_asked_anew_every_time() -> None:
    parts = dict(UP)
    async with serving(ANY_PORT, health_routes(lambda: parts, CollectorRegistry())) as address:
        before, _ = await get(address, "/health/ready")
        parts["database"] = Part(up=False, needed_for="database")
        after, _ = await get(address, "/health/ready")

    assert (before, after) == (200, 503)


async def test_metrics_print_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("vochi_calls", "Finished calls", registry=registry).inc()
    async with serving(ANY_PORT, health_routes(lambda: UP, registry)) as address:
        status, text = await get(address, "/metrics")

    assert status == 200
    assert "vochi_calls_total 1.0" in text


async def test_a_taken_port_is_named_with_its_holder() -> None:
    async with serving(ANY_PORT, []) as address:
        with pytest.raises(PortTaken, match=rf"cannot listen on {address}: .*\(pid {os.getpid()}\) listens there"):
            async with serving(address, []):
                pass


async def test_the_port_is_free_again_afterwards() -> None:
    async with serving(ANY_PORT, []) as address:
        pass
    async with serving(address, []) as again:
        assert again == address


async def test_an_unknown_address_is_not_found_and_a_large_body_is_refused() -> None:
    async def echo(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=await request.read())

    async with serving(ANY_PORT, [aiohttp.web.post("/echo", echo)]) as address, aiohttp.ClientSession() as session:
        unknown, _ = await get(address, "/secrets")
        async with session.post(f"http://{address}/echo", data=b"x" * (MAX_BODY_BYTES + 1)) as response:
            too_large = response.status

    assert (unknown, too_large) == (404, 413)


async def said(address: Address, request: bytes) -> bytes:
    """What a connection gets for these bytes, to its end."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_who_speaks_no_http_or_breaks_off_costs_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody who reaches the port could fill the disk with tracebacks."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        begun.set()
        try:
            return aiohttp.web.Response(body=await request.read())
        finally:
            over.set()

    head = b"POST /take HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with serving(ANY_PORT, [aiohttp.web.post("/take", take)]) as address:
        refused = [
            await said(address, request)
            for request in (
                b"\x16\x03\x01\x02\x00\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
                head + b"no header\r\n\r\n",
                head + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
            )
        ]
        begun.clear()
        over.clear()
        _, writer = await asyncio.open_connection(*address)
        writer.write(head + b"Content-Length: 9\r\n\r\nhalf")
        async with asyncio.timeout(10):
            await begun.wait()
            writer.transport.abort()
            await over.wait()

    assert {answer.split(b" ")[1] for answer in refused} == {b"400"}
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_a_bug_of_ours_still_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: aiohttp.web.Request) -> aiohttp.web.Response:
        raise ZeroDivisionError

    async with serving(ANY_PORT, [aiohttp.web.get("/fail", fail)]) as address:
        status, _ = await get(address, "/fail")

    assert status == 500
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


async def test_a_packed_body_is_taken_as_it_came_and_never_unpacked() -> None:
    """Three hundred kilobytes would become as many megabytes, for whoever knows no secret, too."""

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=await request.read())

    packed = zlib.compress(bytes(4 * MAX_BODY_BYTES))
    async with serving(ANY_PORT, [aiohttp.web.post("/take", take)]) as address, aiohttp.ClientSession() as session:
        headers = {"Content-Encoding": "deflate"}
        async with session.post(f"http://{address}/take", data=packed, headers=headers) as response:
            assert (response.status, await response.read()) == (200, packed)
