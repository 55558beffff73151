"""An ARI application as integrators write it: takes a caller, rings a telephone, joins both in a bridge of its own.

The dialplan sends callers to it by `Stasis(truth,EXTENSION)`. `Stasis(truth,EXTENSION,unrelated)` rings the telephone
without a word about the caller: Asterisk then takes it for a call of its own, with a linkedid of its own.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

__all__ = ["BridgingApp"]

NAME = "truth"
# Argument of a telephone's own entry into the application; the caller's channel follows.
RUNG_FOR = "for"
RING_TIMEOUT_S = 3
NOT_FOUND = 404


@dataclass(slots=True)
class _Pair:
    caller: str
    phone: str
    bridge: str = ""


class BridgingApp:
    """The application; enter it to serve callers.

    Attributes:
        problems: Requests that Asterisk refused.
    """

    def __init__(self, port: int, username: str, password: str) -> None:
        self.problems: list[str] = []
        self._url = f"http://127.0.0.1:{port}/ari/"
        self._login = {"api_key": f"{username}:{password}"}
        self._pairs: dict[str, _Pair] = {}  # by either channel
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(base_url=self._url)
        try:
            self._events = await self._http.ws_connect("events", params={"app": NAME, **self._login})
        except BaseException:
            await self._http.close()
            raise
        await self._tasks.__aenter__()
        self._reader = self._tasks.create_task(self._read(), name="ARI events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.cancel()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            await self._events.close()
            await self._http.close()

    async def _read(self) -> None:
        async for message in self._events:
            event = message.json()
            channel = event.get("channel", {}).get("id", "")
            match event["type"], event.get("args", []):
                case "StasisStart", [mark, caller] if mark == RUNG_FOR:
                    self._tasks.create_task(self._join(caller), name="join")
                case "StasisStart", [extension, *unrelated]:
                    self._tasks.create_task(self._ring(channel, extension, related=not unrelated), name="ring")
                case "StasisEnd" | "ChannelDestroyed", _:
                    self._tasks.create_task(self._part(channel), name="part")

    async def _ring(self, caller: str, extension: str, *, related: bool) -> None:
        pair = self._pairs[caller] = _Pair(caller, f"{caller}-phone")
        self._pairs[pair.phone] = pair
        originator = {"originator": caller} if related else {}
        await self._ask(
            "POST",
            "channels",
            endpoint=f"PJSIP/{extension}",
            app=NAME,
            appArgs=f"{RUNG_FOR},{caller}",
            channelId=pair.phone,
            timeout=str(RING_TIMEOUT_S),
            **originator,
        )

    async def _join(self, caller: str) -> None:
        pair = self._pairs.get(caller)
        if pair is None:
            return  # he gave up in this very moment
        await self._ask("POST", f"channels/{caller}/answer")
        pair.bridge = (await self._ask("POST", "bridges", type="mixing")).get("id", "")
        await self._ask("POST", f"bridges/{pair.bridge}/addChannel", channel=f"{pair.caller},{pair.phone}")

    async def _part(self, channel: str) -> None:
        """One is gone: so is the other, and their bridge."""
        pair = self._pairs.pop(channel, None)
        if pair is None:
            return
        other = pair.caller if channel == pair.phone else pair.phone
        self._pairs.pop(other, None)
        await self._ask("DELETE", f"channels/{other}", reason="congestion")
        if pair.bridge:
            await self._ask("DELETE", f"bridges/{pair.bridge}")

    async def _ask(self, method: str, path: str, **parameters: str) -> dict[str, Any]:
        """Gone meanwhile (404) is no problem: both sides of a call hang up when they like."""
        async with self._http.request(method, path, params={**parameters, **self._login}) as answer:
            if answer.status >= 400 and answer.status != NOT_FOUND:
                self.problems.append(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json() if answer.ok and answer.content_length else {}
