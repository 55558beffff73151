"""Bitrix24 REST: who is calling, the call's card on screens, the call in the CRM's telephony statistics.

Who is calling costs two batches: one finds ids by the number (`crm.duplicate.findbycomm`) and the responsible user with
his extension (`telephony.externalCall.searchCrmEntities`), the other reads the cards found. A batch counts once
against the portal's limit. They are not one batch, because a reference into an empty result would list everything.
Invariant: a card counts only when a number of it is the caller's. Source: the vendor's documentation of its REST API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.crm.bitrix24_portal import Portal
from vochi_agent.crm.fields import (
    dialled_digits,
    identifier,
    international,
    mapping,
    objects,
    same_number,
    search_digits,
    text,
)
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmRejected
from vochi_agent.ports import Popup, Post

__all__ = ["Bitrix24", "Card", "to_profile"]

SOURCE: Final = "bitrix24"
LEAD: Final = "lead-"  # ids of leads, contacts and companies are counted apart
# Enough to tell people who share a number from each other, few enough for one batch.
MOST_CARDS: Final = 5
OUTGOING, INCOMING = 1, 2
STATUS_CODES: Final[Mapping[Reason, str]] = {
    Reason.TALKED: "200",
    Reason.BUSY: "486",
    Reason.REJECTED: "603",
    Reason.CANCELLED: "603-S",
    Reason.FORBIDDEN: "403",
    Reason.BLOCKED: "423",
    Reason.FAILED: "503",
    Reason.UNREACHABLE: "480",
}
MISSED: Final = "304"


@dataclass(frozen=True, slots=True)
class Card:
    """A contact, company or lead, and the company of a contact."""

    kind: str
    id: str
    fields: Mapping[str, object]
    company: Mapping[str, object]

    @property
    def numbers(self) -> Sequence[str]:
        """As somebody wrote them."""
        return [text(each.get("VALUE")) for each in objects(self.fields.get("PHONE"))]


class Bitrix24:
    """One portal; fulfils `ports.ProfileSource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        url: The portal's address, for links.
        agents: User id -> extension; users that are not there are known by the extension in their own card.
        default_user: User id that a call which reached nobody is given; "" for none.
    """

    name = SOURCE

    def __init__(self, portal: Portal, *, url: str, agents: Mapping[str, str], default_user: str) -> None:
        self._portal = portal
        self._url = url.rstrip("/")
        self._agents = agents
        self._users = {extension: user for user, extension in reversed(list(agents.items()))}
        self._default_user = default_user

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._portal.http.deadline()
        values = [(f"values[{number}]", digits) for number, digits in enumerate(_spellings(phone))]
        found = await self._batch(
            {
                "ids": _command("crm.duplicate.findbycomm", [("type", "PHONE"), *values]),
                "who": _command("telephony.externalCall.searchCrmEntities", [("PHONE_NUMBER", phone)]),
            },
            deadline,
        )
        ids = mapping(found.get("ids"))  # an empty list when nobody was found
        cards = await self._cards(ids, deadline) if ids else []
        return to_profile(cards, objects(found.get("who")), phone=phone, url=self._url, agents=self._agents)

    async def person(self, external_id: str) -> Profile | None:
        """The contact (or lead) with this id; see `ports.ProfileSource`."""
        deadline = self._portal.http.deadline()
        kind = "LEAD" if external_id.startswith(LEAD) else "CONTACT"
        cards = await self._cards({kind: [external_id.removeprefix(LEAD)]}, deadline)
        return to_profile(cards, [], phone="", url=self._url, agents=self._agents)

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. What is finished stays as it is: of a correction only a recording is added."""
        if not self._portal.telephony:
            raise CrmRejected("calls want an application (client_id, client_secret, refresh_token), not a webhook")
        call, deadline = post.call, self._portal.http.deadline()
        call_id = post.remote_id or await self._register(call, deadline)
        if not post.corrects:
            await self._finish(call, call_id, deadline, again=post.uncertain)
        if recording_url:
            await self._ask(
                "telephony.externalCall.attachRecord",
                {"CALL_ID": call_id, "FILENAME": f"{call.linkedid}.mp3", "RECORD_URL": recording_url},
                deadline,
            )
        return call_id

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. The portal hears of a call when the first phone rings; its end is `log_call`'s."""
        progress = popup.progress
        if not self._portal.telephony or progress.phone is None or progress.phase is Phase.HANGUP:
            return popup.remote_id
        deadline, call_id, began = self._portal.http.deadline(), popup.remote_id, popup.began
        if not call_id:
            if not began:
                return ""
            facts = _registration(
                phone=progress.phone,
                outgoing=progress.direction is Direction.OUT,
                started_at=datetime.fromtimestamp(progress.started_at, UTC),
                line=progress.line,
                external_id=_external_id(progress.enterprise_number, progress.linkedid),
            )
            result = await self._ask(
                "telephony.externalcall.register", {**facts, **self._user(began[0]), "SHOW": 1}, deadline
            )
            call_id, began = text(result.get("CALL_ID")), began[1:]
        for method, extensions in (("show", began), ("hide", popup.ended)):
            users = [self._users[each] for each in extensions if each in self._users]
            if users and (progress.phase is Phase.DIAL or method == "hide"):
                await self._ask(f"telephony.externalcall.{method}", {"CALL_ID": call_id, "USER_ID": users}, deadline)
        return call_id

    async def _register(self, call: Call, deadline: float) -> str:
        facts = _registration(
            phone=call.phone or call.raw_number,
            outgoing=call.direction is Direction.OUT,
            started_at=call.started_at,
            line=call.line,
            external_id=_external_id(call.enterprise_number, call.linkedid),
        )
        result = await self._ask("telephony.externalcall.register", {**facts, **self._whose(call), "SHOW": 0}, deadline)
        return text(result.get("CALL_ID"))

    async def _finish(self, call: Call, call_id: str, deadline: float, *, again: bool) -> None:
        parameters = {
            "CALL_ID": call_id,
            **self._whose(call),
            "DURATION": round(call.talk_seconds),
            "STATUS_CODE": STATUS_CODES.get(call.reason, MISSED),
            "ADD_TO_CHAT": 0,
        }
        try:
            await self._ask("telephony.externalcall.finish", parameters, deadline, repeatable=False)
        except CrmRejected as refusal:
            # A finished call is not found any more: our earlier request, whose answer was lost, had arrived.
            if not again or "not found" not in str(refusal).lower():
                raise

    def _whose(self, call: Call) -> Mapping[str, object]:
        """The user it is written to: who talked last, else who placed it, else whose phone rang first."""
        extension = call.last_agent or call.first_agent or next(iter(call.rung), "")
        if extension:
            return self._user(extension)
        if self._default_user:
            return {"USER_ID": self._default_user}
        raise CrmRejected("the call reached nobody and default_user is not configured")

    def _user(self, extension: str) -> Mapping[str, object]:
        user = self._users.get(extension)
        return {"USER_ID": user} if user else {"USER_PHONE_INNER": extension}

    async def _ask(
        self, method: str, parameters: Mapping[str, object], deadline: float, *, repeatable: bool = True
    ) -> Mapping[str, object]:
        body = await self._portal.call(method, parameters, deadline=deadline, repeatable=repeatable)
        return mapping(body.get("result"))

    async def _batch(self, commands: Mapping[str, str], deadline: float) -> Mapping[str, object]:
        """The results of a batch by name; a command that failed has none."""
        found = await self._ask("batch", {"halt": 0, "cmd": commands}, deadline)
        return mapping(found.get("result"))

    async def _cards(self, ids: Mapping[str, object], deadline: float) -> Sequence[Card]:
        """The cards of these ids, contacts with their companies."""
        wanted = [
            (kind, identifier(number))
            for kind in ("CONTACT", "COMPANY", "LEAD")
            for number in _first(ids.get(kind))
            if identifier(number)
        ]
        commands = {f"{kind}{number}": _command(f"crm.{kind.lower()}.get", [("id", number)]) for kind, number in wanted}
        commands |= {
            f"of{number}": f"crm.company.get?id=$result[CONTACT{number}][COMPANY_ID]"
            for kind, number in wanted
            if kind == "CONTACT"
        }
        found = await self._batch(commands, deadline)
        return [
            Card(kind, number, mapping(found.get(f"{kind}{number}")), mapping(found.get(f"of{number}")))
            for kind, number in wanted
            if mapping(found.get(f"{kind}{number}"))
        ]


def to_profile(
    cards: Sequence[Card], who: Sequence[Mapping[str, object]], *, phone: str, url: str, agents: Mapping[str, str]
) -> Profile | None:
    """The first card one of whose numbers this is, as a profile; contacts come before companies and leads.

    Args:
        who: What the portal's own search of telephony says: who is responsible, with his extension.
        phone: "" takes the first card as it is.
    """
    matching = [card for card in cards if not phone or any(same_number(each, phone) for each in card.numbers)]
    if not matching:
        return None
    card = matching[0]
    company = card.fields if card.kind == "COMPANY" else card.company
    person = card.fields if card.kind != "COMPANY" else {}
    known = (international(each) for each in card.numbers)
    return Profile(
        source=SOURCE,
        external_id={"CONTACT": card.id, "LEAD": f"{LEAD}{card.id}"}.get(card.kind, ""),
        names=Names(
            last_name=text(person.get("LAST_NAME")),
            first_name=text(person.get("NAME")),
            middle_name=text(person.get("SECOND_NAME")),
            enterprise_name=text(company.get("TITLE")) or text(person.get("COMPANY_TITLE")),
        ),
        company_id=identifier(company.get("ID")),
        phones=tuple(dict.fromkeys(each for each in known if each and each != phone)),
        responsible=_responsible(card, who, agents),
        url=f"{url}/crm/{card.kind.lower()}/details/{card.id}/",
    )


def _responsible(card: Card, who: Sequence[Mapping[str, object]], agents: Mapping[str, str]) -> str:
    user = identifier(card.fields.get("ASSIGNED_BY_ID"))
    if user in agents:
        return agents[user]
    of_user = (mapping(each.get("ASSIGNED_BY")) for each in who)
    inner = (text(each.get("USER_PHONE_INNER")) for each in of_user if identifier(each.get("ID")) == user)
    return next((extension for extension in inner if extension), "")


def _registration(
    *, phone: str, outgoing: bool, started_at: datetime, line: str | None, external_id: str
) -> dict[str, object]:
    return {
        "PHONE_NUMBER": phone,
        "TYPE": OUTGOING if outgoing else INCOMING,
        "CALL_START_DATE": started_at.isoformat(timespec="seconds"),
        "CRM_CREATE": 0,
        # Without it two calls of one number within half an hour are taken for one.
        "EXTERNAL_CALL_ID": external_id,
        **({"LINE_NUMBER": line} if line else {}),
    }


def _external_id(enterprise_number: str, linkedid: str) -> str:
    return f"{enterprise_number}-{linkedid}"


def _spellings(phone: str) -> Sequence[str]:
    """How the number may stand in a card: what the portal takes for the same is not documented."""
    return list(dict.fromkeys((phone, *search_digits(phone), *dialled_digits(phone))))


def _command(method: str, parameters: Sequence[tuple[str, str]]) -> str:
    return f"{method}?{urlencode(parameters)}"


def _first(ids: object) -> Sequence[object]:
    return ids[:MOST_CARDS] if isinstance(ids, list) else []
