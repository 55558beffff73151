"""U-ON.Travel: who is calling, who somebody is, and its own list of calls.

One round trip: `user/phone/<digits>` brings whole cards, with the company and the manager's id. How the server compares
numbers is not documented; when nobody is found, the form that is dialled at home (8…, 80…) is asked for once more.
The key is a part of the path, so every address is a secret: `CrmHttp` masks it.

Wire facts: the copy of the cabinet's pages and the client that was tried on a live account
(atomachinskiy/claude-skill-uon-travel), answers recorded by others; UNCONFIRMED where no source proves one.
Invariants: a card counts only when one of its own numbers is the caller's, and it is not deleted. A call is written
at most once: U-ON knows no id of ours, so a call whose answer was lost is looked for, and where the list does not tell
it is left to a person.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call
from vochi_agent.crm.call_facts import agent_of, begins_to_ring, settling, user_of
from vochi_agent.crm.fields import dialled_digits, identifier, mapping, numbers, objects, same_number, text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.crm.uon_calls import (
    Look,
    Seen,
    look_for,
    notice_of,
    pages_of,
    record_of,
    reminder_of,
    stranger_of,
    worth_reading,
)
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected
from vochi_agent.ports import Popup, Post

__all__ = ["PHONE_FIELDS", "SOURCE", "Uon", "choose_user", "interpret", "phones_of", "to_profile", "users_of"]

SOURCE: Final = "uon"
PHONE_FIELDS: Final = ("u_phone", "u_phone_mobile", "u_phone_home")
OK: Final = "200"
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
MAX_MESSAGE: Final = 200  # characters of a CRM's own words that our messages repeat
UNCLEAR: Final = (
    "the answer was lost, and the list of calls does not tell whether this one is in it: look there, "
    "then `outbox --listed`, or `outbox --retry --absent`"
)
# A 404 is how "nobody" is said; one with this sentence says that the request itself is wrong.
WRONG_PARAMETER: Final = re.compile(r"parameter.*wrong", re.IGNORECASE)


class Uon:
    """One U-ON account; fulfils `ports.ProfileSource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        http: Its base URL ends with the key.
        subdomain: The account's name before `.u-on.ru`, for links to a client's page; "" for no links.
        agents: Manager's id -> extension.
        country: ISO 3166 code; how numbers without a country are read.
        timezone: Of the account: its times carry none.
    """

    name = SOURCE

    def __init__(
        self, http: CrmHttp, *, subdomain: str, agents: Mapping[str, str], country: str, timezone: tzinfo
    ) -> None:
        self._http = http
        self._behind = http.apart("changes")
        self._lists = http.apart("calls")
        self._screens = http.apart("popups")
        self._timezone = timezone
        self._subdomain = subdomain
        self._agents = agents
        self._country = country

    async def profile(self, phone: str) -> Profile | None:
        """The person behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._http.deadline()
        for digits in dialled_digits(phone):
            found = await self._http.get(f"/user/phone/{digits}.json", (), interpret, deadline=deadline)
            user = choose_user(users_of(found), phone)
            if user:
                return self._profile(user, phone)
        return None

    async def person(self, external_id: str) -> Profile | None:
        """The client with this id; see `ports.ProfileSource`."""
        path = f"/user/{quote(external_id, safe='')}.json"
        found = await self._behind.get(path, (), interpret, deadline=self._behind.deadline())
        user = next((user for user in users_of(found) if identifier(user.get("u_id")) == external_id), None)
        return self._profile(user) if user and not _deleted(user) else None

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. What is in the list stays as it is: U-ON changes no call."""
        if post.corrects:
            return ""
        if post.uncertain:
            look = await self._look_for(post.call)
            if look.seen is Seen.LISTED:
                return look.remote_id
            if look.seen is Seen.UNCLEAR:
                raise CrmRejected(UNCLEAR)
        form = record_of(post.call, recording_url=recording_url, agents=self._agents, timezone=self._timezone)
        deadline = self._lists.deadline()
        with settling():
            made = await self._lists.send(
                "POST", "/call_history/create.json", interpret, deadline=deadline, form=form, repeatable=False
            )
        if not made:
            raise CrmRejected("the call was answered by 404: does this account keep a history of calls?")
        return identifier(made.get("id"))

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. A notice to each manager whose phone begins to ring; none is ever taken back."""
        managers = [user_of(self._agents, extension) for extension in begins_to_ring(popup)]
        notice = notice_of(popup, subdomain=self._subdomain)
        for manager in filter(None, managers if popup.progress.phone else ()):
            form, deadline = {"manager_id": manager, "text": notice}, self._screens.deadline()
            path = "/notification/create.json"
            await self._screens.send("POST", path, interpret, deadline=deadline, form=form, repeatable=False)
        return ""

    async def make_contact(self, call: Call) -> str:
        """See `rules.MakesContacts`."""
        return await self._make("user", stranger_of(call, agents=self._agents, what="contact"))

    async def make_lead(self, call: Call) -> str:
        """See `rules.MakesLeads`."""
        return await self._make("lead", stranger_of(call, agents=self._agents, what="lead"))

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """See `rules.MakesTasks`: a reminder."""
        client = await self.profile(call.phone) if call.phone else None
        manager = user_of(self._agents, agent_of(call)) or user_of(self._agents, client.responsible if client else "")
        if not manager:
            return ""
        reminder = reminder_of(
            call,
            manager=manager,
            client=client.external_id if client else "",
            minutes=minutes,
            timezone=self._timezone,
        )
        return await self._make("reminder", reminder)

    async def _make(self, what: str, form: Mapping[str, str]) -> str:
        deadline, path = self._behind.deadline(), f"/{what}/create.json"
        made = await self._behind.send("POST", path, interpret, deadline=deadline, form=form, repeatable=False)
        if not made:
            raise CrmRejected(f"{what}/create was answered by 404")
        return identifier(made.get("id")) or identifier(made.get("user_id"))

    async def _look_for(self, call: Call) -> Look:
        deadline = self._lists.deadline()
        read = {1: await self._lists.get("/call_history/1.json", (), interpret, deadline=deadline)}
        for page in worth_reading(pages_of(read[1])):
            read[page] = await self._lists.get(f"/call_history/{page}.json", (), interpret, deadline=deadline)
        return look_for(call, read, timezone=self._timezone)

    def _profile(self, user: Mapping[str, object], phone: str = "") -> Profile:
        return to_profile(user, phone=phone, subdomain=self._subdomain, agents=self._agents, country=self._country)


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for "nobody".

    Nobody is HTTP 404 with `{"result":404}`, or the same result with 200; a wrong parameter is a 404 too, with a
    sentence in it. A wrong key and a key without the tick for GET are both 403.

    Raises:
        CrmUnavailable: no JSON object came.
        CrmAuthFailed: the key is refused.
        CrmRejected: any other answer that is not a success.
    """
    body = json_object(answer)
    message = _message(body)
    result = identifier(body.get("result"))
    if answer.status == FORBIDDEN or result == str(FORBIDDEN) or "api key" in message.lower():
        raise CrmAuthFailed(message or "refuses our key (403)")
    if WRONG_PARAMETER.search(message):
        raise CrmRejected(message)
    if NOT_FOUND in (answer.status, int(result) if result.isdecimal() else 0):
        return {}
    if answer.status == int(OK) and "error" not in body and result in ("", OK):
        return body
    raise CrmRejected(message or f"status {answer.status}, result {result or 'missing'}")


def users_of(found: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The cards of an answer: `users` of a search, `user` of one by id, a list or an object (UNCONFIRMED: either)."""
    for key in ("users", "user"):
        value = found.get(key)
        if isinstance(value, dict) and "u_id" in value:
            return [value]
        if cards := objects(value):
            return cards
    return []


def choose_user(users: Iterable[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The card that has this number: of several (families share one) the one changed last."""
    matching = [
        user
        for user in users
        if identifier(user.get("u_id"))
        and not _deleted(user)
        and any(same_number(text(_written(user, key)), phone) for key in PHONE_FIELDS)
    ]
    # `u_date_update` is ISO 8601 in the account's own time zone: text order is time order. The id decides the rest.
    return max(matching, key=lambda user: (text(user.get("u_date_update")), _rank(user)), default=None)


def to_profile(
    user: Mapping[str, object], *, phone: str = "", subdomain: str, agents: Mapping[str, str], country: str
) -> Profile:
    """A card as a profile; its company is a field of the card, there are no companies of their own.

    Args:
        phone: The number that was asked for; it is not listed again.
    """
    user_id = identifier(user.get("u_id"))
    phones, skipped = phones_of(user, country)
    manager = identifier(user.get("manager_id")) or identifier(user.get("u_manager_id"))
    return Profile(
        source=SOURCE,
        external_id=user_id,
        names=Names(
            last_name=_name(user, "u_surname"),
            first_name=_name(user, "u_name"),
            middle_name=_name(user, "u_sname"),
            enterprise_name=_name(user, "u_company"),
        ),
        phones=tuple(number for number in phones if number != phone),
        # A number that we cannot read may be one that we know: then nothing may be concluded from its absence.
        phones_complete=not skipped and all(key in user for key in PHONE_FIELDS),
        responsible=agents.get(manager, ""),
        url=f"https://{subdomain}.u-on.ru/client_edit.php?client_id={quote(user_id)}" if subdomain else "",
    )


def phones_of(user: Mapping[str, object], country: str) -> tuple[tuple[str, ...], int]:
    """All numbers of a card in E.164, each once, and how many of its fields hold no number."""
    found: dict[str, None] = {}
    skipped = 0
    for key in PHONE_FIELDS:
        written = text(_written(user, key))
        read = numbers(written, country)
        found |= dict.fromkeys(read)
        skipped += bool(written and not read)
    return tuple(found), skipped


def _written(user: Mapping[str, object], key: str) -> object:
    """A phone field; a `+` that went through a form became a space, JSON writers send bare numbers."""
    value = user.get(key)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _name(user: Mapping[str, object], key: str) -> str:
    """A text field; the cabinet stores HTML entities."""
    return text(html.unescape(text(user.get(key))))


def _deleted(user: Mapping[str, object]) -> bool:
    return user.get("deleted") is True or identifier(user.get("deleted")) != ""


def _rank(user: Mapping[str, object]) -> int:
    number = identifier(user.get("u_id"))
    return int(number) if number.isdecimal() else 0


def _message(body: Mapping[str, object]) -> str:
    """`{"error":{"message":"API key is wrong"}}`; elsewhere a bare text (UNCONFIRMED: under which keys)."""
    error = body.get("error")
    spoken = mapping(error).get("message") or error or body.get("message")
    return text(spoken)[:MAX_MESSAGE]
