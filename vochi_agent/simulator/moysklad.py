"""A sandbox MoySklad: JSON API 1.2 and Phone API 1.0 as real HTTP, their errors, limits and oddities included.

Facts are marked with their source: [doc] the vendor's documentation of JSON API 1.2, [phone] that of Phone API 1.0,
[seen] public programs that work with it, UNCONFIRMED what no source proves. Invariant: it knows only invented people.
"""

import asyncio
import json
import re
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from vochi_agent.simulator.crm_server import CrmServer, Fault, Rate

__all__ = ["Fault", "LoggedCall", "MoySkladSandbox"]

DATA: Final = "/api/remap/1.2"
PHONE: Final = "/api/phone/1.0"
HOST: Final = "https://api.moysklad.ru"
# [doc] restrictions: 45 units in 3 s, a user's request weighs 3 since autumn 2026.
DATA_LIMIT: Final = (15, 3.0)
PHONE_LIMIT: Final = (100, 5.0)  # [phone]
# [doc] requests that fail alike so often within a minute switch the account's access off.
DISABLED_AFTER: Final = 200
MOST_EXPANDED: Final = 100  # [doc]
EVENT_TYPES: Final = ("SHOW", "HIDE", "HIDE_ALL", "STARTTIME")  # [phone]
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(slots=True)
class LoggedCall:
    """A call in the account's list, and the events its cards were given."""

    id: str
    fields: dict[str, Any]
    events: list[Mapping[str, Any]] = field(default_factory=list)


class MoySkladSandbox(CrmServer):
    """One account.

    Attributes:
        calls: The account's list of calls, by the id that the caller of the API gave.
        tasks: In the order they came.
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
        super().__init__(
            [
                web.get(f"{DATA}/entity/counterparty", self._search),
                web.post(f"{DATA}/entity/counterparty", self._make_counterparty),
                web.get(f"{DATA}/entity/counterparty/{{id}}", self._counterparty),
                web.get(f"{DATA}/entity/counterparty/{{id}}/contactpersons", self._persons),
                web.post(f"{DATA}/entity/task", self._make_task),
                web.get(f"{PHONE}/employee", self._employees),
                web.post(f"{PHONE}/call", self._make_call),
                web.put(f"{PHONE}/call/extid/{{id}}", self._change_call),
                web.post(f"{PHONE}/call/extid/{{id}}/event", self._event),
            ],
            host="127.0.0.1",
            prefix="",
            silence_s=silence_s,
            check=self._admitted,
            limited=_limit,
            # UNCONFIRMED that it ever happens; a list of errors is one whatever the status says.
            unsuccessful=lambda: _error(200, 1000, "Internal error"),
            unknown=lambda: _error(404, 1021, "Неизвестный адрес"),  # [doc] errors
        )
        self.calls: dict[str, LoggedCall] = {}
        self.tasks: list[Mapping[str, Any]] = []
        self._keys = {"data": data_key, "phone": phone_key}
        self._rates = {"data": Rate(*data_limit), "phone": Rate(*phone_limit)}
        self._refusals: deque[float] = deque()
        self._counterparties: dict[str, dict[str, Any]] = {}
        self._extensions: dict[str, str] = {}

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

    def holders(self, phone: str) -> int:
        """How many counterparties have this number."""
        digits = re.sub(r"\D", "", phone)
        written = (each.get("phone", "") for each in self._counterparties.values())
        return sum(digits in re.sub(r"\D", "", each) for each in written)

    def _admitted(self, request: web.Request) -> web.Response | None:
        """What every request meets before its method: the headers, the key, the limit."""
        kind = "phone" if request.path.startswith(PHONE) else "data"
        refused = self._refused(request, kind)
        if refused is not None:
            return refused
        return _limit() if self._rates[kind].exceeded() else None

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

    async def _search(self, request: web.Request) -> web.Response:
        """[doc] `search` of counterparties is not prefix-only and covers the contact persons' numbers."""
        wanted, limit = request.query.get("search", ""), int(request.query.get("limit", "1000"))
        everybody = not wanted or self.fault is Fault.EVERYBODY
        found = [each for each in self._counterparties.values() if everybody or _matches(each, wanted)]
        # [doc] `expand` does nothing above a limit of 100.
        expanded = "contactpersons" in request.query.get("expand", "") and limit <= 100  # noqa: PLR2004
        rows = [_cut(each) if expanded else _folded(each) for each in found[:limit]]
        meta = {"size": len(found), "limit": limit, "offset": 0}
        return web.json_response({"meta": meta, "rows": rows}, dumps=ENCODE)

    async def _counterparty(self, request: web.Request) -> web.Response:
        card = self._counterparties.get(request.match_info["id"])
        if card is None:
            return _error(404, 1021, "Объект с указанным идентификатором не найден")
        return web.json_response(_cut(card), dumps=ENCODE)

    async def _persons(self, request: web.Request) -> web.Response:
        """[doc] dictionaries/counterparty: the contact persons by themselves, a page at a time."""
        card = self._counterparties.get(request.match_info["id"])
        if card is None:
            return _error(404, 1021, "Объект с указанным идентификатором не найден")
        limit, offset = int(request.query.get("limit", "1000")), int(request.query.get("offset", "0"))
        rows = card["contactpersons"]["rows"]
        meta = {"size": len(rows), "limit": limit, "offset": offset}
        return web.json_response({"meta": meta, "rows": rows[offset : offset + limit]}, dumps=ENCODE)

    async def _make_counterparty(self, request: web.Request) -> web.Response:
        """[doc] dictionaries/counterparty: the name is wanted; as often as it is asked for."""
        body = await request.json()
        if not body.get("name"):
            return _error(412, 3000, "Ошибка сохранения объекта: поле 'name' не может быть пустым")
        made = str(uuid.uuid4())
        owner = body.get("owner", {}).get("meta", {}).get("href", "").rpartition("/")[2]
        self.add_counterparty(
            made, name=body["name"], company_type=body.get("companyType", "legal"), phone=body.get("phone", ""),
            owner=owner,
        )  # fmt: skip
        return web.json_response(self._counterparties[made], dumps=ENCODE)

    async def _make_task(self, request: web.Request) -> web.Response:
        """[doc] dictionaries/task: text and assignee are wanted, the latter as a link."""
        body = await request.json()
        for name in ("description", "assignee"):
            if not body.get(name):
                return _error(412, 3000, f"Ошибка сохранения объекта: поле '{name}' не может быть пустым")
        self.tasks.append(body)
        return web.json_response({"id": str(uuid.uuid4()), **body}, dumps=ENCODE)

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


def _cut(card: Mapping[str, Any]) -> dict[str, Any]:
    """[doc] workbook: of an expanded list the first hundred come with the card."""
    persons = card["contactpersons"]
    return {**card, "contactpersons": {**persons, "rows": persons["rows"][:MOST_EXPANDED]}}


def _folded(card: Mapping[str, Any]) -> dict[str, Any]:
    return {**card, "contactpersons": {"meta": card["contactpersons"]["meta"]}}


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"errors": [{"error": message, "code": code}]}, status=status, dumps=ENCODE)


def _limit() -> web.Response:
    # [doc] 1049 the rate; the pause is told in milliseconds.
    answer = _error(429, 1049, "Превышено ограничение на количество запросов")
    answer.headers["X-Lognex-Retry-After"] = "300"
    return answer
