"""What the stand-ins of all CRMs are built on: a real HTTP server that keeps its limit and is ill when told to be."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from vochi_agent.simulator.broken_http import cut_short, endless, failed, reset, web_page

__all__ = ["CrmRequest", "CrmServer", "Fault", "Rate"]

MAX_LOG: Final = 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(StrEnum):
    """What goes wrong with every request until it is taken back."""

    SILENCE = "silence"  # accepts the request and says nothing for `silence_s`
    HTML = "html"  # a web page in place of JSON: an unknown account or host
    LIMIT = "limit"  # over the limit, as each API says it
    CUT = "cut"  # the connection ends in the middle of the promised body
    HUGE = "huge"  # fifty megabytes
    REFUSE = "refuse"  # the connection is reset before any answer
    ERROR = "500"  # the server fails before it does anything
    LOST = "lost"  # it does what was asked, and the connection is reset before the answer
    UNSUCCESSFUL = "unsuccessful"  # an error with status 200
    EVERYBODY = "everybody"  # filters are ignored, everybody comes


@dataclass(frozen=True, slots=True)
class CrmRequest:
    """One request as it came: the path below the API's root and its parameters; `body` when it was JSON."""

    path: str
    query: Mapping[str, str]
    method: str = "GET"
    body: Any = field(default_factory=dict)


class Rate:
    """Counts the requests of the last second, or of as many as are given."""

    def __init__(self, most: int, seconds: float = 1.0) -> None:
        self._most = most
        self._seconds = seconds
        self._recent: deque[float] = deque()

    def exceeded(self) -> bool:
        """Count one more; whether it is one too many."""
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - self._seconds:
            self._recent.popleft()
        self._recent.append(now)
        return len(self._recent) > self._most


class CrmServer:
    """One account's server on a port of its own.

    Args:
        prefix: Taken off the paths in `requests`.
        check: What a request meets before its method (key, limit); None lets it in.
        limited: The answer over the limit.
        unsuccessful: An error with status 200.
        unknown: The answer to a path that there is not.
        elsewhere: What stands before paths that are another server's in truth, which is never ill; "" for none.
        port: 0 picks a free one.

    Attributes:
        fault: Set it at any time; holds for requests that come from then on.
        silence_s: Seconds of SILENCE.
        ahead_s: Seconds that its clock is ahead of ours.
        requests: Every request so far, oldest first, bounded.
    """

    def __init__(
        self,
        routes: Iterable[web.AbstractRouteDef],
        *,
        host: str,
        prefix: str,
        silence_s: float,
        check: Callable[[web.Request], web.Response | None],
        limited: Callable[[], web.Response],
        unsuccessful: Callable[[], web.Response],
        unknown: Callable[[], web.Response],
        elsewhere: str = "",
        port: int = 0,
    ) -> None:
        self.fault: Fault | None = None
        self.silence_s = silence_s
        self.ahead_s = 0.0
        self.requests: deque[CrmRequest] = deque(maxlen=MAX_LOG)
        self._routes = list(routes)
        self._host = host
        self._prefix = prefix
        self._check = check
        self._limited = limited
        self._unsuccessful = unsuccessful
        self._unknown = unknown
        self._elsewhere = elsewhere
        self._arrived = asyncio.Condition()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of the last time when there was one."""
        self._closing.clear()
        app = web.Application(middlewares=[self._door])
        app.add_routes(self._routes)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, reuse_address=True).start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Nobody listens any more; what the account holds stays."""
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def now(self) -> float:
        """Epoch seconds by its own clock."""
        return time.time() + self.ahead_s

    async def wait_for_requests(self, count: int) -> None:
        """Returns as soon as so many requests have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request meets before its method: the fault, then the account's own checks."""
        async with self._arrived:
            path, body = request.path.removeprefix(self._prefix), await _json(request)
            self.requests.append(CrmRequest(path, dict(request.query), request.method, body))
            self._arrived.notify_all()
        ill = not (self._elsewhere and request.path.startswith(self._elsewhere))
        broken = (await self._broken(request) if ill else None) or self._check(request)
        if broken:
            return broken
        try:
            answer = await handler(request)
        except web.HTTPNotFound:
            return self._unknown()
        answer.headers.setdefault("Date", formatdate(self.now(), usegmt=True))
        return reset(request) if ill and self.fault is Fault.LOST else answer

    async def _broken(self, request: web.Request) -> web.StreamResponse | None:
        match self.fault:
            case Fault.SILENCE:
                try:
                    await asyncio.wait_for(self._closing.wait(), self.silence_s)
                except TimeoutError:
                    return None
                return reset(request)
            case Fault.REFUSE:
                return reset(request)
            case Fault.ERROR:
                return failed()
            case Fault.HTML:
                return web_page()
            case Fault.LIMIT:
                return self._limited()
            case Fault.UNSUCCESSFUL:
                return self._unsuccessful()
            case Fault.CUT:
                return await cut_short(request)
            case Fault.HUGE:
                return await endless(request)
            case _:
                return None


async def _json(request: web.Request) -> Any:
    """The body, an empty object for one that is no JSON."""
    try:
        return json.loads(await request.text() or "{}")
    except ValueError:
        return {}
