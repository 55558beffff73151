"""RetailCRM (Simla) API v5: who is calling.

Round trip 1 is `customers?filter[name]=<digits>`: it brings whole customer cards, with `isContact` and `managerId`.
Round trip 2, only for a contact of a company, is `customers-corporate?filter[contactIds][]=<id>`. The other way in,
`telephony/manager?details=1`, names the manager's extension itself, but its customer has no `isContact`, so every
caller would cost the second trip, and it wants telephony rights and perhaps a registered module. The price of ours:
the extension comes from `agents` of the configuration (CRM user id -> extension).

How the server compares phones is not documented. The digits with the country code go first; when nobody is found
and the number has a national form (Russia, Kazakhstan, Belarus), the national digits are searched once more.
Invariant: the search is fuzzy and may be ignored, so a card counts only when one of its numbers is the caller's.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from vochi_agent.crm.fields import identifier, mapping, objects, search_digits
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.retailcrm_cards import API, SOURCE, choose_customer, interpret, to_profile
from vochi_agent.crm.retailcrm_companies import Companies
from vochi_agent.customers.model import Company, Profile

__all__ = ["API", "RetailCrm", "interpret", "to_profile"]

PAGE: Final = "20"  # the smallest page the API allows; several people rarely share a number


class RetailCrm:
    """Finds customers of one RetailCRM account; fulfils `ports.CompanySource`.

    Args:
        http: Its base URL is the account's address without `/api/v5`; sends `X-API-KEY`.
        url: The account's address, for links to a customer's page.
        agents: CRM user id -> extension.
    """

    name = SOURCE

    def __init__(self, http: CrmHttp, *, url: str, agents: Mapping[str, str]) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._agents = agents
        self._companies = Companies(http, url=self._url, agents=agents)

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
        return to_profile(customer, company, phone=phone, url=self._url, agents=self._agents)

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
        return to_profile(customer, company, phone="", url=self._url, agents=self._agents)

    async def company(self, company_id: str) -> Company | None:
        """All contacts of a corporate client with their numbers; see `ports.CompanySource`."""
        return await self._companies.company(company_id)

    async def _company(self, customer_id: str, deadline: float) -> Mapping[str, object] | None:
        return await self._companies.of_contact(customer_id, deadline)
