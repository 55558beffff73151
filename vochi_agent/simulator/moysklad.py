"""A sandbox MoySklad: JSON API 1.2 and Phone API 1.0 as real HTTP, their errors, limits and oddities included.

Facts are marked with their source: [doc] the vendor's documentation of JSON API 1.2, [phone] that of Phone API 1.0,
[seen] public programs that work with it, UNCONFIRMED what no source proves. Invariant: it knows only invented people.
"""

import asyncio
import json
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from vochi_agent.simulator.broken_http import cut_short, reset, web_page

__all__ = ["Fault", "LoggedCall", "MoySkladRequest", "MoySkladSandbox"]

DATA: Final = "/api/remap/1.2"
PHONE: Final = "/api/phone/1.0"
HOST: Final = "https://api.moysklad.ru"
# [doc] restrictions: 45 units in 3 s, a user's request weighs 3 since autumn 2026.
DATA_LIMIT: Final = (15, 3.0)
PHONE_LIMIT: Final = (100, 5.0)  # [phone]
# [doc] requests that fail alike so often within a minute switch the account's access off.
DISABLED_AFTER: Final = 200
MAX_LOG: Final = 1000
EVENT_TYPES: Final = ("SHOW", "HIDE", "HIDE_ALL", "STARTTIME")  # [phone]
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(StrEnum):
    """What goes wrong with every request until it is taken back."""

    SILENCE = "silence"
    HTML = "html"
    SERVER_ERROR = "500"
    LIMIT = "429"
    CUT = "cut"
    REFUSE = "refuse"
    EVERYBODY = "everybody"  # `search` is ignored: UNCONFIRMED
    LOST_ANSWER = "lost"  # the request is carried out, its answer is cut off


@dataclass(frozen=True, slots=True)
class MoySkladRequest:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(slots=True)
class LoggedCall:
    """A call in the account's list, and the events its cards were given."""

    id: str
    fields: dict[str, Any]
    events: list[Mapping[str, Any]] = field(default_factory=list)


