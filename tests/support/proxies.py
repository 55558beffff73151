"""Real proxies on loopback: HTTP CONNECT and SOCKS5, with or without a password. They count what they let through."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

__all__ = ["Proxy", "connect_proxy", "socks5_proxy"]

USER, PASSWORD = "vochi", "pr-Sesam-1"


@dataclass
class Proxy:
    """A proxy at work.

    Attributes:
        reached: Host and port of every connection it made.
        refused: How many askers had no password.
    """

    url: str = ""
    reached: list[tuple[str, int]] = field(default_factory=list)
    refused: int = 0


@contextlib.asynccontextmanager
async def connect_proxy(*, password: str = "") -> AsyncIterator[Proxy]:
    """Understands CONNECT and nothing else (RFC 9110, 9.3.6)."""
    proxy = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        known = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
        if password and headers.get("proxy-authorization") != known:
            proxy.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
        else:
            host, _, port = target.rpartition(":")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return await _joined(proxy, (host, int(port)), reader, writer)
        writer.close()
        return None

    async with _listening(proxy, serve, "http", password):
        yield proxy


@contextlib.asynccontextmanager
async def socks5_proxy(*, password: str = "") -> AsyncIterator[Proxy]:
    """RFC 1928 with CONNECT, RFC 1929 for the password."""
    proxy = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        offered, wanted = await reader.readexactly(count), 2 if password else 0
        writer.write(bytes([5, wanted if wanted in offered else 0xFF]))
        if wanted not in offered:
            proxy.refused += 1
            return writer.close()
        if password:
            await reader.readexactly(1)  # the version of this exchange
            said = [await _counted(reader), await _counted(reader)]
            right = said == [USER.encode(), password.encode()]
            writer.write(bytes([1, 0 if right else 1]))
            if not right:
                proxy.refused += 1
                return writer.close()
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await _counted(reader)).decode()
        else:
            host = ".".join(str(byte) for byte in await reader.readexactly(4))
        port = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        return await _joined(proxy, (host, port), reader, writer)

    async with _listening(proxy, serve, "socks5", password):
        yield proxy


async def _counted(reader: asyncio.StreamReader) -> bytes:
    """Bytes after the byte that counts them."""
    (count,) = await reader.readexactly(1)
    return await reader.readexactly(count)


@contextlib.asynccontextmanager
async def _listening(proxy: Proxy, serve, scheme: str, password: str) -> AsyncIterator[None]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    who = f"{USER}:{password}@" if password else ""
    proxy.url = f"{scheme}://{who}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield


async def _joined(
    proxy: Proxy, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    proxy.reached.append(target)
    far_reader, far_writer = await asyncio.open_connection(*target)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pump(reader, far_writer))
        tasks.create_task(pump(far_reader, writer))
