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

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vochi_agent.crm.fields import identifier, international, mapping, objects, same_number, search_digits, text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected

__all__ = ["API", "RetailCrm", "choose_company", "choose_customer", "interpret", "to_profile"]

log = logging.getLogger(__name__)

API: Final = "/api/v5"
PAGE: Final = "20"  # the smallest page the API allows; several people rarely share a number
SOURCE: Final = "retailcrm"
MAX_MESSAGE: Final = 200  # characters of a CRM's own words that our messages repeat


class RetailCrm:
    """Finds customers of one RetailCRM account; fulfils `ports.ProfileSource`.

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
        self._companies_refused = False

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

    async def _company(self, customer_id: str, deadline: float) -> Mapping[str, object] | None:
        query = [("filter[contactIds][]", customer_id), ("limit", PAGE)]
        try:
            found = await self._http.get(f"{API}/customers-corporate", query, interpret, deadline=deadline)
        except CrmRejected as refusal:
            # A key may be limited to some methods; the person's own name is better than none.
            if not self._companies_refused:
                log.warning("RetailCRM does not show us companies: %s", refusal, extra={"action": "crm_rights"})
            self._companies_refused = True
            return None
        self._companies_refused = False
        return choose_company(found, customer_id)


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for 404 "Not found".

    Raises:
        CrmUnavailable: no JSON object came.
        CrmAuthFailed: the key is missing or wrong. The texts are the API's; its status for a wrong key is not
            documented.
        CrmRejected: any other `success:false`, which also comes with status 200.
    """
    body = json_object(answer)
    if body.get("success") is True:
        return body
    message = text(body.get("errorMsg"))[:MAX_MESSAGE] or f"status {answer.status} without a reason"
    if "apikey" in message.lower() or "account does not exist" in message.lower():
        raise CrmAuthFailed(message)
    if answer.status == 404 and message.lower().startswith("not found"):  # noqa: PLR2004 - HTTP
        return {}
    raise CrmRejected(message)


def choose_customer(customers: Iterable[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The card that has this number: of several the one changed last."""
    matching = [
        customer
        for customer in customers
        if identifier(customer.get("id")) and any(same_number(number, phone) for number in _numbers(customer))
    ]
    # `updatedAt` is `Y-m-d H:i:s`: text order is time order. The id makes the choice the same every time.
    return max(matching, key=lambda card: (text(card.get("updatedAt")), _rank(card)), default=None)


def choose_company(found: Mapping[str, object], customer_id: str) -> Mapping[str, object] | None:
    """The company of a contact: the one he is the main contact of, else the oldest.

    The answer names no other contacts, so it cannot be checked against the person. More than a page of companies
    for one person means that the server ignored the filter: then none is his.
    """
    companies = [company for company in objects(found.get("customersCorporate")) if identifier(company.get("id"))]
    pages = mapping(found.get("pagination")).get("totalPageCount")
    if isinstance(pages, int) and pages > 1:
        return None

    def preference(company: Mapping[str, object]) -> tuple[bool, int]:
        main_contact = mapping(mapping(company.get("mainCustomerContact")).get("customer"))
        return (identifier(main_contact.get("id")) != customer_id, _rank(company))

    return min(companies, key=preference, default=None)


def to_profile(
    customer: Mapping[str, object],
    company: Mapping[str, object] | None,
    *,
    phone: str,
    url: str,
    agents: Mapping[str, str],
) -> Profile:
    """A customer card and, for a contact, his company's card as a profile."""
    company = company or {}
    customer_id = identifier(customer.get("id"))
    manager = identifier(customer.get("managerId")) or identifier(company.get("managerId"))
    return Profile(
        source=SOURCE,
        external_id=customer_id,
        names=Names(
            last_name=text(customer.get("lastName")),
            first_name=text(customer.get("firstName")),
            middle_name=text(customer.get("patronymic")),
            enterprise_name=text(company.get("nickName")) or text(mapping(company.get("mainCompany")).get("name")),
        ),
        company_id=identifier(company.get("id")),
        phones=_further_phones(customer, phone),
        responsible=agents.get(manager, ""),
        url=f"{url}/customers/{customer_id}",
    )


def _numbers(customer: Mapping[str, object]) -> Sequence[str]:
    return [text(phone.get("number")) for phone in objects(customer.get("phones"))]


def _further_phones(customer: Mapping[str, object], phone: str) -> tuple[str, ...]:
    known = (international(number) for number in _numbers(customer))
    return tuple(dict.fromkeys(number for number in known if number and number != phone))


def _rank(card: Mapping[str, object]) -> int:
    number = identifier(card.get("id"))
    return int(number) if number.isascii() and number.isdigit() else 0
