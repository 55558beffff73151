"""A call in amoCRM's words: the entry on a card, an unsorted lead, a contact, a lead and a task that follow. Pure.

Source: the vendor's PHP client; the fields of an unsorted lead as public telephony integrations send them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from vochi_agent.calls.model import Call, Direction, Reason, Status
from vochi_agent.crm.call_facts import call_back
from vochi_agent.crm.fields import numeric_id
from vochi_agent.customers.model import Profile

__all__ = ["contact_of", "entry_of", "lead_of", "task_of", "uniq", "unsorted_of"]

SERVICE: Final = "vochi-agent"
# 1 left a message, 3 not available, 4 talked, 5 wrong number, 6 no answer, 7 busy.
CALL_STATUSES: Final[Mapping[Reason, int]] = {
    Reason.TALKED: 4,
    Reason.VOICEMAIL: 1,
    Reason.BUSY: 7,
    Reason.FAILED: 3,
    Reason.UNREACHABLE: 3,
}
NO_ANSWER: Final = 6
TO_CALL: Final = 1  # the type of a task


def uniq(call: Call) -> str:
    """The id of a call that we give."""
    return f"{call.enterprise_number}-{call.linkedid}"


def entry_of(call: Call, recording_url: str, *, user: str) -> dict[str, object]:
    """A call for the card with its number; `user`: whose it is, "" for nobody's."""
    return {
        "direction": "outbound" if call.direction is Direction.OUT else "inbound",
        "uniq": uniq(call),
        "duration": round(call.talk_seconds),
        "source": SERVICE,
        "phone": (call.phone or call.raw_number).lstrip("+"),
        "call_status": CALL_STATUSES.get(call.reason, NO_ANSWER),
        "created_at": int(call.started_at.timestamp()),
        **({"link": recording_url} if recording_url else {}),
        **({"responsible_user_id": int(user), "call_responsible": int(user)} if user.isdecimal() else {}),
    }


def unsorted_of(call: Call, recording_url: str) -> dict[str, object]:
    """A lead that nobody has looked at, for a call whose number has no card."""
    number, called_at = (call.phone or call.raw_number).lstrip("+"), int(call.started_at.timestamp())
    talked = call.status is Status.ANSWERED
    return {
        "source_uid": uniq(call),
        "source_name": SERVICE,
        "created_at": called_at,
        "metadata": {
            "uniq": uniq(call),
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


def contact_of(call: Call, *, user: str) -> dict[str, object]:
    """A new contact: his number is all that is known of him; `user`: the responsible one, "" for the token's own."""
    phone = {"field_code": "PHONE", "values": [{"value": call.phone, "enum_code": "WORK"}]}
    responsible = {"responsible_user_id": int(user)} if numeric_id(user) else {}
    return {"name": call.phone, "custom_fields_values": [phone], **responsible}


def lead_of(call: Call, *, user: str) -> dict[str, object]:
    """A new lead with such a contact."""
    responsible = {"responsible_user_id": int(user)} if numeric_id(user) else {}
    contacts = [contact_of(call, user=user)]
    return {"name": f"Звонок {call.phone}", "_embedded": {"contacts": contacts}, **responsible}


def task_of(call: Call, *, user: str, customer: Profile | None, minutes: int) -> dict[str, object]:
    """A task to call, so many minutes after a call, on the card of who called."""
    at = call.ended_at + timedelta(minutes=minutes)
    person, company = (customer.external_id, customer.company_id) if customer else ("", "")
    kind, card_id = ("contacts", person) if person else ("companies", company)
    return {
        "task_type_id": TO_CALL,
        "text": call_back(call),
        "complete_till": int(at.timestamp()),
        "responsible_user_id": int(user),
        **({"entity_type": kind, "entity_id": int(card_id)} if numeric_id(card_id) else {}),
    }
