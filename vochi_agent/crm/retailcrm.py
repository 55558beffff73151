"""RetailCRM (Simla) API v5: who is calling, and its own list of calls.

Round trip 1 is `customers?filter[name]=<digits>`: it brings whole customer cards, with `isContact` and `managerId`.
Round trip 2, only for a contact of a company, is `customers-corporate?filter[contactIds][]=<id>`. The other way in,
`telephony/manager?details=1`, names the manager's extension itself, but its customer has no `isContact`, so every
caller would cost the second trip, and it wants telephony rights and perhaps a registered module. The price of ours:
the extension comes from `agents` of the configuration (CRM user id -> extension).

How the server compares phones is not documented. The digits with the country code go first; when nobody is found
and the number has a national form (Russia, Kazakhstan, Belarus), the national digits are searched once more.
Invariant: the search is fuzzy and may be ignored, so a card counts only when one of its numbers is the caller's.

Calls are known there by an id of ours, so a repetition is no second call. The telephony methods have a limit of their
own, 40 requests a second, and here a breaker of their own: a list that is ill costs no caller his name.
"""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call
from vochi_agent.crm.call_facts import agent_of, user_of
from vochi_agent.crm.fields import identifier, mapping, numeric_id, objects, search_digits
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.retailcrm_calls import check_taken, contact_of, event_of, external_id, task_of, upload_of
from vochi_agent.crm.retailcrm_cards import API, SOURCE, choose_customer, interpret, to_profile
from vochi_agent.crm.retailcrm_companies import Companies
from vochi_agent.customers.model import Company, Profile
from vochi_agent.ports import Popup, Post

__all__ = ["API", "RetailCrm", "interpret", "to_profile"]

TELEPHONY_RPS: Final = 40.0  # rate.go of the official Go client
PAGE: Final = "20"  # the smallest page the API allows; several people rarely share a number


class RetailCrm:
    """One RetailCRM account; fulfils `ports.CompanySource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        http: Its base URL is the account's address without `/api/v5`; sends `X-API-KEY`.
        url: The account's address, for links to a customer's page.
        agents: CRM user id -> extension.
        country: ISO 3166 code; how numbers without a country are read.
        timezone: Of the account: its times carry none.
        module: Code of our telephony module there, "" when none is registered.
        site: Code of the shop that new customers belong to, "" for the only one.
    """

    name = SOURCE

    def __init__(
        self,
        http: CrmHttp,
        *,
        url: str,
        agents: Mapping[str, str],
        country: str,
        timezone: tzinfo,
        module: str = "",
        site: str = "",
    ) -> None:
        self._http = http
        self._behind = http.apart("contacts")
        self._site = site
        self._lists = http.apart("calls", rps=TELEPHONY_RPS)
        self._screens = self._lists.apart("popups")
        self._timezone = timezone
        # UNCONFIRMED whether it is wanted: a public bridge sends it, the official clients do not.
        self._client = {"clientId": module} if module else {}
        self._url = url.rstrip("/")
        self._agents = agents
        self._country = country
        self._companies = Companies(http, url=self._url, agents=agents, country=country)

    @property
    def http(self) -> CrmHttp:
        """For the account's other methods."""
        return self._http

    async def profile(self, phone: str) -> Profile | None:
        """The person behind an E.164 number with his company's name; see `ports.ProfileSource`."""
        deadline = self._http.deadline()
        customer = None
        for digits in search_digits(phone):
            query = [("filter[name]", digits), ("limit", PAGE)]
            found = await self._http.get(f"{API}/customers", query, interpret, deadline=deadline)
            customer = choose_customer(objects(found.get("customers")), phone)
            if customer:
                break
        if not customer:
            return None
        company = None
        if customer.get("isContact") is True:
            company = await self._company(identifier(customer.get("id")), deadline)
        return self._profile(customer, company, phone)

    async def person(self, external_id: str) -> Profile | None:
        """The customer with this id and his company's name; see `ports.ProfileSource`."""
        deadline = self._http.deadline()
        # The default of `by` is the id of another system.
        path = f"{API}/customers/{quote(external_id, safe='')}"
        found = await self._http.get(path, [("by", "id")], interpret, deadline=deadline)
        customer = mapping(found.get("customer"))
        if not external_id or identifier(customer.get("id")) != external_id:
            return None
        company = await self._company(external_id, deadline) if customer.get("isContact") is True else None
        return self._profile(customer, company, "")

    async def company(self, company_id: str) -> Company | None:
        """All contacts of a corporate client with their numbers; see `ports.CompanySource`."""
        return await self._companies.company(company_id)

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. A repetition, and a correction too, is the same call by its id."""
        call = post.call
        form = {**self._client, **upload_of(call, recording_url=recording_url, timezone=self._timezone)}
        path, deadline = f"{API}/telephony/calls/upload", self._lists.deadline()
        check_taken(await self._lists.send("POST", path, interpret, deadline=deadline, form=form, repeatable=True))
        return external_id(call.enterprise_number, call.linkedid)

    async def make_contact(self, call: Call) -> str:
        """See `rules.MakesContacts`."""
        form, path = contact_of(call, agents=self._agents, site=self._site), f"{API}/customers/create"
        deadline = self._behind.deadline()
        made = await self._behind.send("POST", path, interpret, deadline=deadline, form=form, repeatable=False)
        return identifier(made.get("id"))

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """See `rules.MakesTasks`."""
        customer = await self.profile(call.phone) if call.phone else None
        performer = user_of(self._agents, agent_of(call)) or user_of(
            self._agents, customer.responsible if customer else ""
        )
        if not numeric_id(performer):
            return ""
        form = task_of(
            call, performer=performer, customer=customer.external_id if customer else "", minutes=minutes,
            timezone=self._timezone, site=self._site,
        )  # fmt: skip
        path, deadline = f"{API}/tasks/create", self._behind.deadline()
        made = await self._behind.send("POST", path, interpret, deadline=deadline, form=form, repeatable=False)
        return identifier(made.get("id"))

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. Extensions that the account does not know are left out by it."""
        event = event_of(popup)
        if event:
            path, deadline, form = f"{API}/telephony/call/event", self._screens.deadline(), {**self._client, **event}
            await self._screens.send("POST", path, interpret, deadline=deadline, form=form, repeatable=False)
        return ""

    async def _company(self, customer_id: str, deadline: float) -> Mapping[str, object] | None:
        return await self._companies.of_contact(customer_id, deadline)

    def _profile(self, customer: Mapping[str, object], company: Mapping[str, object] | None, phone: str) -> Profile:
        return to_profile(customer, company, phone=phone, url=self._url, agents=self._agents, country=self._country)
