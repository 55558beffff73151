"""MoySklad: counterparties by phone over JSON API 1.2, cards and calls over Phone API 1.0.

Two APIs, two keys. Who is calling costs one request: `entity/counterparty?search=<national digits>` looks through the
counterparty's own phone and those of his contact persons, whatever their formatting. Calls live in the Phone API under
an id of ours (`call/extid/{id}`), so a repetition is known again; a field that is filled once stays as it is, only the
comment is overwritten and recordings are added, which is why a corrected call speaks through its comment.
Invariant: `search` also finds names and addresses, so a counterparty counts only when a number of his is the caller's.
Sources: the vendor's documentation of both APIs; what no source proves is marked UNCONFIRMED.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from vochi_agent.calls.model import Call, Direction, Phase, Reason, Status
from vochi_agent.crm.fields import identifier, international, mapping, objects, same_number, search_digits, text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Popup, Post

__all__ = ["DATA_HEADERS", "MoySklad", "choose", "interpret", "remark", "to_profile"]

SOURCE: Final = "moysklad"
DATA: Final = "/api/remap/1.2"
PHONE: Final = "/api/phone/1.0"
# Any other `Accept` is error 1062; without gzip the answer is 415 and empty.
DATA_HEADERS: Final = {"Accept": "application/json;charset=utf-8", "Accept-Encoding": "gzip"}
EXPAND: Final = "owner,contactpersons"
PAGE: Final = "25"
EMPLOYEES_S: Final = 600.0
MAX_MESSAGE: Final = 200
# Times carry no zone and are Moscow's.
MOSCOW: Final = ZoneInfo("Europe/Moscow")
NOT_FOUND, UNAUTHORIZED, FORBIDDEN = 404, 401, 403
# 1056 the key is wrong; 1016 and 1017 the tariff or the rights do not allow it; 55008 no telephony is installed.
AUTH_CODES: Final = frozenset({1056})
REMARKS: Final[Mapping[Reason, str]] = {
    Reason.BLOCKED: "Номер в чёрном списке",
    Reason.FORBIDDEN: "Направление запрещено",
    Reason.CLOSED: "Звонок в нерабочее время",
    Reason.VOICEMAIL: "Оставлено голосовое сообщение",
    Reason.ABANDONED_QUEUE: "Клиент не дождался в очереди",
    Reason.QUEUE_TIMEOUT: "В очереди никто не ответил",
    Reason.ABANDONED: "Клиент не дождался ответа",
    Reason.ABANDONED_GREETING: "Клиент положил трубку во время приветствия",
    Reason.REJECTED: "Звонок отклонён",
    Reason.BUSY: "Занято",
    Reason.NO_ANSWER: "Нет ответа",
    Reason.UNREACHABLE: "Телефоны недоступны",
    Reason.CANCELLED: "Звонок отменён",
    Reason.FAILED: "Не удалось дозвониться",
    Reason.UNKNOWN_END: "Конец звонка не виден",
}


class MoySklad:
    """One account; fulfils `ports.ProfileSource`, `ports.CallBook` and `ports.CallScreen`.

    Args:
        data: Base URL is the address without a path; sends the JSON API's key and `DATA_HEADERS`.
        phone: The same for the Phone API and its key; None without telephony.
        agents: Id of an employee -> extension; what is not there is asked of the Phone API.
        clock: Monotonic seconds.
    """

    name = SOURCE

    def __init__(
        self, data: CrmHttp, phone: CrmHttp | None, *, agents: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._data = data
        self._phone = phone
        self._agents = agents
        self._employees: Expiring[str, Mapping[str, str]] = Expiring(ttl_s=EMPLOYEES_S, size=1, clock=clock)

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        deadline = self._data.deadline()
        query = [("search", search_digits(phone)[-1]), ("expand", EXPAND), ("limit", PAGE)]
        found = await self._data.get(f"{DATA}/entity/counterparty", query, interpret, deadline=deadline)
        counterparty = choose(objects(found.get("rows")), phone)
        if counterparty is None:
            return None
        return to_profile(counterparty, phone=phone, extensions=await self._extensions(counterparty, deadline))

    async def person(self, external_id: str) -> Profile | None:
        """The counterparty with this id; see `ports.ProfileSource`."""
        deadline = self._data.deadline()
        path = f"{DATA}/entity/counterparty/{quote(external_id, safe='')}"
        found = await self._data.get(path, [("expand", EXPAND)], interpret, deadline=deadline)
        if identifier(found.get("id")) != external_id:
            return None
        return to_profile(found, phone="", extensions=await self._extensions(found, deadline))

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. A call that was shown while it lived is there already and is only ended."""
        if self._phone is None:
            raise CrmRejected("the key of the Phone API (phone_key) is not configured")
        call, deadline = post.call, self._phone.deadline()
        ending = {**_ending(call), **({"recordUrl": [recording_url]} if recording_url else {})}
        if post.remote_id or post.corrects or post.uncertain:
            ended = await self._phone.send(
                "PUT", _extid(call.enterprise_number, call.linkedid), interpret, deadline=deadline, json=ending,
                repeatable=True,
            )  # fmt: skip
            if ended:
                return identifier(ended.get("id")) or post.remote_id
        made = await self._phone.send(
            "POST", f"{PHONE}/call", interpret, deadline=deadline, json={**_beginning(call), **ending}, repeatable=False
        )
        return identifier(made.get("id"))

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
            made = await self._phone.send(
                "POST", f"{PHONE}/call", interpret, deadline=deadline, json=_live(popup), repeatable=False
            )
            remote_id = identifier(made.get("id"))
        path = f"{_extid(progress.enterprise_number, progress.linkedid)}/event"
        for number, event in enumerate(_events(popup)):
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
                found = await self._phone.get(f"{PHONE}/employee", [], interpret, deadline=deadline)
            except (CrmUnavailable, CrmRejected, CrmAuthFailed):
                return self._agents  # a name without its manager is better than none
            known = {
                text(mapping(each.get("meta")).get("href")).rpartition("/")[2]: text(each.get("extention"))
                for each in objects(found.get("employees"))  # the misspelt key is theirs
            }
            self._employees.put("all", known)
        return {**known, **self._agents}


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


