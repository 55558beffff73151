"""A sandbox amoCRM account: API v4 as real HTTP, its errors, limits and oddities included.

Facts are marked with their source: [php] the vendor's PHP client, [doc] the developers' pages, [ng] a public telephony
integration, UNCONFIRMED what no source proves. Invariant: it knows only invented people.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from vochi_agent.simulator.broken_http import cut_short, reset, web_page

__all__ = ["AmoCrmSandbox", "Fault"]

REQUESTS_PER_S: Final = 7  # [doc]
MAX_LOG: Final = 1000
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode
REQUIRED: Final = ("direction", "duration", "source", "phone")  # [php] of a call

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(StrEnum):
    """What goes wrong with every request until it is taken back."""

    SILENCE = "silence"
    HTML = "html"
    SERVER_ERROR = "500"
    LIMIT = "429"
    UNPAID = "402"
    BLOCKED = "403"
    CUT = "cut"
    REFUSE = "refuse"
    EVERYBODY = "everybody"  # `query` is ignored: UNCONFIRMED
    LOST_ANSWER = "lost"  # the request is carried out, its answer is cut off


class AmoCrmSandbox:
    """One account.

    Attributes:
        fault: Set it at any time; holds for requests that come from then on.
        requests: Method, path and query of every request so far, oldest first, bounded.
        calls: Calls by the card they were attached to, as they were sent.
        unsorted: Leads that nobody has looked at.
        popups: What was shown to whom.
        token: The access token that is taken now.
        refresh_token: The one refresh token that buys the next pair.
    """

    def __init__(self, *, token: str, requests_per_s: int = REQUESTS_PER_S, silence_s: float = 30.0) -> None:
        self.fault: Fault | None = None
        self.requests: deque[tuple[str, str, Mapping[str, str]]] = deque(maxlen=MAX_LOG)
        self.calls: dict[int, list[dict[str, Any]]] = {}
        self.unsorted: list[dict[str, Any]] = []
        self.popups: list[dict[str, Any]] = []
        self.token, self.refresh_token, self.pairs = token, "first-refresh", 0
        self.client = ("client-id", "client-secret", "https://pbx.example/oauth")
        self._limit = requests_per_s
        self._recent: deque[float] = deque()
        self._silence_s = silence_s
        self._cards: dict[str, dict[int, dict[str, Any]]] = {"contacts": {}, "companies": {}}
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The account's address."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._door])
        app.add_routes(
            [
                web.get("/api/v4/{kind:contacts|companies}", self._search),
                web.get("/api/v4/{kind:contacts|companies}/{id}", self._card),
                web.get("/api/v4/contacts/{id}/notes", self._notes),
                web.post("/api/v4/calls", self._add_calls),
                web.post("/api/v4/leads/unsorted/sip", self._add_unsorted),
                web.post("/api/v2/events", self._add_events),
                web.post("/oauth2/access_token", self._oauth),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    def add_company(self, company_id: int, *, name: str, phones: Sequence[str] = (), user: int = 0) -> None:
        """A company."""
        self._add("companies", company_id, name, phones, user)

    def add_contact(
        self, contact_id: int, *, name: str, first_name: str = "", last_name: str = "", phones: Sequence[str] = (),
        user: int = 0, company: int = 0, updated_at: int = 1_700_000_000,
    ) -> None:  # fmt: skip
        """A person, perhaps of a company."""
        self._add("contacts", contact_id, name, phones, user)
        self._cards["contacts"][contact_id] |= {
            "first_name": first_name,
            "last_name": last_name,
            "updated_at": updated_at,
            "_embedded": {"tags": [], "companies": [{"id": company}] if company else [], "leads": []},
        }

    def _add(self, kind: str, card_id: int, name: str, phones: Sequence[str], user: int) -> None:
        values = [{"value": phone, "enum_code": "WORK"} for phone in phones]
        field = {"field_id": 11, "field_name": "Телефон", "field_code": "PHONE", "values": values}
        self._cards[kind][card_id] = {
            "id": card_id,
            "name": name,
            "responsible_user_id": user,
            "updated_at": 1_700_000_000,
            "is_deleted": False,
            "account_id": 100500,
            # [php] null, not an empty list.
            "custom_fields_values": [field] if phones else None,
            "_embedded": {"tags": []},
        }

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request meets before its method: the fault, the token, the limit."""
        self.requests.append((request.method, request.path, dict(request.query)))
        broken = await self._broken(request)
        if broken:
            return broken
        if not request.path.startswith("/oauth2") and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(401, "Unauthorized", "Token has expired")
        if self._over_limit():
            return web.Response(status=429, text="Too Many Requests")  # [doc] the body is no JSON
        answer = await handler(request)
        return reset(request) if self.fault is Fault.LOST_ANSWER else answer

    async def _broken(self, request: web.Request) -> web.StreamResponse | None:
        match self.fault:
            case Fault.SILENCE:
                try:
                    await asyncio.wait_for(self._closing.wait(), self._silence_s)
                except TimeoutError:
                    return None
                return reset(request)
            case Fault.REFUSE:
                return reset(request)
            case Fault.HTML:
                return web_page()
            case Fault.LIMIT:
                return web.Response(status=429, text="Too Many Requests")
            case Fault.SERVER_ERROR:
                return web.Response(status=504, text="Gateway Time-out")
            case Fault.UNPAID:
                return _problem(402, "Payment Required", "Account is not paid")
            case Fault.BLOCKED:
                return web.Response(status=403, text="Forbidden")
            case Fault.CUT:
                return await cut_short(request)
            case _:
                return None

    def _over_limit(self) -> bool:
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - 1.0:
            self._recent.popleft()
        self._recent.append(now)
        return len(self._recent) > self._limit

    async def _search(self, request: web.Request) -> web.Response:
        """[php] `query` looks through every filled field; +7… and 8… are different texts to it."""
        kind, wanted = request.match_info["kind"], request.query.get("query", "")
        everybody = not wanted or self.fault is Fault.EVERYBODY
        found = [card for card in self._cards[kind].values() if everybody or _matches(card, wanted)]
        if not found:
            return web.Response(status=204)
        return web.json_response({"_page": 1, "_links": {}, "_embedded": {kind: found}}, dumps=ENCODE)

    async def _card(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        card = self._cards[request.match_info["kind"]].get(int(wanted)) if wanted.isdigit() else None
        return web.json_response(card, dumps=ENCODE) if card else web.Response(status=204)

    async def _notes(self, request: web.Request) -> web.Response:
        """[ng] a call is a note on the card, with the fields it was sent with."""
        calls = self.calls.get(int(request.match_info["id"]), [])
        if not calls:
            return web.Response(status=204)
        notes = [{"id": each["id"], "note_type": "call_in", "params": {"uniq": each.get("uniq")}} for each in calls]
        return web.json_response({"_embedded": {"notes": notes}}, dumps=ENCODE)

    async def _add_calls(self, request: web.Request) -> web.Response:
        made, errors = [], []
        for call in await request.json():
            missing = [name for name in REQUIRED if name not in call]
            if missing:
                return _problem(400, "Bad Request", "Request validation failed", missing=missing)
            card = next((card for card in self._all() if _has(card, call["phone"])), None)
            if card is None:
                errors.append({"request_id": "0", "title": "Entity not found", "detail": "Entity not found"})
                continue
            number = sum(map(len, self.calls.values())) + 1
            self.calls.setdefault(card["id"], []).append({"id": number, **call})
            made.append({"id": number, "entity_id": card["id"], "request_id": "0"})
        # [ng] a call that no card wants is an error of the element; the status is UNCONFIRMED.
        return web.json_response(
            {"_embedded": {"calls": made}, "errors": errors}, status=200 if made else 400, dumps=ENCODE
        )

    async def _add_unsorted(self, request: web.Request) -> web.Response:
        self.unsorted += await request.json()
        return web.json_response({"_total_items": 1, "_embedded": {"unsorted": [{"uid": "u-1"}]}}, dumps=ENCODE)

    async def _add_events(self, request: web.Request) -> web.Response:
        self.popups += (await request.json())["add"]
        return web.json_response({"_embedded": {"items": [{"element_id": 0, "success": True}]}}, dumps=ENCODE)

    async def _oauth(self, request: web.Request) -> web.Response:
        """[php] the pair changes with every refresh, the old refresh token is spent."""
        body = await request.json()
        if (body.get("client_id"), body.get("client_secret"), body.get("redirect_uri")) != self.client:
            return _problem(400, "Некорректный запрос", "invalid client")
        if body.get("refresh_token") != self.refresh_token:
            return web.json_response(
                {"hint": "Token has been revoked", "title": "Некорректный запрос", "status": 400}, status=400
            )
        self.pairs += 1
        self.token, self.refresh_token = f"access-{self.pairs}", f"refresh-{self.pairs}"
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": 86400,
                "access_token": self.token,
                "refresh_token": self.refresh_token,
            }
        )

    def _all(self) -> Sequence[dict[str, Any]]:
        return [*self._cards["contacts"].values(), *self._cards["companies"].values()]


def _phones(card: Mapping[str, Any]) -> Sequence[str]:
    return [value["value"] for field in card["custom_fields_values"] or [] for value in field["values"]]


def _matches(card: Mapping[str, Any], wanted: str) -> bool:
    digits = re.sub(r"\D", "", wanted)
    if digits and any(digits in re.sub(r"\D", "", phone) for phone in _phones(card)):
        return True
    return wanted.casefold() in str(card["name"]).casefold()


def _has(card: Mapping[str, Any], phone: str) -> bool:
    return any(re.sub(r"\D", "", each)[-9:] == phone[-9:] for each in _phones(card))


def _problem(status: int, title: str, detail: str, *, missing: Sequence[str] = ()) -> web.Response:
    """[doc] application/problem+json."""
    errors = [{"code": "NotBlank", "path": f"0.{name}", "detail": "This field is missing."} for name in missing]
    body = {
        "title": title,
        "status": status,
        "detail": detail,
        "validation-errors": [{"request_id": "0", "errors": errors}],
    }
    return web.json_response(body, status=status, content_type="application/problem+json", dumps=ENCODE)