class MoySkladSandbox:
    """One account.

    Attributes:
        fault: Set it at any time; holds for requests that come from then on.
        requests: Every request so far, oldest first, bounded.
        calls: The account's list of calls, by the id that the caller of the API gave.
    """

    def __init__(
        self,
        *,
        data_key: str,
        phone_key: str,
        data_limit: tuple[int, float] = DATA_LIMIT,
        phone_limit: tuple[int, float] = PHONE_LIMIT,
        silence_s: float = 30.0,
    ) -> None:
        self.fault: Fault | None = None
        self.requests: deque[MoySkladRequest] = deque(maxlen=MAX_LOG)
        self.calls: dict[str, LoggedCall] = {}
        self._keys = {"data": data_key, "phone": phone_key}
        self._limits = {"data": data_limit, "phone": phone_limit}
        self._recent: dict[str, deque[float]] = {"data": deque(), "phone": deque()}
        self._refusals: deque[float] = deque()
        self._silence_s = silence_s
        self._counterparties: dict[str, dict[str, Any]] = {}
        self._extensions: dict[str, str] = {}
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address, as the configuration wants it."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._door])
        app.add_routes(
            [
                web.get(f"{DATA}/entity/counterparty", self._search),
                web.get(f"{DATA}/entity/counterparty/{{id}}", self._counterparty),
                web.get(f"{PHONE}/employee", self._employees),
                web.post(f"{PHONE}/call", self._make_call),
                web.put(f"{PHONE}/call/extid/{{id}}", self._change_call),
                web.post(f"{PHONE}/call/extid/{{id}}/event", self._event),
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

    def add_employee(self, employee_id: str, *, extension: str) -> None:
        """An employee with a telephone."""
        self._extensions[employee_id] = extension

    def add_counterparty(
        self,
        counterparty_id: str,
        *,
        name: str,
        company_type: str = "individual",
        phone: str = "",
        owner: str = "",
        archived: bool = False,
        updated: str = "2026-10-01 10:00:00.000",
        contacts: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """A counterparty; `contacts` are (id, name, phone). Numbers keep the formatting somebody gave them."""
        # [doc] dictionaries/counterparty: empty fields are left out.
        persons = [{"id": person, "name": who, "phone": number} for person, who, number in contacts]
        card: dict[str, Any] = {
            "meta": {
                "href": f"{HOST}{DATA}/entity/counterparty/{counterparty_id}",
                "type": "counterparty",
                "uuidHref": f"https://online.moysklad.ru/app/#company/edit?id={counterparty_id}",
            },
            "id": counterparty_id,
            "name": name,
            "companyType": company_type,
            "phone": phone,
            "archived": archived,
            "created": "2025-01-01 10:00:00.000",
            "updated": updated,
            "contactpersons": {"meta": {"size": len(persons)}, "rows": persons},
        }
        if owner:
            card["owner"] = {"meta": {"href": f"{HOST}{DATA}/entity/employee/{owner}"}, "id": owner, "name": "Кто-то"}
        self._counterparties[counterparty_id] = {key: value for key, value in card.items() if value != ""}

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request meets before its method: the fault, the headers, the key, the limit."""
        text = await request.text()
        body = json.loads(text) if text else {}
        self.requests.append(MoySkladRequest(request.method, request.path, dict(request.query), body))
        broken = await self._broken(request)
        if broken:
            return broken
        kind = "phone" if request.path.startswith(PHONE) else "data"
        refused = self._refused(request, kind)
        if refused is not None:
            return refused
        if self._over_limit(kind):
            return _limit()
        try:
            answer = await handler(request)
        except web.HTTPNotFound:
            return _error(404, 1021, "Неизвестный адрес")  # [doc] errors
        return reset(request) if self.fault is Fault.LOST_ANSWER else answer

    def _refused(self, request: web.Request, kind: str) -> web.Response | None:
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(status=415)  # [doc] compression: an empty body
        if kind == "data":
            if request.headers.get("Accept") != "application/json;charset=utf-8":
                return _error(400, 1062, "Неверное значение заголовка 'Accept'")  # [doc] errors
            right = request.headers.get("Authorization") == f"Bearer {self._keys['data']}"
        else:
            right = request.headers.get("Lognex-Phone-Auth-Token") == self._keys["phone"]  # [phone]
        if right:
            return None
        now = asyncio.get_running_loop().time()
        self._refusals.append(now)
        while self._refusals[0] < now - 60:
            self._refusals.popleft()
        if len(self._refusals) > DISABLED_AFTER:
            return _error(403, 1016, "Доступ к API отключён")  # [doc] restrictions; the text is UNCONFIRMED
        return _error(401, 1056, "Ошибка аутентификации: Неправильный пароль или имя пользователя или ключ авторизации")

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
                return _limit()
            case Fault.SERVER_ERROR:
                return web.Response(status=500, text="Internal Server Error")
            case Fault.CUT:
                return await cut_short(request)
            case _:
                return None

    def _over_limit(self, kind: str) -> bool:
        (most, seconds), recent = self._limits[kind], self._recent[kind]
        now = asyncio.get_running_loop().time()
        while recent and recent[0] <= now - seconds:
            recent.popleft()
        recent.append(now)
        return len(recent) > most

    async def _search(self, request: web.Request) -> web.Response:
        """[doc] `search` of counterparties is not prefix-only and covers the contact persons' numbers."""
        wanted, limit = request.query.get("search", ""), int(request.query.get("limit", "1000"))
        everybody = not wanted or self.fault is Fault.EVERYBODY
        found = [each for each in self._counterparties.values() if everybody or _matches(each, wanted)]
        # [doc] `expand` does nothing above a limit of 100.
        expanded = "contactpersons" in request.query.get("expand", "") and limit <= 100  # noqa: PLR2004
        rows = [each if expanded else _folded(each) for each in found[:limit]]
        meta = {"size": len(found), "limit": limit, "offset": 0}
        return web.json_response({"meta": meta, "rows": rows}, dumps=ENCODE)

    async def _counterparty(self, request: web.Request) -> web.Response:
        card = self._counterparties.get(request.match_info["id"])
        if card is None:
            return _error(404, 1021, "Объект с указанным идентификатором не найден")
        return web.json_response(card, dumps=ENCODE)

    async def _employees(self, _: web.Request) -> web.Response:
        found = [
            {"meta": {"href": f"{HOST}{DATA}/entity/employee/{employee}"}, "extention": extension}  # [phone] sic
            for employee, extension in self._extensions.items()
        ]
        return web.json_response({"employees": found}, dumps=ENCODE)

    async def _make_call(self, request: web.Request) -> web.Response:
        body = await request.json()
        # [phone] the first four are required.
        for name in ("externalId", "number", "isIncoming", "startTime"):
            if name not in body:
                return _error(400, 55002, f"Не указано поле '{name}'")  # the code is UNCONFIRMED
        if body["externalId"] in self.calls:
            return _error(412, 55003, "Звонок с таким externalId уже существует")  # UNCONFIRMED, the strict reading
        call = LoggedCall(str(uuid.uuid4()), dict(body))
        self.calls[body["externalId"]] = call
        return web.json_response({"id": call.id, **call.fields}, dumps=ENCODE)

    async def _change_call(self, request: web.Request) -> web.Response:
        """[phone] what is filled stays, but for the comment; recordings are added."""
        call = self.calls.get(request.match_info["id"])
        if call is None:
            return _error(404, 55004, "Звонок не найден")  # the code is UNCONFIRMED
        body = await request.json()
        call.fields["comment"] = body.pop("comment", call.fields.get("comment", ""))
        call.fields["recordUrl"] = [*call.fields.get("recordUrl", []), *body.pop("recordUrl", [])]
        call.fields |= {key: value for key, value in body.items() if key not in call.fields}
        return web.json_response({"id": call.id, **call.fields}, dumps=ENCODE)

    async def _event(self, request: web.Request) -> web.Response:
        call = self.calls.get(request.match_info["id"])
        if call is None:
            return _error(404, 55004, "Звонок не найден")
        event = await request.json()
        if event.get("eventType") not in EVENT_TYPES or not isinstance(event.get("sequence"), int):
            return _error(400, 55005, "Неизвестный тип события")  # the code is UNCONFIRMED
        call.events.append(event)
        return web.Response(status=204)


def _matches(card: Mapping[str, Any], wanted: str) -> bool:
    digits = re.sub(r"\D", "", wanted)
    numbers = [card.get("phone", ""), *(each["phone"] for each in card["contactpersons"]["rows"])]
    if digits and any(digits in re.sub(r"\D", "", number) for number in numbers):
        return True
    return wanted.casefold() in card["name"].casefold()


def _folded(card: Mapping[str, Any]) -> dict[str, Any]:
    return {**card, "contactpersons": {"meta": card["contactpersons"]["meta"]}}


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"errors": [{"error": message, "code": code}]}, status=status, dumps=ENCODE)


def _limit() -> web.Response:
    # [doc] 1049 the rate; the pause is told in milliseconds.
    answer = _error(429, 1049, "Превышено ограничение на количество запросов")
    answer.headers["X-Lognex-Retry-After"] = "300"
    return answer