def to_profile(counterparty: Mapping[str, object], *, phone: str, extensions: Mapping[str, str]) -> Profile:
    """A counterparty, and the contact person whose number was asked for, as a profile.

    A person is kept under the last name whole: the API has one field for it.
    """
    counterparty_id, name = identifier(counterparty.get("id")), text(counterparty.get("name"))
    own = [text(counterparty.get("phone"))]
    contact = None if not phone or any(same_number(each, phone) for each in own) else _contact(counterparty, phone)
    company = text(counterparty.get("companyType")).startswith(("legal", "entrepreneur"))
    if contact is not None:
        own = [text(contact.get("phone"))]
    person = text(contact.get("name")) if contact else "" if company else name
    known = (international(each) for each in own)
    return Profile(
        source=SOURCE,
        external_id=identifier(contact.get("id")) if contact else "" if company else counterparty_id,
        names=Names(last_name=person, enterprise_name=name if company else ""),
        company_id=counterparty_id if company else "",
        phones=tuple(each for each in known if each and each != phone),
        responsible=extensions.get(_owner(counterparty), ""),
        url=text(mapping(counterparty.get("meta")).get("uuidHref")),
    )


def remark(call: Call) -> str:
    """What the call's comment says: the Phone API has no field for a result."""
    if call.status is Status.ANSWERED:
        return f"Разговор: {', '.join(call.path)}" if call.path else "Разговор"
    return REMARKS.get(call.reason, "Пропущен")


def _contact(counterparty: Mapping[str, object], phone: str) -> Mapping[str, object] | None:
    persons = objects(mapping(counterparty.get("contactpersons")).get("rows"))
    return next((each for each in persons if same_number(text(each.get("phone")), phone)), None)


def _owner(counterparty: Mapping[str, object]) -> str:
    owner = mapping(counterparty.get("owner"))
    return identifier(owner.get("id")) or text(mapping(owner.get("meta")).get("href")).rpartition("/")[2]


def _extid(enterprise_number: str, linkedid: str) -> str:
    return f"{PHONE}/call/extid/{quote(_external_id(enterprise_number, linkedid), safe='')}"


def _external_id(enterprise_number: str, linkedid: str) -> str:
    return f"{enterprise_number}-{linkedid}"


def _beginning(call: Call) -> dict[str, object]:
    inbound = call.direction is not Direction.OUT
    agent = call.last_agent or call.first_agent or next(iter(call.rung), "")
    return {
        "externalId": _external_id(call.enterprise_number, call.linkedid),
        "number": call.phone or call.raw_number,
        "isIncoming": inbound,
        "startTime": _moscow(call.started_at),
        **({"extension": agent} if agent else {}),
    }


def _ending(call: Call) -> dict[str, object]:
    return {
        "endTime": _moscow(call.ended_at),
        "duration": round(call.talk_seconds * 1000),
        "comment": remark(call),
        **({"extension": call.last_agent} if call.last_agent else {}),
    }


def _live(popup: Popup) -> dict[str, object]:
    progress = popup.progress
    return {
        "externalId": _external_id(progress.enterprise_number, progress.linkedid),
        "number": progress.phone,
        "isIncoming": progress.direction is not Direction.OUT,
        "startTime": _moscow(datetime.fromtimestamp(progress.started_at, MOSCOW)),
        **({"extension": popup.began[0]} if len(popup.began) == 1 else {}),
    }


def _events(popup: Popup) -> Sequence[Mapping[str, str]]:
    """What changes on which screen."""
    match popup.progress.phase:
        case Phase.HANGUP:
            return [{"eventType": "HIDE_ALL"}]
        case Phase.BRIDGE:
            kinds = [("STARTTIME", each) for each in popup.began] + [("HIDE", each) for each in popup.ended]
        case _:
            kinds = [("SHOW", each) for each in popup.began] + [("HIDE", each) for each in popup.ended]
    return [{"eventType": kind, "extension": extension} for kind, extension in kinds]


def _moscow(moment: datetime) -> str:
    return moment.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
