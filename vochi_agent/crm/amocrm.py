"""amoCRM (Kommo) API v4: who is calling, popups, the call on the card of its contact.

Who is calling costs one request, two with a company: the search wants the last digits without the country, because
`+7…` and `8…` are different texts to it, and looks through every field. A call is attached by its number to the card
that has it; for a number without a card there is nothing to attach it to: it is left out, or becomes an unsorted lead
when `unsorted` says so. A listed call cannot be changed, and whether the server knows a repetition by `uniq` is not
proven: after a lost answer the contact's notes are looked through first.
Invariant: a card counts only when a number of it is the caller's. Source: the vendor's PHP client and documentation.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call, Direction, Phase, Reason, Status
from vochi_agent.crm.amocrm_account import Account
from vochi_agent.crm.fields import identifier, international, mapping, objects, same_number, search_digits, text
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmRejected
from vochi_agent.ports import Popup, Post

__all__ = ["AmoCrm", "choose", "to_profile"]

SOURCE: Final = "amocrm"
API: Final = "/api/v4"
SERVICE: Final = "vochi-agent"
PAGE: Final = "50"
NOTES_PAGE: Final = "100"
# 1 left a message, 3 not available, 4 talked, 5 wrong number, 6 no answer, 7 busy.
CALL_STATUSES: Final[Mapping[Reason, int]] = {
    Reason.TALKED: 4,
    Reason.VOICEMAIL: 1,
    Reason.BUSY: 7,
    Reason.FAILED: 3,
    Reason.UNREACHABLE: 3,
}
NO_ANSWER: Final = 6


class AmoCrm:
    """One account; fulfils `ports.ProfileSource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        url: The account's address, for links.
        agents: User id -> extension; the API does not know extensions.
        unsorted: An inbound call of a number without a card becomes an unsorted lead.
    """

    name = SOURCE

    def __init__(self, account: Account, *, url: str, agents: Mapping[str, str], unsorted: bool) -> None:
        self._account = account
        self._url = url.rstrip("/")
        self._agents = agents
        self._users = {extension: user for user, extension in reversed(list(agents.items()))}
        self._unsorted = unsorted

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._account.deadline()
        contact = await self._find("contacts", phone, deadline)
        if contact is not None:
            company = await self._company_of(contact, deadline)
            return to_profile(contact, company, phone=phone, url=self._url, agents=self._agents)
        company = await self._find("companies", phone, deadline)
        return to_profile(None, company, phone=phone, url=self._url, agents=self._agents) if company else None

    async def person(self, external_id: str) -> Profile | None:
        """The contact with this id; see `ports.ProfileSource`."""
        deadline = self._account.deadline()
        path = f"{API}/contacts/{quote(external_id, safe='')}"
        contact = await self._account.get(path, [("with", "leads")], deadline=deadline)
        if identifier(contact.get("id")) != external_id:
            return None
        company = await self._company_of(contact, deadline)
        return to_profile(contact, company, phone="", url=self._url, agents=self._agents)

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. A correction after the fact is beyond this API and left out."""
        if post.corrects:
            return post.remote_id
        call, deadline = post.call, self._account.deadline()
        if post.uncertain and (known := await self._listed(call, deadline)):
            return known
        made = await self._account.send("POST", f"{API}/calls", [self._entry(call, recording_url)], deadline=deadline)
        listed = objects(mapping(made.get("_embedded")).get("calls"))
        if listed:
            return identifier(listed[0].get("id"))
        problems = objects(made.get("errors"))
        if problems and not _without_card(problems):
            raise CrmRejected(text(problems[0].get("detail")) or text(problems[0].get("title")) or "refused")
        if not self._unsorted or call.direction is not Direction.IN:
            return ""
        if post.uncertain:
            raise CrmRejected("an unsorted lead may be there already: look for it in the account")
        await self._account.send(
            "POST", f"{API}/leads/unsorted/sip", [self._lead(call, recording_url)], deadline=deadline
        )
        return ""

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. What is shown cannot be closed by the API."""
        users = [int(self._users[each]) for each in popup.began if self._users.get(each, "").isdecimal()]
        if users and popup.progress.phone and popup.progress.phase is Phase.DIAL:
            event = {"type": "phone_call", "phone_number": popup.progress.phone.lstrip("+"), "users": users}
            # The one call that version 4 has no word for.
            await self._account.send("POST", "/api/v2/events", {"add": [event]}, deadline=self._account.deadline())
        return popup.remote_id

    async def _find(self, kind: str, phone: str, deadline: float) -> Mapping[str, object] | None:
        query = [
            ("query", search_digits(phone)[-1]), ("with", "leads"), ("limit", PAGE), ("order[updated_at]", "desc")
        ]  # fmt: skip
        found = await self._account.get(f"{API}/{kind}", query, deadline=deadline)
        return choose(objects(mapping(found.get("_embedded")).get(kind)), phone)

    async def _company_of(self, contact: Mapping[str, object], deadline: float) -> Mapping[str, object] | None:
        companies = objects(mapping(contact.get("_embedded")).get("companies"))
        company_id = identifier(companies[0].get("id")) if companies else ""
        return await self._account.get(f"{API}/companies/{company_id}", [], deadline=deadline) if company_id else None

    async def _listed(self, call: Call, deadline: float) -> str:
        """The id of the note that an earlier request left on the contact's card; "" when there is none."""
        contact = await self._find("contacts", call.phone or "", deadline) if call.phone else None
        if contact is None:
            return ""
        query = [("filter[note_type][]", "call_in"), ("filter[note_type][]", "call_out"), ("limit", NOTES_PAGE),
                 ("order[updated_at]", "desc")]  # fmt: skip
        path = f"{API}/contacts/{identifier(contact.get('id'))}/notes"
        found = await self._account.get(path, query, deadline=deadline)
        notes = objects(mapping(found.get("_embedded")).get("notes"))
        uniq = _uniq(call)
        return next(
            (identifier(each.get("id")) for each in notes if mapping(each.get("params")).get("uniq") == uniq), ""
        )

    def _entry(self, call: Call, recording_url: str) -> dict[str, object]:
        extension = call.last_agent or call.first_agent or next(iter(call.rung), "")
        user = self._users.get(extension, "")
        return {
            "direction": "outbound" if call.direction is Direction.OUT else "inbound",
            "uniq": _uniq(call),
            "duration": round(call.talk_seconds),
            "source": SERVICE,
            "phone": (call.phone or call.raw_number).lstrip("+"),
            "call_status": CALL_STATUSES.get(call.reason, NO_ANSWER),
            "created_at": int(call.started_at.timestamp()),
            **({"link": recording_url} if recording_url else {}),
            **({"responsible_user_id": int(user), "call_responsible": int(user)} if user.isdecimal() else {}),
        }

    def _lead(self, call: Call, recording_url: str) -> dict[str, object]:
        number, called_at = (call.phone or call.raw_number).lstrip("+"), int(call.started_at.timestamp())
        talked = call.status is Status.ANSWERED
        return {
            "source_uid": _uniq(call),
            "source_name": SERVICE,
            "created_at": called_at,
            "metadata": {
                "uniq": _uniq(call),
                "from": number,
                "phone": call.last_agent or call.line or number,
                "called_at": called_at,
                "duration": round(call.talk_seconds),
                "link": recording_url,
                "service_code": SERVICE,
                "is_call_event_needed": True,
            },
            "_embedded": {
                "contacts": [{"name": number}],
                "leads": [{"name": f"{'Входящий' if talked else 'Пропущенный'} звонок {number}"}],
            },
        }


def choose(cards: Sequence[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The card that has this number: of several the one changed last."""
    matching = [
        card
        for card in cards
        if identifier(card.get("id"))
        and card.get("is_deleted") is not True
        and any(same_number(each, phone) for each in _numbers(card))
    ]

    def age(card: Mapping[str, object]) -> tuple[int, str]:
        updated = card.get("updated_at")
        return (updated if isinstance(updated, int) else 0, identifier(card.get("id")))

    return max(matching, key=age, default=None)


def to_profile(
    contact: Mapping[str, object] | None,
    company: Mapping[str, object] | None,
    *,
    phone: str,
    url: str,
    agents: Mapping[str, str],
) -> Profile:
    """A contact and his company, or a company alone, as a profile."""
    person, firm = contact or {}, company or {}
    last_name, first_name = text(person.get("last_name")), text(person.get("first_name"))
    contact_id, company_id = identifier(person.get("id")), identifier(firm.get("id"))
    known = (international(each) for each in _numbers(contact or firm))
    kind, card_id = ("contacts", contact_id) if contact_id else ("companies", company_id)
    manager = identifier(person.get("responsible_user_id")) or identifier(firm.get("responsible_user_id"))
    return Profile(
        source=SOURCE,
        external_id=contact_id,
        names=Names(
            # Where the parts are empty, people have written everything into the one field.
            last_name=last_name if last_name or first_name else text(person.get("name")),
            first_name=first_name,
            enterprise_name=text(firm.get("name")),
        ),
        company_id=company_id,
        phones=tuple(dict.fromkeys(each for each in known if each and each != phone)),
        responsible=agents.get(manager, ""),
        url=f"{url}/{kind}/detail/{card_id}",
    )


def _numbers(card: Mapping[str, object]) -> Sequence[str]:
    # `custom_fields_values` is null on a card without any.
    fields = objects(card.get("custom_fields_values"))
    phones = [field for field in fields if field.get("field_code") == "PHONE"]
    return [text(value.get("value")) for field in phones for value in objects(field.get("values"))]


def _uniq(call: Call) -> str:
    return f"{call.enterprise_number}-{call.linkedid}"


def _without_card(problems: Sequence[Mapping[str, object]]) -> bool:
    """The number belongs to no card: an answer, not a failure. The error's code is UNCONFIRMED, so its words decide."""
    words = (f"{text(each.get('title'))} {text(each.get('detail'))}".lower() for each in problems)
    return any("not found" in each for each in words)
