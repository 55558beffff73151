"""amoCRM (Kommo) API v4: who is calling, popups, the call on the card of its contact.

Who is calling costs one request, two with a company: the search wants the last digits without the country, because
`+7…` and `8…` are different texts to it, and looks through every field. A call is attached by its number to the card
that has it, or to the only open lead or customer of that card; for a number without a card there is nothing to attach
it to: it is left out, or becomes an unsorted lead when `unsorted` says so. A listed call cannot be changed, and whether
the server knows a repetition by `uniq` is not proven: after a lost answer the notes of all these, and the unsorted
leads, are looked through first.
Invariant: a card counts only when a number of it is the caller's. Source: the vendor's PHP client and documentation.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from vochi_agent.calls.model import Call, Direction, Phase
from vochi_agent.crm.amocrm_account import LISTED, Account
from vochi_agent.crm.amocrm_calls import contact_of, entry_of, lead_of, task_of, uniq, unsorted_of
from vochi_agent.crm.amocrm_cards import SOURCE, choose, is_of, latest, to_profile
from vochi_agent.crm.call_facts import agent_of, settling, user_of
from vochi_agent.crm.companies import company_of
from vochi_agent.crm.fields import identifier, mapping, numeric_id, objects, search_digits, text
from vochi_agent.crm.rules import concerns
from vochi_agent.customers.model import Company, Profile
from vochi_agent.errors import CrmRejected, CrmUnavailable
from vochi_agent.ports import Popup, Post

__all__ = ["AmoCrm"]

API: Final = "/api/v4"
PAGE: Final = "50"
# Enough to tell people who share a number from each other.
MOST_CARDS: Final = 5
NOTES: Final = (
    ("filter[note_type][]", "call_in"), ("filter[note_type][]", "call_out"), ("limit", "100"),
    ("order[updated_at]", "desc"),
)  # fmt: skip
LEADS_PAGE: Final = "250"
MOST_CONTACTS: Final = 250  # that a card names all of so many is UNCONFIRMED
CARDS_PAGE: Final = 50  # ids in one address; the API lists up to 250 cards
# Ids of companies and contacts are counted apart.
COMPANY: Final = "company-"


class AmoCrm:
    """One account; fulfils `ports.CompanySource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        url: The account's address, for links.
        agents: User id -> extension; the API does not know extensions.
        country: ISO 3166 code; how numbers without a country are read.
        unsorted: An inbound call of a number without a card becomes an unsorted lead.
        awaited: Directions of calls whose number is sure to get a card by a rule.
    """

    name = SOURCE

    def __init__(
        self,
        account: Account,
        *,
        url: str,
        agents: Mapping[str, str],
        country: str,
        unsorted: bool,
        awaited: Collection[Direction] = (),
    ) -> None:
        self._account = account
        self._calls = account.apart("calls")
        self._behind = account.apart("changes")
        self._country = country
        self._url = url.rstrip("/")
        self._agents = agents
        self._users = {extension: user for user, extension in reversed(list(agents.items()))}
        self._unsorted = unsorted
        self._awaited = awaited

    @property
    def knows_users(self) -> bool:
        """Whether any extension is known to be a user's."""
        return bool(self._users)

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._account.deadline()
        contact = choose(await _found(self._account, "contacts", phone, deadline), phone)
        if contact is not None:
            return self._profile(contact, await _company_of(self._account, contact, deadline), phone)
        company = choose(await _found(self._account, "companies", phone, deadline), phone)
        return self._profile(None, company, phone) if company else None

    async def person(self, external_id: str) -> Profile | None:
        """The contact with this id; see `ports.ProfileSource`."""
        deadline, company_id = self._behind.deadline(), external_id.removeprefix(COMPANY)
        if company_id != external_id:
            company = await _card(self._behind, "companies", company_id, deadline)
            return self._profile(None, company, "") if company else None
        contact = await _card(self._behind, "contacts", external_id, deadline)
        return self._profile(contact, await _company_of(self._behind, contact, deadline), "") if contact else None

    async def people(self, company_id: str) -> Sequence[str]:
        """Ids for `person`: the company itself and its contacts. Raises as `ProfileSource.profile`."""
        found = await _card(self._behind, "companies", company_id, self._behind.deadline(), also="contacts")
        return [f"{COMPANY}{company_id}", *_contact_ids(found)] if found else []

    async def company(self, company_id: str) -> Company | None:
        """A company with its own numbers and those of all contacts; see `ports.CompanySource`."""
        deadline = self._behind.deadline()
        card = await _card(self._behind, "companies", company_id, deadline, also="contacts")
        if not card:
            return None
        ids = _contact_ids(card)
        profiles = [self._profile(None, card, "")]
        for begin in range(0, len(ids), CARDS_PAGE):
            query = [*(("filter[id][]", each) for each in ids[begin : begin + CARDS_PAGE]), ("limit", str(CARDS_PAGE))]
            found = await self._behind.get(f"{API}/contacts", query, deadline=deadline)
            people = objects(mapping(found.get("_embedded")).get("contacts"))
            profiles += (self._profile(each, card, "") for each in people if identifier(each.get("id")) in ids)
        whole = len(profiles) == len(ids) + 1 and len(ids) < MOST_CONTACTS
        return company_of(SOURCE, company_id, profiles, whole=whole)

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. A correction after the fact is beyond this API and left out."""
        if post.corrects:
            return post.remote_id
        call, deadline = post.call, self._calls.deadline()
        if post.uncertain and (known := await self._listed(call, deadline)):
            return known
        with settling():
            entry = [entry_of(call, recording_url, user=self._users.get(_whose(call), ""))]
            made = await self._calls.send("POST", f"{API}/calls", entry, deadline=deadline)
        listed = objects(mapping(made.get("_embedded")).get("calls"))
        if listed:
            return identifier(listed[0].get("id"))
        problems = objects(made.get("errors"))
        if problems and not _without_card(problems):
            raise CrmRejected(text(problems[0].get("detail")) or text(problems[0].get("title")) or "refused")
        if call.direction in self._awaited and concerns(call):
            raise CrmUnavailable("the card that a rule makes of its number is not there yet")
        if not self._unsorted or call.direction is not Direction.IN:
            return ""
        if not (post.uncertain and await self._is_unsorted(call, deadline)):
            with settling():
                lead = [unsorted_of(call, recording_url)]
                await self._calls.send("POST", f"{API}/leads/unsorted/sip", lead, deadline=deadline)
        return ""

    async def make_contact(self, call: Call) -> str:
        """See `rules.MakesContacts`."""
        user = user_of(self._agents, call.last_agent or "")
        return await self._make("contacts", "contacts", contact_of(call, user=user))

    async def make_lead(self, call: Call) -> str:
        """See `rules.MakesLeads`: a lead with a contact that has the number."""
        user = user_of(self._agents, call.last_agent or "")
        return await self._make("leads/complex", "", lead_of(call, user=user))

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """See `rules.MakesTasks`."""
        customer = await self.profile(call.phone) if call.phone else None
        user = user_of(self._agents, agent_of(call)) or user_of(self._agents, customer.responsible if customer else "")
        if not numeric_id(user):
            return ""
        return await self._make("tasks", "tasks", task_of(call, user=user, customer=customer, minutes=minutes))

    async def _make(self, path: str, listed: str, form: Mapping[str, object]) -> str:
        deadline = self._behind.deadline()
        made = await self._behind.send("POST", f"{API}/{path}", [form], deadline=deadline)
        found = objects(mapping(made.get("_embedded")).get(listed)) if listed else objects(made.get(LISTED))
        return identifier(found[0].get("id")) if found else ""

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. What is shown cannot be closed by the API."""
        users = [int(self._users[each]) for each in popup.began if self._users.get(each, "").isdecimal()]
        if users and popup.progress.phone and popup.progress.phase is Phase.DIAL:
            event = {"type": "phone_call", "phone_number": popup.progress.phone.lstrip("+"), "users": users}
            # The one call that version 4 has no word for.
            await self._calls.send("POST", "/api/v2/events", {"add": [event]}, deadline=self._calls.deadline())
        return popup.remote_id

    async def _listed(self, call: Call, deadline: float) -> str:
        """The id of the note that an earlier request left on a card with the number; "" when there is none."""
        phone = call.phone or ""
        for kind in ("contacts", "companies") if phone else ():
            found = await _found(self._calls, kind, phone, deadline, also="leads,customers")
            for card in [each for each in found if is_of(each, phone)][:MOST_CARDS]:
                for place in (f"{kind}/{identifier(card.get('id'))}", *await self._below(card, deadline)):
                    if note := await self._note(place, call, deadline):
                        return note
        return ""

    async def _below(self, card: Mapping[str, object], deadline: float) -> Sequence[str]:
        """The leads and customers of a card that may have taken a call: what was open then may be closed by now."""
        embedded = mapping(card.get("_embedded"))
        customers, ids = (
            [number for each in objects(embedded.get(kind)) if (number := numeric_id(each.get("id")))]
            for kind in ("customers", "leads")
        )
        newest = sorted(ids, key=int, reverse=True)[:CARDS_PAGE]
        query = [*(("filter[id][]", each) for each in newest), ("limit", LEADS_PAGE)]
        # A filter that names nobody is none.
        found = await self._calls.get(f"{API}/leads", query, deadline=deadline) if newest else {}
        leads = latest(objects(mapping(found.get("_embedded")).get("leads")), newest)[:MOST_CARDS]
        return [*(f"leads/{each}" for each in leads), *(f"customers/{each}" for each in customers[:MOST_CARDS])]

    async def _note(self, place: str, call: Call, deadline: float) -> str:
        """The id of the note of a call on one card, "" when it is not there."""
        found = await self._calls.get(f"{API}/{place}/notes", NOTES, deadline=deadline)
        notes = objects(mapping(found.get("_embedded")).get("notes"))
        known = (each for each in notes if mapping(each.get("params")).get("uniq") == uniq(call))
        return identifier(next(known, {}).get("id"))

    async def _is_unsorted(self, call: Call, deadline: float) -> bool:
        """Whether an earlier request made a lead of this call that nobody has looked at yet."""
        query = [("filter[category][]", "sip"), ("order[created_at]", "desc"), ("limit", LEADS_PAGE)]
        found = await self._calls.get(f"{API}/leads/unsorted", query, deadline=deadline)
        leads = objects(mapping(found.get("_embedded")).get("unsorted"))
        return any(each.get("source_uid") == uniq(call) for each in leads)

    def _profile(
        self, contact: Mapping[str, object] | None, company: Mapping[str, object] | None, phone: str
    ) -> Profile:
        return to_profile(contact, company, phone=phone, url=self._url, agents=self._agents, country=self._country)


async def _found(
    account: Account, kind: str, phone: str, deadline: float, *, also: str = "leads"
) -> Sequence[Mapping[str, object]]:
    """Cards in which these digits stand somewhere."""
    query = [("query", search_digits(phone)[-1]), ("with", also), ("limit", PAGE), ("order[updated_at]", "desc")]
    found = await account.get(f"{API}/{kind}", query, deadline=deadline)
    return objects(mapping(found.get("_embedded")).get(kind))


async def _card(
    account: Account, kind: str, card_id: str, deadline: float, *, also: str = "leads"
) -> Mapping[str, object]:
    """A card by its id; empty when there is none."""
    if not numeric_id(card_id):
        return {}
    found = await account.get(f"{API}/{kind}/{card_id}", [("with", also)], deadline=deadline)
    return found if identifier(found.get("id")) == card_id else {}


def _contact_ids(company: Mapping[str, object]) -> Sequence[str]:
    """Ids of the contacts that came with a company's card."""
    ids = (numeric_id(each.get("id")) for each in objects(mapping(company.get("_embedded")).get("contacts")))
    return list(dict.fromkeys(each for each in ids if each))


async def _company_of(account: Account, contact: Mapping[str, object], deadline: float) -> Mapping[str, object] | None:
    companies = objects(mapping(contact.get("_embedded")).get("companies"))
    company_id = identifier(companies[0].get("id")) if companies else ""
    return await _card(account, "companies", company_id, deadline) or None


def _whose(call: Call) -> str:
    """The extension it is listed for."""
    return call.last_agent or call.first_agent or next(iter(call.rung), "")


def _without_card(problems: Sequence[Mapping[str, object]]) -> bool:
    """The number belongs to no card: an answer, not a failure. The error's code is UNCONFIRMED, so its words decide."""
    words = (f"{text(each.get('title'))} {text(each.get('detail'))}".lower() for each in problems)
    return any("not found" in each for each in words)
