"""RetailCRM's corporate clients: whose contact a caller is, and everybody else who works there.

Of a company the search by contact brings the card only. `customers-corporate/<id>/contacts` lists ids of people, whose
cards `customers?filter[ids][]=` brings by the fifty. The method wants the company's shop (`site`) when the key covers
several; it stands on the card.

Invariant: who is a contact is believed only of an answer that names him; a list that is not whole lets nobody go.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vochi_agent.crm.companies import company_of
from vochi_agent.crm.fields import identifier, mapping, objects, text
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.retailcrm_cards import API, SOURCE, choose_company, companies_of, interpret, to_profile
from vochi_agent.customers.model import Company, Profile
from vochi_agent.errors import CrmRejected
from vochi_agent.expiring import Expiring

__all__ = ["Companies"]

log = logging.getLogger(__name__)

PAGE: Final = 20
CONTACTS_PAGE: Final = 100  # the largest the API allows
MAX_PAGES: Final = 20  # two thousand contacts; of a larger company those are named and nobody is let go
CARDS_PAGE: Final = 50
# A person is a contact of one company, rarely of two; more were found by a server that ignores the filter.
MOST_COMPANIES: Final = 3
# Who is a contact where: no names, and what is asked behind every call of the company corrects it.
MEMBERS_S: Final = 3600.0
MEMBERS_KEPT: Final = 512


class Companies:
    """The corporate clients of one account.

    Args:
        http: The account.
        url: Its address, for links.
        agents: CRM user id -> extension.
        country: ISO 3166 code; how numbers without a country are read.
    """

    def __init__(self, http: CrmHttp, *, url: str, agents: Mapping[str, str], country: str) -> None:
        self._http = http
        self._url = url
        self._agents = agents
        self._country = country
        self._refused = False
        self._members: Expiring[str, frozenset[str]] = Expiring(
            ttl_s=MEMBERS_S, size=MEMBERS_KEPT, clock=lambda: asyncio.get_running_loop().time()
        )

    async def of_contact(self, customer_id: str, deadline: float) -> Mapping[str, object] | None:
        """The card of a contact's company, None when none can be proved to be his.

        Raises:
            CrmUnavailable, CrmAuthFailed: no answer.
        """
        try:
            query = [("filter[contactIds][]", customer_id), ("limit", str(PAGE))]
            found = await self._http.get(f"{API}/customers-corporate", query, interpret, deadline=deadline)
            companies = companies_of(found)
            chosen = choose_company(companies, customer_id, self._known(companies))
            if chosen is None and len(companies) <= MOST_COMPANIES:
                for company in companies:
                    if self._members.get(identifier(company.get("id"))) is None:
                        await self._contact_ids(company, deadline)
                chosen = choose_company(companies, customer_id, self._known(companies))
        except CrmRejected as refusal:
            # A key may be limited to some methods; the person's own name is better than none.
            if not self._refused:
                log.warning("RetailCRM does not show us companies: %s", refusal, extra={"action": "crm_rights"})
            self._refused = True
            return None
        self._refused = False
        return chosen

    async def company(self, company_id: str) -> Company | None:
        """See `ports.CompanySource.company`."""
        card = await self._card(company_id)
        if card is None:
            return None
        ids, whole = await self._contact_ids(card, self._http.deadline())
        profiles: list[Profile] = []
        for begin in range(0, len(ids), CARDS_PAGE):
            wanted = ids[begin : begin + CARDS_PAGE]
            people = await self._people(wanted)
            whole = whole and people.keys() == set(wanted)
            profiles += (
                to_profile(customer, card, phone="", url=self._url, agents=self._agents, country=self._country)
                for customer in people.values()
            )
        return company_of(SOURCE, company_id, profiles, whole=whole)

    def _known(self, companies: Sequence[Mapping[str, object]]) -> dict[str, frozenset[str]]:
        ids = (identifier(company.get("id")) for company in companies)
        return {each: members for each in ids if (members := self._members.get(each)) is not None}

    async def _card(self, company_id: str) -> Mapping[str, object] | None:
        query = [("filter[ids][]", company_id), ("limit", str(PAGE))]
        found = await self._http.get(f"{API}/customers-corporate", query, interpret, deadline=self._http.deadline())
        cards = objects(found.get("customersCorporate"))
        return next((card for card in cards if identifier(card.get("id")) == company_id), None)

    async def _contact_ids(self, card: Mapping[str, object], deadline: float) -> tuple[list[str], bool]:
        """Ids of the people of a company, and whether these are all."""
        company_id, site = identifier(card.get("id")), text(card.get("site"))
        path = f"{API}/customers-corporate/{quote(company_id, safe='')}/contacts"
        ids: dict[str, None] = {}
        for page in range(1, MAX_PAGES + 1):
            query = [("by", "id"), *([("site", site)] if site else [])]
            query += [("limit", str(CONTACTS_PAGE)), ("page", str(page))]
            found = await self._http.get(path, query, interpret, deadline=deadline)
            pagination = mapping(found.get("pagination"))
            contacts, total = found.get("contacts"), pagination.get("totalCount")
            if not isinstance(contacts, list | dict):
                return list(ids), False
            people = (mapping(contact.get("customer")) for contact in objects(contacts))
            ids.update(dict.fromkeys(each for person in people if (each := identifier(person.get("id")))))
            pages = pagination.get("totalPageCount")
            if not isinstance(pages, int) or page >= pages:
                # Nobody at all contradicts the search that brought us here.
                whole = isinstance(total, int) and len(ids) == total > 0
                if whole:
                    self._members.put(company_id, frozenset(ids))
                return list(ids), whole
        return list(ids), False

    async def _people(self, ids: Sequence[str]) -> dict[str, Mapping[str, object]]:
        query = [*(("filter[ids][]", each) for each in ids), ("limit", str(CARDS_PAGE))]
        found = await self._http.get(f"{API}/customers", query, interpret, deadline=self._http.deadline())
        cards = {identifier(card.get("id")): card for card in objects(found.get("customers"))}
        return {each: cards[each] for each in ids if each in cards}
