"""A sandbox U-ON.Travel: a real HTTP server that answers as the API does, its errors, limits and oddities included.

For tests and the demonstration. Facts are marked with their source: [skill] is the public client that was tried on a
live trial account, with its copy of the cabinet's pages (atomachinskiy/claude-skill-uon-travel); [mc] the response
fields that mindcloud-inc/universal-api-reference saw at run time; [php] the client DrTeamRocks/uon; [bridge] a public
telephone bridge in daily use; UNCONFIRMED what no source proves. Invariant: it knows only invented people.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from vochi_agent.simulator.crm_server import CrmServer, Fault, Rate

__all__ = ["Fault", "UonSandbox"]

REQUESTS_PER_S: Final = 10  # [skill] conventions §14, [php] Client
PAGE: Final = 100  # [skill] conventions §13
PHONES: Final = ("u_phone", "u_phone_mobile", "u_phone_home")
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode


class UonSandbox(CrmServer):
    """The account of one travel agency.

    Attributes:
        requests: Every request so far, with the path below the key.
        calls: The account's history of calls; one that is written twice stands in it twice.
        notices: Popups, as forms.
        leads: As forms.
        reminders: As forms.
        readable: Whether items of the history name the phone and the beginning.
    """

    def __init__(
        self,
        *,
        api_key: str,
        host: str = "127.0.0.1",
        silence_s: float = 30.0,
        requests_per_s: int = REQUESTS_PER_S,
    ) -> None:
        self._api_key = api_key
        self._rate = Rate(requests_per_s)
        self._users: dict[int, dict[str, object]] = {}
        self.calls: list[Mapping[str, str]] = []
        self.notices: list[Mapping[str, str]] = []
        self.leads: list[Mapping[str, str]] = []
        self.reminders: list[Mapping[str, str]] = []
        self.readable = True
        super().__init__(
            [
                web.get("/{key}/user/phone/{digits}.json", self._by_phone),
                web.get("/{key}/user/{id}.json", self._by_id),
                web.get("/{key}/call_history/{page}.json", self._history),
                web.post("/{key}/call_history/create.json", self._log),
                web.post("/{key}/notification/create.json", self._notify),
                web.post("/{key}/user/create.json", self._make_user),
                web.post("/{key}/lead/create.json", self._make_lead),
                web.post("/{key}/reminder/create.json", self._remind),
            ],
            host=host,
            prefix=f"/{api_key}",
            silence_s=silence_s,
            check=self._admitted,
            limited=_limit,
            unsuccessful=lambda: _answer(200, {"result": 500, "error": {"message": "Internal error"}}),  # UNCONFIRMED
            unknown=_nobody,
        )

    def add_user(
        self,
        user_id: int,
        *,
        surname: str = "",
        name: str = "",
        second_name: str = "",
        company: str = "",
        phones: Sequence[str] = (),
        manager_id: int | None = None,
        deleted: bool = False,
        updated_at: str = "2026-10-01T10:00:00+0300",
    ) -> None:
        """A client; up to three `phones` as somebody typed them. The same id replaces the card."""
        # [mc] and [skill] fields.md; that numbers are kept as they were typed: [skill] conventions §9.
        self._users[user_id] = {
            "u_id": user_id,
            "global_u_id": 9_000_000 + user_id,
            "u_type": 2 if company else 1,
            "u_surname": surname,
            "u_name": name,
            "u_sname": second_name,
            **dict.fromkeys(PHONES, ""),
            **dict(zip(PHONES, phones, strict=False)),
            "u_email": "",
            "u_company": company,
            "manager_id": manager_id,
            "office_id": None,
            "active": 1,
            "deleted": int(deleted),
            "u_date_update": updated_at,
            "extended_fields": [],
        }

    def holders(self, phone: str) -> int:
        """How many clients have this number."""
        digits = re.sub(r"\D", "", phone)
        return sum(any(re.sub(r"\D", "", str(user[key])) == digits for key in PHONES) for user in self._users.values())

    def _admitted(self, request: web.Request) -> web.Response | None:
        """The key of the path, then the limit."""
        if unquote(request.rel_url.raw_path.split("/")[1]) != self._api_key:
            # The status and the text as a public implementation met them; a key without the tick GET is a 403 too,
            # [skill] auth.md.
            return _answer(403, {"error": {"message": "API key is wrong"}})
        return _limit() if self._rate.exceeded() else None

    async def _by_phone(self, request: web.Request) -> web.Response:
        wanted = request.match_info["digits"]
        if not wanted.isdecimal():
            # [skill] conventions §3: a wrong parameter is a 404 with a sentence.
            return _answer(404, {"error": {"message": "Parameter phone is wrong"}})
        everybody = self.fault is Fault.EVERYBODY
        # Digits alone are compared; that the whole number has to be the same is UNCONFIRMED.
        found = [
            user
            for user in self._users.values()
            if everybody or any(re.sub(r"\D", "", str(user[key])) == wanted for key in PHONES)
        ]
        return _answer(200, {"result": 200, "users": found}) if found else _nobody()

    async def _by_id(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        if not wanted.isdecimal():
            return _answer(404, {"error": {"message": "Parameter id is wrong"}})
        user = self._users.get(int(wanted))
        # UNCONFIRMED whether `user` is a list or an object; a list here, an object in the tests of the reader.
        return _answer(200, {"result": 200, "user": [user]}) if user else _nobody()

    async def _log(self, request: web.Request) -> web.Response:
        """[skill] cli `cmd_calls_log`, [bridge] `log_call`: no id of ours, nothing is compared."""
        record = await _form(request)
        wanted = {"phone": r"[0-9]+", "start": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "direction": "[12]"}
        for name, form in wanted.items():
            if not re.fullmatch(form, record.get(name, "")):
                return _answer(404, {"error": {"message": f"Parameter {name} is wrong"}})
        self.calls.append(record)
        return _answer(200, {"result": 200, "id": str(len(self.calls))})

    async def _history(self, request: web.Request) -> web.Response:
        """The list comes under `users`, as a public implementation met it; the items' fields are UNCONFIRMED."""
        page, size = int(request.match_info["page"]), PAGE
        found = [
            {"id": number, "duration": call.get("duration", "0"), "direction": call["direction"]}
            | ({"phone": call["phone"], "start": call["start"]} if self.readable else {})
            for number, call in enumerate(self.calls, 1)
        ]
        items = found[(page - 1) * size : page * size]
        if not items:
            return _nobody()
        return _answer(200, {"result": 200, "users": items, "pages_all": -(-len(found) // size)})

    async def _notify(self, request: web.Request) -> web.Response:
        """[skill] cli `cmd_notifications_create`: one manager a request."""
        notice = await _form(request)
        if not notice.get("manager_id", "").isdecimal() or not notice.get("text"):
            return _answer(404, {"error": {"message": "Parameter manager_id is wrong"}})
        self.notices.append(notice)
        return _answer(200, {"result": 200, "id": str(len(self.notices))})

    async def _make_user(self, request: web.Request) -> web.Response:
        """[bridge]: a client with this number, as often as it is asked for."""
        form = await _form(request)
        if not form.get("u_phone"):
            return _answer(404, {"error": {"message": "Parameter u_phone is wrong"}})
        user_id = max(self._users, default=5000) + 1
        manager = form.get("u_manager_id", "")
        self.add_user(
            user_id, surname=form.get("u_surname", ""), phones=[form["u_phone"]],
            manager_id=int(manager) if manager else None,
        )  # fmt: skip
        return _answer(200, {"result": 200, "id": str(user_id)})

    async def _make_lead(self, request: web.Request) -> web.Response:
        """[skill] fields.md; that a lead makes its client too is UNCONFIRMED, so it does not here."""
        form = await _form(request)
        if not form.get("u_phone"):
            return _answer(404, {"error": {"message": "Parameter u_phone is wrong"}})
        self.leads.append(form)
        return _answer(200, {"result": 200, "id": str(len(self.leads))})

    async def _remind(self, request: web.Request) -> web.Response:
        """[skill] fields.md."""
        form = await _form(request)
        missing = [name for name in ("type_id", "datetime", "text", "manager_id") if not form.get(name)]
        if missing:
            return _answer(404, {"error": {"message": f"Parameter {missing[0]} is wrong"}})
        self.reminders.append(form)
        return _answer(200, {"result": 200, "id": str(len(self.reminders))})


async def _form(request: web.Request) -> Mapping[str, str]:
    return {name: str(value) for name, value in (await request.post()).items()}


def _limit() -> web.Response:
    """[skill] conventions §14: 429 without Retry-After."""
    return _answer(429, {"error": {"message": "Too many requests"}})


def _nobody() -> web.Response:
    """[skill] conventions §8: an empty list is HTTP 404."""
    return _answer(404, {"result": 404})


def _answer(status: int, body: Mapping[str, object]) -> web.Response:
    return web.json_response(body, status=status, dumps=ENCODE)
