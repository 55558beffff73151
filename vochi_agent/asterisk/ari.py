"""The REST interface of an Asterisk: the few operations we use, typed, each asked once and never repeated by itself.

`OPERATIONS` is the whole of it, as literal data: a test holds it against the `/ari/api-docs` of Asterisk itself.

Invariants: the password travels in a header, never in an address, so no log on the way has it; every request has a
deadline; a channel enters an application only when we made it ourselves (a customer's channel left in one hears
silence when the application goes away).
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from vochi_agent.config import AsteriskConfig
from vochi_agent.errors import (
    ActionFailed,
    ConnectionLost,
    LoginRefused,
    NotPermitted,
    NotReachable,
    RemoteProtocolError,
)

__all__ = ["OPERATIONS", "Ari", "AriBridge", "AriEndpoint", "AriPeer", "Operation"]

REQUEST_S: Final = 5.0
MAX_BODY_BYTES: Final = 8 << 20  # /channels of a PBX with some thousand of them
# A websocket that is silent is asked for a Pong so often; without one within half the time it is closed.
HEARTBEAT_S: Final = 10.0
# Of Asterisk's own words that our messages repeat.
MAX_REASON: Final = 200
OK, UNAUTHORIZED, FORBIDDEN, FIRST_ERROR = 200, 401, 403, 300


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `{…}` in the path are parameters too. `body` names the keys of its JSON object."""

    method: str
    path: str
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


