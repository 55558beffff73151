"""Calls in RetailCRM's words: records of `telephony/calls/upload`, events of `telephony/call/event`. Pure.

Wire facts: the official PHP client's model classes and enumerations. The two methods spell "nobody answered"
differently. UNCONFIRMED: whether an upload that is repeated with another `recordUrl` changes it.
"""

import json
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Final

from vochi_agent.calls.model import Call, Direction, Phase, Reason, Status
from vochi_agent.crm.call_facts import agent_of, begins_to_ring, call_back, digits_of, user_of
from vochi_agent.errors import CrmRejected
from vochi_agent.ports import Popup

__all__ = ["check_taken", "contact_of", "event_of", "external_id", "task_of", "upload_of"]

NO_ANSWER: Final = ("no answer", "no answered")
# Why nobody talked -> `result` of an upload and `hangupStatus` of an event; what is not here is `NO_ANSWER`.
RESULTS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.BUSY: ("busy", "busy"),
    Reason.REJECTED: ("busy", "busy"),
    Reason.FAILED: ("failed", "failed"),
    Reason.VOICEMAIL: ("answered", "answered"),
    Reason.BLOCKED: ("not allowed", "failed"),
    Reason.FORBIDDEN: ("not allowed", "failed"),
    Reason.CANCELLED: ("no answer", "cancel"),
    Reason.ABANDONED: ("no answer", "cancel"),
    Reason.ABANDONED_QUEUE: ("no answer", "cancel"),
    Reason.ABANDONED_GREETING: ("no answer", "cancel"),
    Reason.UNKNOWN_END: ("unknown", "failed"),
}


def external_id(enterprise_number: str, linkedid: str) -> str:
    """The id of a call that we give: two enterprises may share an account, and two boxes a linkedid."""
    return f"{enterprise_number}-{linkedid}"


def upload_of(call: Call, *, recording_url: str, timezone: tzinfo) -> Mapping[str, str]:
    """The form of an upload of one call.

    Args:
        timezone: Of the account: its times carry none.
    """
    agent = agent_of(call)
    record: dict[str, object] = {
        "date": call.started_at.astimezone(timezone).strftime("%Y-%m-%d %H:%M:%S"),
        "type": "out" if call.direction is Direction.OUT else "in",
        "phone": digits_of(call.phone),
        "result": _results(call)[0],
        "duration": round(call.talk_seconds),
        "durationWaiting": round(call.wait_seconds),
        "externalId": external_id(call.enterprise_number, call.linkedid),
        **({"code": agent} if agent else {}),
        **({"recordUrl": recording_url} if recording_url else {}),
    }
    return {"calls": json.dumps([record], ensure_ascii=False)}


def contact_of(call: Call, *, agents: Mapping[str, str], site: str) -> Mapping[str, str]:
    """The form of a new customer: his number is all that is known of him; his manager is who talked with him.

    Args:
        agents: CRM user id -> extension.
        site: Code of the shop, "" for the only one.
    """
    manager = user_of(agents, call.last_agent or "")
    customer = {
        "firstName": call.phone,
        "phones": [{"number": call.phone}],
        **({"managerId": int(manager)} if manager.isascii() and manager.isdigit() else {}),
    }
    return {"customer": json.dumps(customer, ensure_ascii=False), **({"site": site} if site else {})}


def task_of(
    call: Call, *, performer: str, customer: str, minutes: int, timezone: tzinfo, site: str
) -> Mapping[str, str]:
    """The form of a task, so many minutes after a call.

    Args:
        performer: CRM user id.
        customer: RetailCRM's id of who called, "" for a stranger.
    """
    at = (call.ended_at + timedelta(minutes=minutes)).astimezone(timezone)
    task = {
        "text": call_back(call),
        "datetime": at.strftime("%Y-%m-%d %H:%M"),
        "performerId": int(performer),
        "phone": digits_of(call.phone),
        **({"customer": {"id": int(customer)}} if customer.isascii() and customer.isdigit() else {}),
    }
    return {"task": json.dumps(task, ensure_ascii=False), **({"site": site} if site else {})}


def check_taken(answer: Mapping[str, object]) -> None:
    """Whether the one call of an upload is in the list now; a repetition is reported as a duplicate.

    Raises:
        CrmRejected: it is neither new nor known.
    """
    if not answer.get("processedCallsCount") and not answer.get("duplicateCalls"):
        raise CrmRejected("the upload was answered without taking the call")


def event_of(popup: Popup) -> Mapping[str, str] | None:
    """The form of an event; None when nothing opens or closes.

    Cards of those who did not pick up stay until the end: a `hangup` for some of the phones would have the same call
    id as the conversation.
    """
    progress = popup.progress
    if progress.phone is None:
        return None
    event: dict[str, object] = {
        "phone": digits_of(progress.phone),
        "callExternalId": external_id(progress.enterprise_number, progress.linkedid),
    }
    if progress.phase is Phase.HANGUP:
        codes = _everybody(popup)
        event |= {"type": "hangup"}
        if popup.finished:
            event |= {"hangupStatus": _results(popup.finished)[1]}
    else:
        codes = begins_to_ring(popup)
        event |= {"type": "out" if progress.direction is Direction.OUT else "in"}
    if not codes:
        return None
    return {"event": json.dumps(event | {"codes": list(codes)}, ensure_ascii=False)}


def _everybody(popup: Popup) -> tuple[str, ...]:
    """All who had a card."""
    call = popup.finished
    told = (*call.rung, *call.path, *filter(None, [call.first_agent])) if call else ()
    return tuple(dict.fromkeys((*told, *popup.ended)))


def _results(call: Call) -> tuple[str, str]:
    if call.status is Status.ANSWERED:
        return ("answered", "answered")
    return RESULTS.get(call.reason, NO_ANSWER)
