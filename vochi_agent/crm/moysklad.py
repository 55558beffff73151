"""MoySklad: counterparties by phone over JSON API 1.2, cards and calls over Phone API 1.0.

Two APIs, two keys. Who is calling costs one request: `entity/counterparty?search=<national digits>` looks through the
counterparty's own phone and those of his contact persons, whatever their formatting. Calls live in the Phone API under
an id of ours (`call/extid/{id}`), so a repetition is known again; a field that is filled once stays as it is, only the
comment is overwritten and recordings are added, which is why a corrected call speaks through its comment.
Invariant: `search` also finds names and addresses, so a counterparty counts only when a number of his is the caller's.
Sources: the vendor's documentation of both APIs; what no source proves is marked UNCONFIRMED.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call, Phase
from vochi_agent.crm.fields import identifier, mapping, numbers, objects, same_number, search_digits, text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.crm.moysklad_calls import PHONE, beginning, call_path, ending, events, live
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Popup, Post

__all__ = ["DATA_HEADERS", "PHONE_HEADERS", "MoySklad", "choose", "interpret", "to_profile"]

SOURCE: Final = "moysklad"
DATA: Final = "/api/remap/1.2"
# Any other `Accept` is error 1062; without gzip the answer is 415 and empty.
DATA_HEADERS: Final = {"Accept": "application/json;charset=utf-8", "Accept-Encoding": "gzip"}
PHONE_HEADERS: Final = {"Accept-Encoding": "gzip"}
EXPAND: Final = "owner,contactpersons"
PAGE: Final = "25"
# Between the ids of a counterparty and of his contact person.
OF: Final = "/"
EMPLOYEES_S: Final = 600.0
MAX_MESSAGE: Final = 200
NOT_FOUND, UNAUTHORIZED, FORBIDDEN = 404, 401, 403
# 1056 the key is wrong; 1016 and 1017 the tariff or the rights do not allow it; 55008 no telephony is installed.
AUTH_CODES: Final = frozenset({1056})


class MoySklad:
    """One account; fulfils `ports.ProfileSource`, `ports.CallBook` and `ports.CallScreen`.

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
        counterparty = choose(objects(found.get("rows")), phone)
        if counterparty is None:
            return None
        extensions = await self._extensions(counterparty, deadline)
        return to_profile(
            counterparty, _contact(counterparty, phone), phone=phone, extensions=extensions, country=self._country
        )

    async def person(self, external_id: str) -> Profile | None:
        """The counterparty with this id, or his contact person; see `ports.ProfileSource`."""
        counterparty_id, _, contact_id = external_id.partition(OF)
        deadline = self._behind.deadline()
        found = await self._counterparty(counterparty_id, deadline)
        contacts = (each for each in _contacts(found) if contact_id and identifier(each.get("id")) == contact_id)
        contact = next(contacts, None)
        if not found or (contact_id and contact is None):
            return None
        extensions = await self._extensions(found, deadline)
        return to_profile(found, contact, phone="", extensions=extensions, country=self._country)

    async def people(self, counterparty_id: str) -> Sequence[str]:
        """Ids for `person`: the counterparty himself and his contact persons. Raises as `ProfileSource.profile`."""
        found = await self._counterparty(counterparty_id, self._behind.deadline())
        contacts = (identifier(each.get("id")) for each in _contacts(found))
        return [counterparty_id, *(f"{counterparty_id}{OF}{each}" for each in contacts if each)] if found else []

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
        facts = ending(call, recording_url)
        if post.remote_id or post.corrects or post.uncertain:
            ended = await self._end(call, facts, deadline)
            if ended:
                return ended
        try:
            made = await self._phone.send(
                "POST", f"{PHONE}/call", interpret, deadline=deadline, json={**beginning(call), **facts},
                repeatable=False,
            )  # fmt: skip
        except CrmRejected:
            # It may be there from its live card, whose id did not outlive a restart of ours.
            if ended := await self._end(call, facts, deadline):
                return ended
            raise
        return identifier(made.get("id"))

    async def _end(self, call: Call, facts: Mapping[str, object], deadline: float) -> str:
        """End a call that the CRM has; its id, "" when it has none."""
        assert self._phone is not None  # noqa: S101 - `log_call` has looked
        path = call_path(call.enterprise_number, call.linkedid)
        ended = await self._phone.send("PUT", path, interpret, deadline=deadline, json=facts, repeatable=True)
        return identifier(ended.get("id"))

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. The first phase makes the call, the others are its events."""
        if self._phone is None:
            return ""
        progress, deadline = popup.progress, self._phone.deadline()
        if progress.phone is None:
            return ""
        remote_id = popup.remote_id
        if not remote_id:
            if progress.phase is Phase.HANGUP:
                return ""
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
        owner = _owner(counterparty)
        if not owner or owner in self._agents or self._phone is None:
            return self._agents
        known = self._employees.get("all")
        if known is None:
            try:
                known = await self.extensions(deadline)
            except (CrmUnavailable, CrmRejected, CrmAuthFailed):
                return self._agents  # a name without its manager is better than none
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


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for 404 and for an answer without a body.

    Raises:
        CrmUnavailable: no JSON object came.
        CrmAuthFailed: the key is wrong.
        CrmRejected: anything else that the API says no to.
    """
    if answer.status == NOT_FOUND or (answer.status < 300 and not answer.body.strip()):  # noqa: PLR2004 - HTTP
        return {}
    if not answer.body.strip():
        raise CrmRejected(f"status {answer.status} without a reason")
    body = json_object(answer)
    errors = objects(body.get("errors"))
    if not errors and answer.status < 300:  # noqa: PLR2004 - as above
        return body
    first = errors[0] if errors else {}
    message = text(first.get("error"))[:MAX_MESSAGE] or f"status {answer.status} without a reason"
    if answer.status in (UNAUTHORIZED, FORBIDDEN) or first.get("code") in AUTH_CODES:
        raise CrmAuthFailed(message)
    raise CrmRejected(message)