OPERATIONS: Final[Mapping[str, Operation]] = {
    "info": Operation("GET", "/asterisk/info", ("only",)),
    "endpoints": Operation("GET", "/endpoints"),
    "bridges": Operation("GET", "/bridges"),
    "originate": Operation(
        "POST",
        "/channels",
        ("endpoint", "extension", "context", "priority", "app", "timeout", "channelId"),
        ("variables",),
    ),
    "hang up": Operation("DELETE", "/channels/{channelId}", ("reason",)),
    "snoop": Operation("POST", "/channels/{channelId}/snoop/{snoopId}", ("spy", "whisper", "app")),
    "make a bridge": Operation("POST", "/bridges/{bridgeId}", ("type", "name")),
    "join": Operation("POST", "/bridges/{bridgeId}/addChannel", ("channel",)),
    "destroy a bridge": Operation("DELETE", "/bridges/{bridgeId}"),
    "events": Operation("GET", "/events", ("app",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AriPeer:
    """Where an ARI listens (`http://127.0.0.1:8088`) and who we are there."""

    url: str
    username: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, config: AsteriskConfig) -> "AriPeer | None":
        """The one of the configuration, if it has one."""
        if not config.ari:
            return None
        password = config.ari_password.get_secret_value()
        return cls(url=config.ari.rstrip("/"), username=config.ari_username, password=password)

    @property
    def headers(self) -> dict[str, str]:
        """What proves who we are."""
        return {"Authorization": f"Basic {b64encode(f'{self.username}:{self.password}'.encode()).decode()}"}

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class AriEndpoint:
    """`name` is TECH/resource; `state` is online, offline or unknown; `channels` are the ids of those it is in."""

    name: str
    state: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AriBridge:
    """`created` is when, by the PBX's clock in epoch seconds; None when it does not say."""

    id: str
    name: str
    channels: tuple[str, ...]
    created: float | None


class Ari:
    """One PBX's REST interface.

    Every method raises:
        NotReachable: no answer in time; whether it was done is unknown.
        LoginRefused: our user or password is wrong.
        NotPermitted: our user may only read.
        ActionFailed: the PBX understood and refused, such as for a channel that is gone.
        RemoteProtocolError: what answers there is no Asterisk.
    """

    def __init__(self, peer: AriPeer, session: aiohttp.ClientSession, *, request_s: float = REQUEST_S) -> None:
        """`session` is the caller's to close; `request_s` is how long one answer may take."""
        self.peer = peer
        self._session = session
        self._request_s = request_s

    async def info(self) -> str:
        """The version of Asterisk."""
        found = await self._ask("info", {"only": "system"})
        return str(_object(_object(found).get("system")).get("version", ""))

    async def endpoints(self) -> list[AriEndpoint]:
        """Every telephone and trunk."""
        return [
            AriEndpoint(
                name=f"{each.get('technology', '')}/{each.get('resource', '')}",
                state=str(each.get("state", "unknown")),
                channels=_strings(each.get("channel_ids")),
            )
            for each in _objects(await self._ask("endpoints"))
        ]

    async def bridges(self) -> list[AriBridge]:
        """Every bridge that lives."""
        return [
            AriBridge(
                id=str(each.get("id", "")),
                name=str(each.get("name", "")),
                channels=_strings(each.get("channels")),
                created=_moment(each.get("creationtime")),
            )
            for each in _objects(await self._ask("bridges"))
        ]

    async def originate(
        self,
        endpoint: str,
        *,
        channel: str,
        variables: Mapping[str, str],
        timeout_s: float,
        place: tuple[str, str] | None = None,
        application: str = "",
    ) -> None:
        """Ring an endpoint; when it answers it goes to a place of the dialplan or into an application.

        Args:
            endpoint: TECH/resource.
            channel: The new channel's uniqueid, hence its linkedid.
            variables: Set before it rings; functions such as `CONNECTEDLINE(name,i)` too.
            timeout_s: How long it rings.
            place: Context and extension.
            application: Of a websocket that is open.
        """
        target = (
            {"app": application} if place is None else {"context": place[0], "extension": place[1], "priority": "1"}
        )
        query = {"endpoint": endpoint, "channelId": channel, "timeout": str(round(timeout_s)), **target}
        await self._ask("originate", query, body={"variables": dict(variables)})

    async def hang_up(self, channel: str) -> None:
        """End a channel."""
        await self._ask("hang up", {"channelId": channel, "reason": "normal"})

    async def snoop(self, channel: str, *, snoop: str, spy: str, whisper: str, application: str) -> None:
        """A new channel `snoop` that hears another one, and may be heard there; it enters the application at once.

        Args:
            channel: The other one; it notices nothing and stays where it is.
            snoop: The new channel's uniqueid.
            spy: none, in (what its telephone says), out (what its telephone hears) or both.
            whisper: The same for what is said into the new channel: out is heard by its telephone alone.
            application: Of a websocket that is open.
        """
        query = {"channelId": channel, "snoopId": snoop, "spy": spy, "whisper": whisper, "app": application}
        await self._ask("snoop", query)

    async def make_bridge(self, bridge: str, name: str) -> None:
        """A bridge in which channels of our own talk."""
        await self._ask("make a bridge", {"bridgeId": bridge, "type": "mixing", "name": name})

    async def join(self, bridge: str, channel: str) -> None:
        """Put a channel that is in an application of ours into a bridge."""
        await self._ask("join", {"bridgeId": bridge, "channel": channel})

    async def destroy_bridge(self, bridge: str) -> None:
        """End a bridge; channels in it stay in their application."""
        await self._ask("destroy a bridge", {"bridgeId": bridge})

    @asynccontextmanager
    async def application(self, name: str) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """An application of ours while the block runs: yields its events, in order.

        The iteration raises ConnectionLost when the PBX goes away.
        """
        address = f"{self.peer.url}/ari{OPERATIONS['events'].path}"
        try:
            async with asyncio.timeout(self._request_s):
                socket = await self._session.ws_connect(
                    address, params={"app": name}, headers=self.peer.headers, heartbeat=HEARTBEAT_S
                )
        except aiohttp.WSServerHandshakeError as exc:
            raise self._refusal("events", exc.status, "") from exc
        except (TimeoutError, aiohttp.ClientError, OSError) as exc:
            raise self._silence(exc) from exc
        async with socket:
            yield _events(socket)

    async def _ask(self, name: str, values: Mapping[str, str] | None = None, body: object = None) -> object:
        operation, values = OPERATIONS[name], values or {}
        path = operation.path.format_map({key: quote(value, safe="") for key, value in values.items()})
        query = {key: value for key, value in values.items() if key in operation.query}
        try:
            async with (
                asyncio.timeout(self._request_s),
                self._session.request(
                    operation.method,
                    f"{self.peer.url}/ari{path}",
                    params=query,
                    json=body,
                    headers=self.peer.headers,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await _read(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as exc:
            raise self._silence(exc) from exc
        return self._understood(name, response.status, answer)

    def _understood(self, name: str, status: int, answer: bytes) -> object:
        try:
            body = json.loads(answer) if answer else None
        except (ValueError, RecursionError) as exc:
            raise RemoteProtocolError(f"ARI {self.peer}: {name} was not answered in JSON ({status})") from exc
        if OK <= status < FIRST_ERROR:
            return body
        reason = str(_object(body).get("message") or _object(body).get("error") or "no reason given")
        raise self._refusal(name, status, reason[:MAX_REASON])

    def _refusal(self, name: str, status: int, reason: str) -> Exception:
        if status == UNAUTHORIZED:
            return LoginRefused(f"ARI user {self.peer.username!r} is not let in at {self.peer}")
        if status == FORBIDDEN:
            return NotPermitted(f"{name}: the ARI user {self.peer.username!r} may only read (read_only in ari.conf)")
        return ActionFailed(f"{name}: {reason or 'refused'} ({status})")

    def _silence(self, exc: Exception) -> NotReachable:
        if isinstance(exc, TimeoutError):
            return NotReachable(f"ARI {self.peer} does not answer within {self._request_s:g} s")
        return NotReachable(f"ARI {self.peer} takes no connection ({type(exc).__name__})")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RemoteProtocolError(f"an ARI answer of more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def _events(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Mapping[str, Any]]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                yield _object(json.loads(message.data))
            except (ValueError, RecursionError) as exc:
                raise RemoteProtocolError("an ARI event that is no JSON") from exc
    raise ConnectionLost("the PBX closed the ARI websocket")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _strings(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _moment(value: object) -> float | None:
    """`2026-11-21T12:43:06.057+0000`."""
    try:
        return datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except ValueError:
        return None
