"""A sandbox RetailCRM: a real HTTP server that answers as API v5 does, its errors, limits and oddities included.

For tests and the demonstration. Facts are marked with their source: [php] and [go] are the official clients, [docs]
the developers' pages, [bridge] a public telephone bridge in daily use, UNCONFIRMED what no source proves. Invariant: it
knows only invented people.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from vochi_agent.simulator.crm_server import CrmServer, Fault, Rate

__all__ = ["Fault", "RetailCrmSandbox"]

API: Final = "/api/v5"
PAGE_SIZES: Final = ("20", "50", "100")  # [php] src/Enum/PaginationLimit.php
REQUESTS_PER_S: Final = 10  # [go] rate.go
TELEPHONY_REQUESTS_PER_S: Final = 40  # [go] rate.go: /telephony/* has a limit of its own
MOST_UPLOADED: Final = 50  # [docs] calls of one upload
# [php] src/Enum/Telephony: CallResult and CallEventHangupStatus, which spell one of them differently.
RESULTS: Final = ("answered", "busy", "failed", "no answer", "not allowed", "unknown")
HANGUPS: Final = ("answered", "busy", "cancel", "failed", "no answered")
DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(kw_only=True)
class _Person:
    id: int
    last_name: str
    first_name: str
    patronymic: str
    phones: Sequence[str]
    manager_id: int | None
    updated_at: str
    is_contact: bool = False

    def card(self) -> dict[str, object]:
        """[php] src/Model/Entity/Customers/Customer.php and tests; `updatedAt` as running installations see it."""
        return {
            "type": "customer",
            "id": self.id,
            "isContact": self.is_contact,
            "createdAt": "2025-03-01 10:00:00",
            "updatedAt": self.updated_at,
            "managerId": self.manager_id,
            "site": "main",
            "firstName": self.first_name,
            "lastName": self.last_name,
            "patronymic": self.patronymic,
            "phones": [{"number": phone} for phone in self.phones],
            "ordersCount": 0,
            "totalSumm": 0,
        }

    def matches(self, wanted: str) -> bool:
        """[docs] `filter[name]` looks for a name or a phone; that any part of the bare digits will do: UNCONFIRMED."""
        digits = re.sub(r"\D", "", wanted)
        if digits and any(digits in re.sub(r"\D", "", phone) for phone in self.phones):
            return True
        return wanted.casefold() in f"{self.last_name} {self.first_name} {self.patronymic}".casefold()


class RetailCrmSandbox(CrmServer):
    """The account of one company.

    Attributes:
        requests: Every request so far, with the path below `/api/v5` and its parameters.
        calls: The account's list of calls, in the order they came.
        events: What its users' screens were told, in the order it came.
        tasks: In the order they came.
        modules: Integration modules by code.
    """

    def __init__(
        self,
        *,
        api_key: str,
        host: str = "127.0.0.1",
        port: int = 0,
        silence_s: float = 30.0,
        requests_per_s: int = REQUESTS_PER_S,
    ) -> None:
        self._api_key = api_key
        self._limits = {
            "telephony": Rate(TELEPHONY_REQUESTS_PER_S),
            "": Rate(requests_per_s),
        }
        self._customers: dict[int, _Person] = {}
        self._companies: dict[int, dict[str, object]] = {}
        self._contacts: dict[int, list[int]] = {}
        self._codes: dict[int, str] = {}
        self._history: dict[str, list[dict[str, object]]] = {"customers": [], "customers-corporate": []}
        self._history_id = 4000
        self.calls: list[Mapping[str, object]] = []
        self.events: list[Mapping[str, object]] = []
        self.tasks: list[Mapping[str, Any]] = []
        self.modules: dict[str, Mapping[str, object]] = {}
        super().__init__(
            [
                web.get(f"{API}/customers", self._list_customers),
                web.get(f"{API}/customers/history", self._list_history),
                web.get(f"{API}/customers-corporate/history", self._list_history),
                web.get(f"{API}/customers/{{id}}", self._one_customer),
                web.get(f"{API}/customers-corporate", self._list_companies),
                web.get(f"{API}/customers-corporate/{{id}}/contacts", self._list_contacts),
                web.post(f"{API}/customers/create", self._make_customer),
                web.post(f"{API}/tasks/create", self._make_task),
                web.get(f"{API}/telephony/manager", self._manager),
                web.post(f"{API}/telephony/calls/upload", self._upload),
                web.post(f"{API}/telephony/call/event", self._event),
                web.get(f"{API}/integration-modules/{{code}}", self._one_module),
                web.post(f"{API}/integration-modules/{{code}}/edit", self._edit_module),
                # [go] client.go: not below the version.
                web.get("/api/credentials", self._credentials),
            ],
            host=host,
            port=port,
            prefix=API,
            silence_s=silence_s,
            check=self._admitted,
            # [go] client.go: 503 is how the limit shows; the body's text is UNCONFIRMED.
            limited=lambda: _error(503, "Too many requests"),
            # [go] error_test.go
            unsuccessful=lambda: _error(200, "Internal server error"),
            unknown=lambda: _error(404, "API method not found"),  # [go] error.go
        )

    def add_manager(self, user_id: int, *, code: str) -> None:
        """A user with the internal number `code` in the telephony module."""
        self._codes[user_id] = code

    def add_customer(
        self,
        customer_id: int,
        *,
        last_name: str = "",
        first_name: str = "",
        patronymic: str = "",
        phones: Sequence[str] = (),
        manager_id: int | None = None,
        updated_at: str = "2026-11-01 12:00:00",
    ) -> None:
        """A person; `phones` keep the formatting somebody gave them. The same id replaces the card."""
        self._customers[customer_id] = _Person(
            id=customer_id,
            last_name=last_name,
            first_name=first_name,
            patronymic=patronymic,
            phones=phones,
            manager_id=manager_id,
            updated_at=updated_at,
            is_contact=any(customer_id in contacts for contacts in self._contacts.values()),
        )

    def holders(self, phone: str) -> int:
        """How many people have this number."""
        return sum(person.matches(phone) for person in self._customers.values())

    def add_company(
        self, company_id: int, *, nick_name: str = "", main_company: str = "", contacts: Sequence[int]
    ) -> None:
        """A corporate client; the first of `contacts` (customers added before) is its main contact."""
        # [php] src/Model/Entity/CustomersCorporate.
        self._contacts[company_id] = list(contacts)
        for contact in contacts:
            self._customers[contact].is_contact = True
        self._companies[company_id] = {
            "type": "customer_corporate",
            "id": company_id,
            "nickName": nick_name,
            "site": "main",
            "mainCustomerContact": {"id": company_id + 1, "customer": {"id": contacts[0], "site": "main"}},
            **({"mainCompany": {"id": company_id + 2, "name": main_company}} if main_company else {}),
        }

    def changed(
        self, history: str, entity_id: int, *, field: str = "first_name", at: str = "2026-11-20 12:00:00"
    ) -> int:
        """Write a change of a customer (or of a company, `customers-corporate`) into the history; returns its id."""
        self._history_id += 1
        # [php] tests/src/ResourceGroup/CustomersCorporateTest.php: a company stands under `customer` too.
        record = {
            "id": self._history_id,
            "createdAt": at,
            "source": "user",
            "user": {"id": 27},
            "field": field,
            "oldValue": None,
            "newValue": "…",
            "customer": {"id": entity_id, "site": "main"},
        }
        self._history[history].append(record)
        return self._history_id

    def _admitted(self, request: web.Request) -> web.Response | None:
        """The key, then the limit."""
        key = request.headers.get("X-API-KEY") or request.query.get("apiKey")  # [docs] either of them
        if not key:
            return _error(400, '"apiKey" is missing.')  # [php] ApiExceptionFactoryTest
        if key != self._api_key:
            return _error(403, 'Wrong "apiKey" value.')  # [php] the text; the status is UNCONFIRMED
        group = "telephony" if request.path.startswith(f"{API}/telephony/") else ""
        return _error(503, "Too many requests") if self._limits[group].exceeded() else None

    async def _list_history(self, request: web.Request) -> web.Response:
        """Oldest first. [docs] WorkingHistoryAPI: `sinceId` together with `page` is refused since 15.05.2023."""
        history = request.path.split("/")[-2]
        since = request.query.get("filter[sinceId]")
        if since is not None and "page" in request.query:
            # The text as running installations met it.
            return _error(400, "Use the shift of the `filter[sinceId]` instead of `page` parameter")
        found = self._history[history]
        if since is not None and self.fault is not Fault.EVERYBODY:
            found = [record for record in found if int(str(record["id"])) > int(since)]
        if started := request.query.get("filter[startDate]"):
            found = [record for record in found if str(record["createdAt"]) >= started]
        return _page(request, "history", found)

    async def _list_contacts(self, request: web.Request) -> web.Response:
        # [php] CustomersCorporate models: people by id only, without their phones.
        wanted = request.match_info["id"]
        if request.query.get("by", "externalId") != "id" or not wanted.isdigit() or int(wanted) not in self._contacts:
            return _error(404, "Not found")
        contacts = [
            {"isMain": not position, "id": 900 + contact, "customer": {"id": contact, "site": "main"}}
            for position, contact in enumerate(self._contacts[int(wanted)])
        ]
        return _page(request, "contacts", contacts)

    async def _list_customers(self, request: web.Request) -> web.Response:
        # `filter[phone]` is in no official list of filters: like any unknown one it is ignored here.
        wanted, ids = request.query.get("filter[name]", ""), request.query.getall("filter[ids][]", [])
        found = list(self._customers.values())
        if self.fault is not Fault.EVERYBODY:
            found = [person for person in found if not wanted or person.matches(wanted)]
            found = [person for person in found if not ids or str(person.id) in ids]  # [php] CustomerFilter
        return _page(request, "customers", [person.card() for person in found])

    async def _one_customer(self, request: web.Request) -> web.Response:
        # [php] the default of `by` is externalId, which nobody here has.
        wanted = request.match_info["id"]
        if request.query.get("by", "externalId") != "id" or not wanted.isdigit() or int(wanted) not in self._customers:
            return _error(404, "Not found")
        return _success({"customer": self._customers[int(wanted)].card()})

    async def _list_companies(self, request: web.Request) -> web.Response:
        wanted = request.query.getall("filter[contactIds][]", [])  # [php] CustomerCorporateFilter
        ids = request.query.getall("filter[ids][]", [])  # [php] as above
        found = list(self._companies.items())
        if self.fault is not Fault.EVERYBODY:
            found = [pair for pair in found if not wanted or set(map(str, self._contacts[pair[0]])) & set(wanted)]
            found = [pair for pair in found if not ids or str(pair[0]) in ids]
        return _page(request, "customersCorporate", [company for _, company in found])

    async def _manager(self, request: web.Request) -> web.Response:
        """The customer without `isContact`, his manager with the extension [php] TelephonyTest."""
        phone = request.query.get("phone", "")
        if not phone:
            return _error(400, "Parameter 'phone' is missing")
        answer: dict[str, object] = {"links": {"newCustomerLink": f"{self.url}/customers/add?phone={phone}"}}
        for person in self._customers.values():
            if person.matches(phone):
                if person.manager_id is not None:
                    answer["manager"] = {"id": person.manager_id, "code": self._codes.get(person.manager_id, "")}
                if request.query.get("details") == "1":
                    shown = ("id", "firstName", "lastName", "patronymic", "phones")
                    answer["customer"] = {key: value for key, value in person.card().items() if key in shown}
                break
        return _success(answer)

    async def _make_customer(self, request: web.Request) -> web.Response:
        """[php] CustomersCreateRequest.php: a customer with these numbers, as often as it is asked for."""
        customer = await _field(request, "customer")
        if not isinstance(customer, dict) or not customer.get("phones"):
            return _error(400, "Errors in the entity format")
        customer_id = max(self._customers, default=5000) + 1
        phones = [phone["number"] for phone in customer["phones"]]
        self.add_customer(
            customer_id, first_name=customer.get("firstName", ""), phones=phones, manager_id=customer.get("managerId")
        )
        return _success({"id": customer_id})

    async def _make_task(self, request: web.Request) -> web.Response:
        """[php] src/Model/Entity/Tasks/Task.php; that text and performer are wanted is UNCONFIRMED."""
        task = await _field(request, "task")
        if not isinstance(task, dict) or not task.get("text") or not isinstance(task.get("performerId"), int):
            return _error(400, "Errors in the entity format", errors={"performerId": "This value should not be blank."})
        self.tasks.append(task)
        return _success({"id": len(self.tasks)})

    async def _upload(self, request: web.Request) -> web.Response:
        """[php] Call.php and CallsUploadResponse.php; a repeated `externalId` is a duplicate, left as it was."""
        records = await _field(request, "calls")
        if not isinstance(records, list) or not records:
            return _error(400, "Parameter 'calls' is missing")
        if len(records) > MOST_UPLOADED:
            return _error(400, "Errors in the entity format")
        wanted = {"date": DATE_TIME, "type": re.compile("in|out"), "phone": re.compile("[0-9]+")}
        for record in records:
            wrong = [name for name, form in wanted.items() if not form.fullmatch(str(record.get(name, "")))]
            if wrong or record.get("result") not in RESULTS:
                return _error(400, "Errors in the entity format", errors={(wrong or ["result"])[0]: "Invalid value"})
        known = {call.get("externalId") for call in self.calls}
        duplicates = [record for record in records if record.get("externalId") in known]
        fresh = [record for record in records if record not in duplicates]
        self.calls += fresh
        return _success(
            {
                "processedCallsCount": len(fresh),
                "duplicateCalls": [record["externalId"] for record in duplicates],
            }
        )

    async def _event(self, request: web.Request) -> web.Response:
        """[php] CallEvent.php and CallEventResponse.php; an unknown extension is named, the others see their card."""
        event = await _field(request, "event")
        if not isinstance(event, dict) or not event.get("phone"):
            return _error(400, "Parameter 'event' is missing")
        if event.get("type") not in ("in", "out", "hangup") or event.get("hangupStatus", "busy") not in HANGUPS:
            return _error(400, "Errors in the entity format", errors={"type": "Invalid value"})
        self.events.append(event)
        unknown = [code for code in event.get("codes", []) if code not in self._codes.values()]
        return _success({"notExistCodes": unknown, "notExistUsers": []})

    async def _one_module(self, request: web.Request) -> web.Response:
        module = self.modules.get(request.match_info["code"])
        return _success({"integrationModule": module}) if module else _error(404, "Not found")

    async def _edit_module(self, request: web.Request) -> web.Response:
        """[bridge]: the module is replaced whole, `baseUrl` is wanted, `actions` refused, a logo has to be SVG."""
        module = await _field(request, "integrationModule")
        code = request.match_info["code"]
        if not isinstance(module, dict) or not module.get("baseUrl") or "actions" in module:
            return _error(400, "Errors in the entity format", errors={"baseUrl": "This value should not be blank."})
        if not str(module.get("logo", ".svg")).endswith(".svg"):
            return _error(400, "Errors in the entity format", errors={"logo": "Invalid value"})
        self.modules[code] = {**module, "code": code}
        return _success({"info": {}})

    async def _credentials(self, _: web.Request) -> web.Response:
        return _success({"credentials": [f"{API}/customers", f"{API}/customers-corporate"], "siteAccess": "full"})


async def _field(request: web.Request, name: str) -> Any:
    """[php] `@Form/JsonField`: a nested entity is one field of a form, with JSON in it."""
    form = await request.post()
    try:
        return json.loads(str(form.get(name, "")))
    except ValueError:
        return None


def _page(request: web.Request, name: str, found: Sequence[object]) -> web.Response:
    limit, page = request.query.get("limit", "20"), request.query.get("page", "1")
    if limit not in PAGE_SIZES or not page.isdigit() or int(page) < 1:
        # [go] error_test.go the text and the shape; that these limits are refused is UNCONFIRMED.
        return _error(400, "Errors in the input parameters", errors={"limit": "The value is not a valid choice."})
    size, number = int(limit), int(page)
    pagination = {
        "limit": size,
        "totalCount": len(found),
        "currentPage": number,
        "totalPageCount": max(1, -(-len(found) // size)),
    }
    return _success({"pagination": pagination, name: found[(number - 1) * size : number * size]})


def _success(answer: Mapping[str, object]) -> web.Response:
    return web.json_response({"success": True, **answer}, dumps=ENCODE)


def _error(status: int, message: str, *, errors: Mapping[str, str] | None = None) -> web.Response:
    body = {"success": False, "errorMsg": message, **({"errors": errors} if errors else {})}
    return web.json_response(body, status=status, dumps=ENCODE)
