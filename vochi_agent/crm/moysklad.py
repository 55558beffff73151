"""MoySklad: counterparties by phone over JSON API 1.2, cards and calls over Phone API 1.0.

Two APIs, two keys. Who is calling costs one request: `entity/counterparty?search=<national digits>` looks through the
counterparty's own phone and those of his contact persons, whatever their formatting. Calls live in the Phone API under
an id of ours (`call/extid/{id}`), so a repetition is known again; a field that is filled once stays as it is, only the
comment is overwritten and recordings are added, which is why a corrected call speaks through its comment.
Invariant: `search` also finds names and addresses, so a counterparty counts only when a number of his is the caller's.
Sources: the vendor's documentation of both APIs; what no source proves is marked UNCONFIRMED.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call, Phase
from vochi_agent.crm.call_facts import agent_of, user_of
from vochi_agent.crm.companies import company_of
from vochi_agent.crm.fields import identifier, mapping, objects, search_digits, text
from vochi_agent.crm.http import Answer, CrmHttp
from vochi_agent.crm.moysklad_calls import (
    PHONE,
    beginning,
    call_path,
    contact_form,
    ending,
    events,
    live,
    recorded,
    task_form,
)
from vochi_agent.crm.moysklad_cards import (
    OF,
    SOURCE,
    choose,
    contact_of,
    contacts_of,
    interpret,
    owner_of,
    size_of,
    to_profile,
)
from vochi_agent.customers.model import Company, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Popup, Post

__all__ = ["DATA_HEADERS", "PHONE_HEADERS", "MoySklad"]

DATA: Final = "/api/remap/1.2"
# Any other `Accept` is error 1062; without gzip the answer is 415 and empty.
DATA_HEADERS: Final = {"Accept": "application/json;charset=utf-8", "Accept-Encoding": "gzip"}
PHONE_HEADERS: Final = {"Accept-Encoding": "gzip"}
EXPAND: Final = "owner,contactpersons"
PAGE: Final = "25"
PEOPLE_PAGE: Final = 500  # the API allows 1000, whose answer would be about as large as we take one
MOST_LONG: Final = 3  # cards of a search whose contact persons are asked for; more come of a search that is ignored
MOST_PEOPLE: Final = 5000  # of a larger company the first are named and nobody is let go
EMPLOYEES_S: Final = 600.0


class MoySklad:
    """One account; fulfils `ports.CompanySource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        data: Base URL is the address without a path; sends the JSON API's key and `DATA_HEADERS`.
        phone: The same for the Phone API and its key; None without telephony.
        agents: Id of an employee -> extension; what is not there is asked of the Phone API.
        country: ISO 3166 code; how numbers without a country are read.
        clock: Monotonic seconds.
    """

    name = SOURCE

    def __init__(
        self,
        data: CrmHttp,
        phone: CrmHttp | None,
        *,
        agents: Mapping[str, str],
        country: str,
        clock: Callable[[], float],
    ) -> None:
        self._data = data
        self._behind = data.apart("changes")
        self._country = country
        self._phone = phone
        self._agents = agents
        self._employees: Expiring[str, Mapping[str, str]] = Expiring(ttl_s=EMPLOYEES_S, size=1, clock=clock)

    @property
    def telephony(self) -> bool:
        """Whether there is a key for calls."""
        return self._phone is not None

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._data.deadline()
        query = [("search", search_digits(phone)[-1]), ("expand", EXPAND), ("limit", PAGE)]
        found = await self._data.get(f"{DATA}/entity/counterparty", query, interpret, deadline=deadline)
        rows = objects(found.get("rows"))
        counterparty = choose(rows, phone) or await self._among_many(rows, phone, deadline)
        if counterparty is None:
            return None
        extensions = await self._extensions(counterparty, deadline)
        return to_profile(
            counterparty, contact_of(counterparty, phone), phone=phone, extensions=extensions, country=self._country
        )

    async def person(self, external_id: str) -> Profile | None:
        """The counterparty with this id, or his contact person; see `ports.ProfileSource`."""
        counterparty_id, _, contact_id = external_id.partition(OF)
        deadline = self._behind.deadline()
        found = await self._counterparty(counterparty_id, deadline)
        people = (await self._people_of(self._behind, found, deadline))[0] if contact_id else ()
        contact = next((each for each in people if identifier(each.get("id")) == contact_id), None)
        if not found or (contact_id and contact is None):
            return None
        extensions = await self._extensions(found, deadline)
        return to_profile(found, contact, phone="", extensions=extensions, country=self._country)

    async def people(self, counterparty_id: str) -> Sequence[str]:
        """Ids for `person`: the counterparty himself and his contact persons. Raises as `ProfileSource.profile`."""
        deadline = self._behind.deadline()
        found = await self._counterparty(counterparty_id, deadline)
        people, _ = await self._people_of(self._behind, found, deadline)
        contacts = (identifier(each.get("id")) for each in people)
        return [counterparty_id, *(f"{counterparty_id}{OF}{each}" for each in contacts if each)] if found else []

    async def company(self, counterparty_id: str) -> Company | None:
        """A counterparty with his own number and those of all contact persons; see `ports.CompanySource`."""
        deadline = self._behind.deadline()
        card = await self._counterparty(counterparty_id, deadline)
        if not card:
            return None
        people, whole = await self._people_of(self._behind, card, deadline)
        extensions = await self._extensions(card, deadline)
        profiles = [
            to_profile(card, each, phone="", extensions=extensions, country=self._country) for each in (None, *people)
        ]
        return company_of(SOURCE, counterparty_id, profiles, whole=whole)

    async def _among_many(
        self, rows: Sequence[Mapping[str, object]], phone: str, deadline: float
    ) -> Mapping[str, object] | None:
        """The counterparty whose contact person has this number, but did not come with his card."""
        long = [row for row in rows if len(contacts_of(row)) < size_of(row.get("contactpersons"))]
        for row in long[:MOST_LONG]:
            people, _ = await self._people_of(self._data, row, deadline)
            whole = {**row, "contactpersons": {"rows": list(people)}}
            if choose([whole], phone):
                return whole
        return None

    async def _people_of(
        self, http: CrmHttp, card: Mapping[str, object], deadline: float
    ) -> tuple[Sequence[Mapping[str, object]], bool]:
        """All contact persons, and whether these are all: a card brings the first hundred at most."""
        people, size = list(contacts_of(card)), size_of(card.get("contactpersons"))
        path = f"{DATA}/entity/counterparty/{quote(identifier(card.get('id')), safe='')}/contactpersons"
        while len(people) < size <= MOST_PEOPLE:
            query = [("limit", str(PEOPLE_PAGE)), ("offset", str(len(people)))]
            found = objects((await http.get(path, query, interpret, deadline=deadline)).get("rows"))
            if not found:
                break
            people += found
        return people, len(people) == size

    async def _counterparty(self, counterparty_id: str, deadline: float) -> Mapping[str, object]:
        """His card; empty when there is none."""
        path = f"{DATA}/entity/counterparty/{quote(counterparty_id, safe='')}"
        found = await self._behind.get(path, [("expand", EXPAND)], interpret, deadline=deadline)
        return found if identifier(found.get("id")) == counterparty_id else {}

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. A call that was shown while it lived is there already and is only ended."""
        if self._phone is None:
            raise CrmRejected("the key of the Phone API (phone_key) is not configured")
        call, deadline = post.call, self._phone.deadline()
        if post.remote_id or post.corrects or post.uncertain:
            ended = await self._end(call, recording_url, deadline)
            if ended:
                return ended
        facts = {**beginning(call), **ending(call), **(recorded(recording_url) if recording_url else {})}
        try:
            made = await self._phone.send(
                "POST", f"{PHONE}/call", interpret, deadline=deadline, json=facts, repeatable=False
            )
        except CrmRejected:
            # It may be there from its live card, whose id did not outlive a restart of ours.
            if ended := await self._end(call, recording_url, deadline):
                return ended
            raise
        return identifier(made.get("id"))

    async def _end(self, call: Call, recording_url: str, deadline: float) -> str:
        """End a call that the CRM has; its id, "" when it has none.

        A recording is added as often as it is sent, so it goes last and alone, when the answer to all else does not
        have it yet. That an answer has the recordings of before: UNCONFIRMED.
        """
        assert self._phone is not None  # noqa: S101 - `log_call` has looked
        path = call_path(call.enterprise_number, call.linkedid)
        ended = await self._phone.send("PUT", path, interpret, deadline=deadline, json=ending(call), repeatable=True)
        remote_id, known = identifier(ended.get("id")), ended.get("recordUrl")
        if remote_id and recording_url and not (isinstance(known, list) and recording_url in known):
            await self._phone.send(
                "PUT", path, interpret, deadline=deadline, json=recorded(recording_url), repeatable=False
            )
        return remote_id

    async def make_contact(self, call: Call) -> str:
        """See `rules.MakesContacts`."""
        owner = await self._employee_of(call.last_agent or "")
        return await self._make("counterparty", contact_form(call, owner=owner))

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """See `rules.MakesTasks`."""
        customer = await self.profile(call.phone) if call.phone else None
        assignee = await self._employee_of(agent_of(call)) or await self._employee_of(
            customer.responsible if customer else ""
        )
        if not assignee:
            return ""
        of = (customer.company_id or customer.external_id) if customer else ""
        return await self._make("task", task_form(call, assignee=assignee, counterparty=of, minutes=minutes))

    async def _make(self, what: str, form: Mapping[str, object]) -> str:
        path, deadline = f"{DATA}/entity/{what}", self._behind.deadline()
        made = await self._behind.send("POST", path, interpret, deadline=deadline, json=form, repeatable=False)
        return identifier(made.get("id"))

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. The first phase makes the call, the others are its events."""
        if self._phone is None:
            return ""
        progress, deadline = popup.progress, self._phone.deadline()
        if progress.phone is None:
            return ""
        remote_id, over = popup.remote_id, progress.phase is Phase.HANGUP
        if over and not remote_id and not popup.ended:
            return ""
        if not remote_id and not over:
            try:
                made = await self._phone.send(
                    "POST", f"{PHONE}/call", interpret, deadline=deadline, json=live(popup), repeatable=False
                )
                remote_id = identifier(made.get("id"))
            except CrmRejected:
                pass  # it is there already; its events go by our own id
        path = f"{call_path(progress.enterprise_number, progress.linkedid)}/event"
        for number, event in enumerate(events(popup)):
            # An order number: milliseconds of the call, whose phases never come together.
            sequence = round((progress.at - progress.started_at) * 1000) + number + 1
            await self._phone.send(
                "POST", path, nothing, deadline=deadline, json={**event, "sequence": sequence}, repeatable=False
            )
        return remote_id

    async def _extensions(self, counterparty: Mapping[str, object], deadline: float) -> Mapping[str, str]:
        """Employee -> extension, as far as it is needed for the owner of this counterparty."""
        owner = owner_of(counterparty)
        if not owner or owner in self._agents or self._phone is None:
            return self._agents
        try:
            return await self._all_extensions(deadline)
        except (CrmUnavailable, CrmRejected, CrmAuthFailed):
            return self._agents  # a name without its manager is better than none

    async def _employee_of(self, extension: str) -> str:
        """The employee with this extension, "" when there is none, or several. Raises as `profile`."""
        if not extension:
            return ""
        return user_of(self._agents, extension) or user_of(
            await self._all_extensions(self._behind.deadline()), extension
        )

    async def _all_extensions(self, deadline: float) -> Mapping[str, str]:
        known = self._employees.get("all")
        if known is None:
            known = await self.extensions(deadline)
            self._employees.put("all", known)
        return {**known, **self._agents}

    async def extensions(self, deadline: float | None = None) -> Mapping[str, str]:
        """Employee -> extension as the Phone API has them, none without its key. Raises as `profile`."""
        if self._phone is None:
            return {}
        until = self._phone.deadline() if deadline is None else deadline
        found = await self._phone.get(f"{PHONE}/employee", [], interpret, deadline=until)
        return {
            text(mapping(each.get("meta")).get("href")).rpartition("/")[2]: text(each.get("extention"))
            for each in objects(found.get("employees"))  # the misspelt key is theirs
        }


def nothing(answer: Answer) -> None:
    """An event is answered by 204; that the call is unknown there is not worth a failure."""
    interpret(answer)
