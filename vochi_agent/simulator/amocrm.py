"""A sandbox amoCRM account: API v4 as real HTTP, its errors, limits and oddities included.

Facts are marked with their source: [php] the vendor's PHP client, [doc] the developers' pages, [ng] a public telephony
integration, UNCONFIRMED what no source proves. Invariant: it knows only invented people.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from vochi_agent.simulator.crm_server import CrmServer, Fault, Rate

__all__ = ["AmoCrmSandbox", "Fault"]

REQUESTS_PER_S: Final = 7  # [doc]
ENCODE: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False).encode
CLOSED: Final = (142, 143)  # [php] LeadModel
REQUIRED: Final = ("direction", "duration", "source", "phone")  # [php] of a call


class AmoCrmSandbox(CrmServer):
    """One account.

    Attributes:
        unpaid: Nobody has paid for the account.
        blocked: So many requests came that our address is shut out.
        calls: Calls by the card or deal they were attached to, as they were sent.
        deals: Leads that people have made, by id.
        unsorted: Leads that nobody has looked at.
        popups: What was shown to whom.
        leads: Those that were made by themselves, not of a call.
        tasks: In the order they came.
        token: The access token that is taken now.
        refresh_token: The one refresh token that buys the next pair.
    """

    def __init__(self, *, token: str, requests_per_s: int = REQUESTS_PER_S, silence_s: float = 30.0) -> None:
        super().__init__(
            [
                web.get("/api/v4/{kind:contacts|companies}", self._search),
                web.get("/api/v4/{kind:contacts|companies}/{id}", self._card),
                web.get("/api/v4/{kind:contacts|companies|leads}/{id}/notes", self._notes),
                web.get("/api/v4/leads", self._list_deals),
                web.post("/api/v4/contacts", self._make_contacts),
                web.post("/api/v4/leads/complex", self._make_leads),
                web.post("/api/v4/tasks", self._make_tasks),
                web.post("/api/v4/calls", self._add_calls),
                web.post("/api/v4/leads/unsorted/sip", self._add_unsorted),
                web.get("/api/v4/leads/unsorted", self._list_unsorted),
                web.post("/api/v2/events", self._add_events),
                web.post("/oauth2/access_token", self._oauth),
            ],
            host="127.0.0.1",
            prefix="",
            silence_s=silence_s,
            check=self._admitted,
            limited=_limit,
            # UNCONFIRMED that it ever happens: a problem's own status counts.
            unsuccessful=lambda: _problem(500, "Internal error", "Internal error", sent_as=200),
            unknown=lambda: _problem(404, "Not Found", "Not Found"),
        )
        self.unpaid = self.blocked = False
        self.calls: dict[int, list[dict[str, Any]]] = {}
        self.unsorted: list[dict[str, Any]] = []
        self.popups: list[dict[str, Any]] = []
        self.deals: dict[int, dict[str, Any]] = {}
        self.leads: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.token, self.refresh_token, self.pairs = token, "first-refresh", 0
        self.client = ("client-id", "client-secret", "https://pbx.example/oauth")
        self._rate = Rate(requests_per_s)
        self._cards: dict[str, dict[int, dict[str, Any]]] = {"contacts": {}, "companies": {}}

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

    def add_deal(self, deal_id: int, *, contact: int, status: int = 100, updated_at: int = 1_700_000_000) -> None:
        """A lead of a contact; 142 is won and 143 lost, in every pipeline."""
        self.deals[deal_id] = {"id": deal_id, "status_id": status, "updated_at": updated_at}
        self._cards["contacts"][contact]["_embedded"]["leads"].append({"id": deal_id})

    def holders(self, phone: str) -> int:
        """How many contacts have this number."""
        return sum(_has(card, phone) for card in self._cards["contacts"].values())

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

    def _admitted(self, request: web.Request) -> web.Response | None:
        """What every request meets before its method: the account's state, the token, the limit."""
        if self.unpaid:
            return _problem(402, "Payment Required", "Account is not paid")
        if self.blocked:
            return web.Response(status=403, text="Forbidden")
        if not request.path.startswith("/oauth2") and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(401, "Unauthorized", "Token has expired")
        return _limit() if self._rate.exceeded() else None

    async def _search(self, request: web.Request) -> web.Response:
        """[php] `query` looks through every filled field; +7… and 8… are different texts to it."""
        kind, wanted = request.match_info["kind"], request.query.get("query", "")
        ids = request.query.getall("filter[id][]", [])  # [php] ContactsFilter
        everybody = not wanted or self.fault is Fault.EVERYBODY
        found = [
            card
            for card in self._cards[kind].values()
            if (everybody or _matches(card, wanted)) and (not ids or str(card["id"]) in ids)
        ]
        if not found:
            return web.Response(status=204)
        return web.json_response({"_page": 1, "_links": {}, "_embedded": {kind: found}}, dumps=ENCODE)

    async def _card(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        card = self._cards[request.match_info["kind"]].get(int(wanted)) if wanted.isdigit() else None
        if card and request.match_info["kind"] == "companies" and request.query.get("with") == "contacts":
            number = card["id"]
            people = self._cards["contacts"].values()
            of_it = [{"id": each["id"]} for each in people if {"id": number} in each["_embedded"]["companies"]]
            card = {**card, "_embedded": {**card["_embedded"], "contacts": of_it}}
        return web.json_response(card, dumps=ENCODE) if card else web.Response(status=204)

    async def _notes(self, request: web.Request) -> web.Response:
        """[ng] a call is a note on the card, with the fields it was sent with."""
        calls = self.calls.get(int(request.match_info["id"]), [])
        if not calls:
            return web.Response(status=204)
        notes = [{"id": each["id"], "note_type": "call_in", "params": {"uniq": each.get("uniq")}} for each in calls]
        return web.json_response({"_embedded": {"notes": notes}}, dumps=ENCODE)

    async def _list_deals(self, request: web.Request) -> web.Response:
        """[php] LeadsFilter."""
        wanted = request.query.getall("filter[id][]", [])
        found = [deal for deal in self.deals.values() if str(deal["id"]) in wanted]
        if not found:
            return web.Response(status=204)
        return web.json_response({"_embedded": {"leads": found}}, dumps=ENCODE)

    def _place(self, card: Mapping[str, Any]) -> int:
        """[doc] calls: into the only deal of the card that is not closed, else onto the card."""
        deals = [self.deals[each["id"]] for each in card["_embedded"].get("leads", ())]
        active = [deal["id"] for deal in deals if deal["status_id"] not in CLOSED]
        return int(active[0] if len(active) == 1 else card["id"])

    async def _make_contacts(self, request: web.Request) -> web.Response:
        """[php] ContactModel: as often as it is asked for."""
        made = [{"id": self._made(each), "request_id": "0"} for each in await request.json()]
        return web.json_response({"_embedded": {"contacts": made}}, dumps=ENCODE)

    async def _make_leads(self, request: web.Request) -> web.Response:
        """[php] Leads::addComplex: a lead with its contact; the answer is a list."""
        made = []
        for lead in await request.json():
            contact = self._made(lead["_embedded"]["contacts"][0])
            self.leads.append(lead)
            made.append({"id": len(self.leads), "contact_id": contact, "company_id": None, "merged": False})
        return web.json_response(made, dumps=ENCODE)

    async def _make_tasks(self, request: web.Request) -> web.Response:
        """[php] TaskModel: text and deadline are wanted."""
        tasks = await request.json()
        missing = [name for task in tasks for name in ("text", "complete_till") if not task.get(name)]
        if missing:
            return _problem(400, "Bad Request", "Request validation failed", missing=missing)
        self.tasks += tasks
        return web.json_response({"_embedded": {"tasks": [{"id": len(self.tasks), "request_id": "0"}]}}, dumps=ENCODE)

    def _made(self, contact: Mapping[str, Any]) -> int:
        number = max([5000, *self._cards["contacts"]]) + 1
        phones = [value["value"] for field in contact["custom_fields_values"] for value in field["values"]]
        self.add_contact(number, name=contact["name"], phones=phones, user=contact.get("responsible_user_id", 0))
        return number

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
            place = self._place(card)
            self.calls.setdefault(place, []).append({"id": number, **call})
            made.append({"id": number, "entity_id": place, "request_id": "0"})
        # [php] issues: a call that no card wants is an error of the element, sent as 400.
        return web.json_response(
            {"_embedded": {"calls": made}, "errors": errors}, status=200 if made else 400, dumps=ENCODE
        )

    async def _add_unsorted(self, request: web.Request) -> web.Response:
        self.unsorted += await request.json()
        return web.json_response({"_total_items": 1, "_embedded": {"unsorted": [{"uid": "u-1"}]}}, dumps=ENCODE)

    async def _list_unsorted(self, _: web.Request) -> web.Response:
        """[php] what nobody has looked at yet, with the id that its maker gave it."""
        if not self.unsorted:
            return web.Response(status=204)
        found = [{"uid": f"u-{n}", **each} for n, each in enumerate(self.unsorted, 1)]
        return web.json_response({"_embedded": {"unsorted": found}}, dumps=ENCODE)

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


def _limit() -> web.Response:
    return web.Response(status=429, text="Too Many Requests")  # [doc] the body is no JSON


def _problem(
    status: int, title: str, detail: str, *, missing: Sequence[str] = (), sent_as: int | None = None
) -> web.Response:
    """[doc] application/problem+json."""
    errors = [{"code": "NotBlank", "path": f"0.{name}", "detail": "This field is missing."} for name in missing]
    body = {
        "title": title,
        "status": status,
        "detail": detail,
        "validation-errors": [{"request_id": "0", "errors": errors}],
    }
    return web.json_response(body, status=sent_as or status, content_type="application/problem+json", dumps=ENCODE)