def nothing(answer: Answer) -> None:
    """An event is answered by 204; that the call is unknown there is not worth a failure."""
    interpret(answer)


def choose(rows: Iterable[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The counterparty one of whose numbers this is: living before archived, of several the one changed last."""
    matching = [
        row
        for row in rows
        if identifier(row.get("id"))
        and (same_number(text(row.get("phone")), phone) or _contact(row, phone) is not None)
    ]
    return max(
        matching,
        key=lambda row: (row.get("archived") is not True, text(row.get("updated")), identifier(row.get("id"))),
        default=None,
    )


def to_profile(
    counterparty: Mapping[str, object],
    contact: Mapping[str, object] | None,
    *,
    phone: str,
    extensions: Mapping[str, str],
    country: str,
) -> Profile:
    """A counterparty, or one of his contact persons, as a profile.

    A person is kept under the last name whole: the API has one field for it. A contact person has an id only together
    with his counterparty's.

    Args:
        phone: The number that was asked for; it is not listed again.
    """
    counterparty_id, name = identifier(counterparty.get("id")), text(counterparty.get("name"))
    company = contact is not None or text(counterparty.get("companyType")).startswith(("legal", "entrepreneur"))
    person = text(contact.get("name")) if contact else "" if company else name
    person_id = (
        f"{counterparty_id}{OF}{identifier(contact.get('id'))}" if contact else "" if company else counterparty_id
    )
    written = text((contact or counterparty).get("phone"))
    known = numbers(written, country)
    return Profile(
        source=SOURCE,
        external_id=person_id,
        names=Names(last_name=person, enterprise_name=name if company else ""),
        company_id=counterparty_id if company else "",
        phones=tuple(each for each in known if each != phone),
        # What cannot be read may be a number that we know: then nothing may be concluded from its absence.
        phones_complete=bool(person_id) and bool(known or not written),
        responsible=extensions.get(_owner(counterparty), ""),
        url=text(mapping(counterparty.get("meta")).get("uuidHref")),
    )


def _contacts(counterparty: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    return objects(mapping(counterparty.get("contactpersons")).get("rows"))


def _contact(counterparty: Mapping[str, object], phone: str) -> Mapping[str, object] | None:
    """The contact person who has this number; None when it is the counterparty's own."""
    if same_number(text(counterparty.get("phone")), phone):
        return None
    return next((each for each in _contacts(counterparty) if same_number(text(each.get("phone")), phone)), None)


def _owner(counterparty: Mapping[str, object]) -> str:
    owner = mapping(counterparty.get("owner"))
    return identifier(owner.get("id")) or text(mapping(owner.get("meta")).get("href")).rpartition("/")[2]
