"""A sandbox Bitrix24 portal: the REST methods of telephony and contacts as real HTTP, with the documented errors.

Facts are marked with their source: [b24] the vendor's documentation, [miko] a public telephony module, UNCONFIRMED what
no source proves. Invariant: it knows only invented people.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from vochi_agent.simulator.bitrix24_events import Parameters, PortalEvents, Refused
from vochi_agent.simulator.broken_http import reset
from vochi_agent.simulator.crm_server import CrmServer, Fault

__all__ = ["Bitrix24Sandbox", "ExternalCall", "Fault"]

MOST_COMMANDS: Final = 50  # [b24] batch
# [b24] limits: a bucket that drains two a second and trips at fifty.
DRAIN_PER_S, BUCKET = 2.0, 50
APPLICATION_ONLY: Final = (  # [b24]
    "telephony.externalcall.register",
    "telephony.externalcall.finish",
    "event.bind",
    "event.get",
    "event.unbind",
    "event.offline.get",
    "event.offline.list",
)
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode
CLICK: Final = "ONEXTERNALCALLSTART"
OK: Final = 200
RECORDING: Final = "telephony.externalcall.attachrecord"
# What stands before a method's first dot -> the right it wants.
AREAS: Final = {"crm": "crm", "telephony": "telephony", "user": "user", "tasks": "task"}
TYPES: Final = (1, 2, 3, 4, 5)  # [b24] of an external call
WITH_ZONE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
REFERENCE: Final = re.compile(r"\$result((?:\[[^\]]*\])+)")


@dataclass(slots=True)
class ExternalCall:
    """A call in the portal's statistics.

    Attributes:
        screens: Users whose screens show its card now.
    """

    id: str
    fields: dict[str, Any]
    screens: set[str] = field(default_factory=set)
    finished: dict[str, Any] | None = None
    records: list[str] = field(default_factory=list)


class Bitrix24Sandbox(CrmServer):
    """One portal and the vendor's token server.

    Attributes:
        calls: By CALL_ID, oldest first.
        token: The access token that is taken now; another one makes the old expired.
        refresh_token: The one refresh token that buys the next pair.
        endpoint: Where the portal says that it lives; "" for here.
        scopes: What the application or the webhook may do.
        overloaded: The vendor has blocked the portal by hand.
        events: Who is told of what.
        tasks: In the order they came.
        fetched: The status that recordings' addresses answer the portal with.
        ill: LIMIT or LOST for one method alone, by its name in small letters.
    """

    def __init__(
        self,
        *,
        webhook_secret: str,
        bucket: int = BUCKET,
        silence_s: float = 30.0,
    ) -> None:
        super().__init__(
            [
                web.post("/rest/{method}.json", self._by_application),
                web.post("/rest/{user}/{secret}/{method}.json", self._by_webhook),
                web.get("/oauth/token/", self._oauth),
            ],
            host="127.0.0.1",
            prefix="",
            silence_s=silence_s,
            check=self._admitted,
            limited=_limit,
            unsuccessful=_failed_commands,
            unknown=lambda: _error(404, "ERROR_METHOD_NOT_FOUND", "Method not found!"),
            # [b24] oauth: the vendor's own server, whatever the portal suffers from.
            elsewhere="/oauth",
        )
        self.calls: dict[str, ExternalCall] = {}
        self.token, self.refresh_token, self.pairs = "", "first-refresh", 0
        self.client = ("app-id", "app-secret")
        self.endpoint = ""
        self.scopes = ["crm", "telephony", "user", "task"]
        self.tasks: list[dict[str, Any]] = []
        self.overloaded = False
        self.fetched = 200
        self.ill: dict[str, Fault] = {}
        self.events = PortalEvents(self.now)
        self._webhook_secret = webhook_secret
        self._cards: dict[str, dict[str, dict[str, Any]]] = {"CONTACT": {}, "COMPANY": {}, "LEAD": {}}
        self._users: dict[str, str] = {}
        self._bucket, self._level, self._drained_at = bucket, 0.0, 0.0

    @property
    def methods(self) -> Sequence[str]:
        """The REST methods that were asked for, oldest first."""
        return [each.path.rpartition("/")[2].removesuffix(".json") for each in self.requests if each.method == "POST"]

    def add_user(self, user_id: str, *, extension: str) -> None:
        """A user with an inner number."""
        self._users[user_id] = extension

    def add_company(self, company_id: str, *, title: str, phones: Sequence[str] = (), user: str = "") -> None:
        """A company."""
        self._add("COMPANY", company_id, phones, user, TITLE=title)

    def add_contact(
        self, contact_id: str, *, last_name: str, name: str = "", phones: Sequence[str] = (), user: str = "",
        company: str = "0",
    ) -> None:  # fmt: skip
        """A person, perhaps of a company."""
        self._add("CONTACT", contact_id, phones, user, LAST_NAME=last_name, NAME=name, COMPANY_ID=company)

    def add_lead(self, lead_id: str, *, name: str, company_title: str = "", phones: Sequence[str] = ()) -> None:
        """A lead."""
        self._add("LEAD", lead_id, phones, "", NAME=name, COMPANY_TITLE=company_title)

    def holders(self, phone: str) -> int:
        """How many contacts and leads have this number."""
        digits = re.sub(r"\D", "", phone)
        written = [each["VALUE"] for kind in ("CONTACT", "LEAD") for card in self._cards[kind].values()
                   for each in card["PHONE"]]  # fmt: skip
        return sum(re.sub(r"\D", "", each) == digits for each in written)

    def _add(self, kind: str, card_id: str, phones: Sequence[str], user: str, **fields: str) -> None:
        # [b24] crm.contact.get: everything is a string.
        written = [
            {"ID": str(n), "VALUE_TYPE": "WORK", "VALUE": each, "TYPE_ID": "PHONE"} for n, each in enumerate(phones)
        ]
        self._cards[kind][card_id] = {"ID": card_id, "ASSIGNED_BY_ID": user, "PHONE": written, **fields}

    def tell(self, event: str, card_id: str) -> None:
        """Something changed: an offline event, when somebody has asked for such."""
        self.events.tell(event, {"FIELDS": {"ID": card_id}})

    def change(self, event: str, card_id: str) -> dict[str, str]:
        """The same as the form that a handler of the event is sent."""
        return self.events.form(event, {"data[FIELDS][ID]": card_id}, url=self.url)

    def click(self, user: str, phone: str) -> dict[str, str]:
        """A user clicks on a number: the portal registers the call, shows its card and tells of it.

        Returns the form that handlers are sent; who has asked for offline events finds it in the queue.
        """
        number = "+" + re.sub(r"\D", "", phone)
        # [b24] on-external-call-start: registered already, so that it is only to be finished.
        call = ExternalCall(
            f"externalCall.click.{len(self.calls) + 1}", {"PHONE_NUMBER": number, "TYPE": 1, "USER_ID": user}, {user}
        )
        self.calls[call.id] = call
        data = {
            "PHONE_NUMBER": phone, "PHONE_NUMBER_INTERNATIONAL": number, "EXTENSION": "", "USER_ID": user,
            "CALL_LIST_ID": "0", "LINE_NUMBER": "7", "IS_MOBILE": "0", "CALL_ID": call.id, "CRM_ENTITY_TYPE": "CONTACT",
            "CRM_ENTITY_ID": "77",
        }  # fmt: skip
        self.events.tell(CLICK, data)
        return self.events.form(CLICK, {f"data[{name}]": value for name, value in data.items()}, url=self.url)

    async def _by_application(self, request: web.Request) -> web.StreamResponse:
        parameters = await request.json()
        token = parameters.pop("auth", "")
        if token != self.token or not token:
            return _error(401, "expired_token" if token else "NO_AUTH_FOUND", "The access token provided has expired.")
        return self._answer(request, parameters, application=True)

    async def _by_webhook(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["secret"] != self._webhook_secret:
            # [b24] system-errors: the same code as without any token.
            return _error(401, "NO_AUTH_FOUND", "Wrong authorization data")
        return self._answer(request, await request.json(), application=False)

    async def _oauth(self, request: web.Request) -> web.StreamResponse:
        """[b24] oauth: the pair changes with every refresh."""
        query = request.query
        if (query.get("client_id"), query.get("client_secret")) != self.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        if query.get("refresh_token") != self.refresh_token:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.pairs += 1
        self.token, self.refresh_token = f"access-{self.pairs}", f"refresh-{self.pairs}"
        return web.json_response(
            {
                "access_token": self.token,
                "refresh_token": self.refresh_token,
                "expires_in": 3600,
                "scope": "app",
                "client_endpoint": f"{self.endpoint or self.url}/rest/",
            }
        )

    def _admitted(self, request: web.Request) -> web.Response | None:
        """The portal's limit; the vendor's token server has its own, which nobody meets."""
        if request.path.startswith("/oauth"):
            return None
        if self.overloaded:
            return _error(503, "OVERLOAD_LIMIT", "REST API is blocked due to overload.")
        return _limit() if self._over_limit() else None

    def _answer(self, request: web.Request, parameters: Parameters, *, application: bool) -> web.StreamResponse:
        method = request.match_info["method"]
        ill = self.ill.get(method.lower())
        if ill is Fault.LIMIT:
            return _limit()
        try:
            if method.lower() == "batch":
                result: object = self._batch(parameters, application=application)
            else:
                result = self._call(method, parameters, application=application)
        except Refused as refusal:
            return _error(refusal.status, refusal.code, refusal.description)
        if ill is Fault.LOST:
            return reset(request)
        time = {"start": self.now(), "operating": 0.05}
        return web.json_response({"result": result, "time": time}, dumps=ENCODE)

    def _over_limit(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._level = max(0.0, self._level - (now - self._drained_at) * DRAIN_PER_S) + 1
        self._drained_at = now
        return self._level > self._bucket

    def _batch(self, parameters: Parameters, *, application: bool) -> object:
        """[b24] one after another; later commands may name earlier results; the whole is 200 whatever failed."""
        commands = parameters.get("cmd", {})
        if len(commands) > MOST_COMMANDS:
            raise Refused(400, "ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
        results: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, command in commands.items():
            method, _, query = _resolve(command, results).partition("?")
            if method.lower() == "batch":
                raise Refused(405, "ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage")
            try:
                results[name] = self._call(method, dict(parse_qsl(query)), application=application)
            except Refused as refusal:
                errors[name] = {"error": refusal.code, "error_description": refusal.description}
        # [b24] an empty map arrives as a list.
        return {"result": results or [], "result_error": errors or [], "result_total": [], "result_next": []}

    def _call(self, method: str, parameters: Parameters, *, application: bool) -> object:
        name = method.lower()
        if name in APPLICATION_ONLY and not application:
            raise Refused(403, "WRONG_AUTH_TYPE", "Current authorization type is denied for this method")
        if AREAS.get(name.partition(".")[0], "") not in ("", *self.scopes):
            raise Refused(403, "insufficient_scope", "The request requires higher privileges")
        methods: dict[str, Callable[[Parameters], object]] = {
            "user.get": self._find_users,
            "scope": lambda _: self.scopes,
            **self.events.methods,
            "crm.company.contact.items.get": self._contacts_of,
            "crm.duplicate.findbycomm": self._find,
            "telephony.externalcall.searchcrmentities": self._who,
            "telephony.externalcall.register": self._register,
            "telephony.externalcall.show": self._show,
            "telephony.externalcall.hide": self._hide,
            "telephony.externalcall.finish": self._finish,
            RECORDING: self._attach,
            "crm.contact.add": lambda given: self._make("CONTACT", given),
            "crm.lead.add": lambda given: self._make("LEAD", given),
            "tasks.task.add": self._make_task,
            "crm.contact.get": lambda given: self._get("CONTACT", given),
            "crm.company.get": lambda given: self._get("COMPANY", given),
            "crm.lead.get": lambda given: self._get("LEAD", given),
        }
        if name not in methods:
            raise Refused(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        return methods[name](parameters)

    def _matching(self, values: Sequence[str]) -> dict[str, list[str]]:
        """That full numbers of any formatting are compared: UNCONFIRMED, variants are sent for this reason."""
        wanted = {re.sub(r"\D", "", value) for value in values}
        everybody = self.fault is Fault.EVERYBODY
        found = {
            kind: [
                card_id
                for card_id, card in cards.items()
                if everybody or any(re.sub(r"\D", "", phone["VALUE"]) in wanted for phone in card["PHONE"])
            ]
            for kind, cards in self._cards.items()
        }
        return {kind: ids for kind, ids in found.items() if ids}

    def _find(self, parameters: Parameters) -> object:
        values = [value for key, value in parameters.items() if key.startswith("values")]
        found = {kind: [int(card_id) for card_id in ids] for kind, ids in self._matching(values).items()}
        return found or []  # [b24] a hit is an object, none is a list

    def _who(self, parameters: Parameters) -> object:
        """That telephony knows a number with a national prefix again: UNCONFIRMED."""
        answers = []
        number = str(parameters.get("PHONE_NUMBER", ""))
        for kind, ids in self._matching([number, f"8{number[-10:]}"]).items():
            for card_id in ids:
                user = self._cards[kind][card_id]["ASSIGNED_BY_ID"]
                who = {"ID": user, "USER_PHONE_INNER": self._users.get(user), "TIMEMAN_STATUS": "OPENED"}
                answers.append(
                    {"CRM_ENTITY_TYPE": kind, "CRM_ENTITY_ID": int(card_id), "ASSIGNED_BY_ID": user, "ASSIGNED_BY": who}
                )
        return answers

    def _get(self, kind: str, parameters: Parameters) -> object:
        card = self._cards[kind].get(str(parameters.get("id", "")))
        if card is None:
            raise Refused(400, "", "Not found")  # [b24] the code is empty
        return card

    def _make(self, kind: str, parameters: Parameters) -> object:
        """[b24] crm.contact.add, crm.lead.add: the new id, as often as it is asked for."""
        fields = dict(parameters.get("fields") or {})
        if not (fields.get("NAME") or fields.get("TITLE")):
            raise Refused(400, "", "Не заполнено обязательное поле")  # the words are UNCONFIRMED
        card_id = str(max([5000, *map(int, self._cards[kind])]) + 1)
        phones = [each["VALUE"] for each in fields.pop("PHONE", [])]
        user = fields.pop("ASSIGNED_BY_ID", "")
        self._add(kind, card_id, phones, user, **{"COMPANY_ID": "0", **fields})
        return int(card_id)

    def _make_task(self, parameters: Parameters) -> object:
        """[b24] tasks.task.add: title and responsible user are wanted; the whole task comes back."""
        fields = dict(parameters.get("fields") or {})
        if not fields.get("TITLE") or not fields.get("RESPONSIBLE_ID"):
            raise Refused(400, "0", "Не указан исполнитель")  # the words are UNCONFIRMED
        self.tasks.append(fields)
        return {"task": {"id": str(len(self.tasks)), "title": fields["TITLE"]}}

    def _register(self, parameters: Parameters) -> object:
        """[b24] external-call-register; what counts as a number is UNCONFIRMED."""
        if not re.search(r"\d", str(parameters.get("PHONE_NUMBER", ""))):
            raise Refused(400, "ERROR_CORE", "Unsupported phone number format")
        if parameters.get("TYPE") not in TYPES:
            raise Refused(400, "ERROR_CORE", "Unknown TYPE")
        if "CALL_START_DATE" in parameters and not WITH_ZONE.fullmatch(str(parameters["CALL_START_DATE"])):
            raise Refused(400, "ERROR_CORE", "CALL_START_DATE should be in the ISO-8601 format")
        self._user(parameters)
        external = parameters.get("EXTERNAL_CALL_ID")
        # [b24] issues: the same id of ours is the same call; without one, so are two calls of one number.
        for call in self.calls.values():
            same = call.fields.get("EXTERNAL_CALL_ID") == external if external else (
                call.fields["PHONE_NUMBER"] == parameters["PHONE_NUMBER"]
            )  # fmt: skip
            if same:
                return {"CALL_ID": call.id, "CRM_CREATED_LEAD": None}
        call = ExternalCall(f"externalCall.{len(self.calls) + 1}", dict(parameters))
        self.calls[call.id] = call
        if int(parameters.get("SHOW", 1)):
            call.screens.add(self._user(parameters))
        return {"CALL_ID": call.id, "CRM_CREATED_LEAD": None, "CRM_CREATED_ENTITIES": []}

    def _show(self, parameters: Parameters) -> object:
        self._known(parameters).screens |= _users(parameters)
        return True

    def _hide(self, parameters: Parameters) -> object:
        self._known(parameters).screens -= _users(parameters)
        return True

    def _finish(self, parameters: Parameters) -> object:
        call = self._known(parameters)
        self._user(parameters)
        call.finished = dict(parameters)
        call.screens.clear()
        return {"CALL_ID": call.id, "CALL_DURATION": parameters.get("DURATION"), "CRM_ACTIVITY_ID": 1}

    def _attach(self, parameters: Parameters) -> object:
        """[b24] attach-record: of a finished call only; by the address, which the portal fetches before it answers."""
        call = self.calls.get(str(parameters.get("CALL_ID", "")))
        if call is None or call.finished is None:
            raise Refused(
                400, "ERROR_CORE", "Call is not found in the statistic table. Looks like it is not finished yet."
            )
        if not str(parameters.get("FILENAME", "")).endswith((".mp3", ".wav")):
            raise Refused(400, "ERROR_CORE", "Wrong file extension. Only wav and mp3 are allowed")
        if self.fetched != OK:
            raise Refused(400, "ERROR_CORE", f"Server returns HTTP error code {self.fetched}")
        call.records.append(str(parameters.get("RECORD_URL", "")))
        return {"FILE_ID": len(call.records)}

    def _find_users(self, parameters: Parameters) -> object:
        wanted = {key: value for key, value in parameters.get("FILTER", {}).items() if key != "ACTIVE"}
        users = [{"ID": user, "UF_PHONE_INNER": inner} for user, inner in self._users.items()]
        return [each for each in users if each | wanted == each]

    def _contacts_of(self, parameters: Parameters) -> object:
        company = str(parameters.get("id", ""))
        people = self._cards["CONTACT"].values()
        return [{"CONTACT_ID": int(each["ID"])} for each in people if each["COMPANY_ID"] == company]

    def _known(self, parameters: Parameters) -> ExternalCall:
        """[b24] external-call-finish: what is finished is no call any more but a line of the statistics."""
        call = self.calls.get(str(parameters.get("CALL_ID", "")))
        if call is None or call.finished is not None:
            raise Refused(400, "ERROR_CORE", "Call is not found (call should be registered prior to finishing")
        return call

    def _user(self, parameters: Parameters) -> str:
        user = str(parameters.get("USER_ID", ""))
        inner = parameters.get("USER_PHONE_INNER")
        found = user if user in self._users else next((each for each, code in self._users.items() if code == inner), "")
        if not user and not inner:
            raise Refused(400, "ERROR_CORE", "USER_ID or USER_PHONE_INNER should be set")
        if not found:
            raise Refused(400, "ERROR_CORE", "User is not found or is not active")
        return found


def _users(parameters: Parameters) -> set[str]:
    users = parameters.get("USER_ID", [])
    return {str(each) for each in users} if isinstance(users, list) else {str(users)}


def _resolve(command: str, results: Mapping[str, Any]) -> str:
    """[b24] `$result[name][key]`; what leads nowhere becomes empty: UNCONFIRMED."""

    def value(match: re.Match[str]) -> str:
        found: Any = results
        for key in re.findall(r"\[([^\]]*)\]", match[1]):
            if isinstance(found, list):
                found = found[int(key)] if key.isdigit() and int(key) < len(found) else ""
            else:
                found = found.get(key, "") if isinstance(found, Mapping) else ""
        return str(found)

    return REFERENCE.sub(value, command)


def _error(status: int, code: str, description: str) -> web.Response:
    return web.json_response({"error": code, "error_description": description}, status=status, dumps=ENCODE)


def _limit() -> web.Response:
    return _error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")


def _failed_commands() -> web.Response:
    """[b24] batch: 200 although every command failed."""
    errors = {name: {"error": "", "error_description": "Internal error"} for name in ("ids", "who")}
    return web.json_response({"result": {"result": [], "result_error": errors}}, dumps=ENCODE)
