"""A call in the words of MoySklad's Phone API 1.0: how it begins, lives and ends. Pure.

Times carry no zone and are Moscow's, durations are milliseconds. There is no field for a result: the comment says it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from vochi_agent.calls.model import Call, Direction, Phase
from vochi_agent.crm.call_facts import call_back, remark
from vochi_agent.ports import Popup

__all__ = ["PHONE", "beginning", "call_path", "contact_form", "ending", "events", "live", "recorded", "task_form"]

PHONE: Final = "/api/phone/1.0"
MOSCOW: Final = ZoneInfo("Europe/Moscow")


def call_path(enterprise_number: str, linkedid: str) -> str:
    """Where the call lives, by the id that we gave it."""
    return f"{PHONE}/call/extid/{quote(_external_id(enterprise_number, linkedid), safe='')}"


def _external_id(enterprise_number: str, linkedid: str) -> str:
    return f"{enterprise_number}-{linkedid}"


def beginning(call: Call) -> dict[str, object]:
    """What makes a call."""
    inbound = call.direction is not Direction.OUT
    agent = call.last_agent or call.first_agent or next(iter(call.rung), "")
    return {
        "externalId": _external_id(call.enterprise_number, call.linkedid),
        "number": call.phone or call.raw_number,
        "isIncoming": inbound,
        "startTime": _moscow(call.started_at),
        **({"extension": agent} if agent else {}),
    }


def ending(call: Call) -> dict[str, object]:
    """What ends it, or corrects it afterwards."""
    return {
        # Without `endTime`: it wins over `duration`, and the ringing would count as talk.
        "duration": round(call.talk_seconds * 1000),
        "comment": _comment(call),
        **({"extension": call.last_agent} if call.last_agent else {}),
    }


def recorded(recording_url: str) -> dict[str, object]:
    """One more recording of a call."""
    return {"recordUrl": [recording_url]}


def contact_form(call: Call, *, owner: str) -> dict[str, object]:
    """A new counterparty of the JSON API: his number is all that is known of him.

    Args:
        owner: Employee's id, "" for the key's own.
    """
    return {
        "name": call.phone,
        "phone": call.phone,
        "companyType": "individual",
        **({"owner": _link("employee", owner)} if owner else {}),
    }


def task_form(call: Call, *, assignee: str, counterparty: str, minutes: int) -> dict[str, object]:
    """A task of the JSON API, so many minutes after a call; `counterparty`: who called, "" for a stranger."""
    return {
        "description": call_back(call),
        "assignee": _link("employee", assignee),
        "dueToDate": _moscow(call.ended_at + timedelta(minutes=minutes)),
        **({"agent": _link("counterparty", counterparty)} if counterparty else {}),
    }


def live(popup: Popup) -> dict[str, object]:
    """What makes a call that goes on."""
    progress = popup.progress
    return {
        "externalId": _external_id(progress.enterprise_number, progress.linkedid),
        "number": progress.phone,
        "isIncoming": progress.direction is not Direction.OUT,
        "startTime": _moscow(datetime.fromtimestamp(progress.started_at, MOSCOW)),
        **({"extension": popup.began[0]} if len(popup.began) == 1 else {}),
    }


def events(popup: Popup) -> Sequence[Mapping[str, str]]:
    """What changes on which screen."""
    match popup.progress.phase:
        case Phase.HANGUP:
            return [{"eventType": "HIDE_ALL"}]
        case Phase.BRIDGE:
            kinds = [("STARTTIME", each) for each in popup.began] + [("HIDE", each) for each in popup.ended]
        case _:
            kinds = [("SHOW", each) for each in popup.began] + [("HIDE", each) for each in popup.ended]
    return [{"eventType": kind, "extension": extension} for kind, extension in kinds]


def _comment(call: Call) -> str:
    """What the call's comment says: the Phone API has no field for a result."""
    return remark(call) or (f"Разговор: {', '.join(call.path)}" if call.path else "Разговор")


def _link(kind: str, entity_id: str) -> dict[str, object]:
    """How another entity is named; `href` is the vendor's own address, whichever way we came."""
    href = f"https://api.moysklad.ru/api/remap/1.2/entity/{kind}/{entity_id}"
    return {"meta": {"href": href, "type": kind, "mediaType": "application/json"}}


def _moscow(moment: datetime) -> str:
    return moment.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
