"""Calls in U-ON's words: `call_history/create`, `notification/create`, and the history read back. Pure.

A call has no id of ours there, no result, and is never changed again: why nobody talked stands in the note, and whether
a call is listed is told by its number and its beginning. UNCONFIRMED: the names of the history's fields (taken to be
those that `create` wants), its order, and whether it is complete.
Wire facts: atomachinskiy/claude-skill-uon-travel, tried on a live account.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from vochi_agent.calls.model import Call, Direction
from vochi_agent.calls.numbers import display
from vochi_agent.crm.call_facts import agent_of, call_back, digits_of, remark, user_of
from vochi_agent.crm.fields import identifier, mapping, objects, text
from vochi_agent.customers.model import Customer
from vochi_agent.ports import Popup

__all__ = [
    "Look",
    "Seen",
    "look_for",
    "notice_of",
    "pages_of",
    "record_of",
    "reminder_of",
    "stranger_of",
    "worth_reading",
]

OUTGOING, INCOMING = "1", "2"
# Two records of one call may differ by what Asterisk's own clocks do.
SAME_START: Final = timedelta(seconds=2)
# A page that reaches back so far before the call would show it.
REMINDED: Final = timedelta(minutes=15)
REACHES: Final = timedelta(hours=1)
WRITTEN_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")


def record_of(call: Call, *, recording_url: str, agents: Mapping[str, str], timezone: tzinfo) -> Mapping[str, str]:
    """The form of a call; `agents`: manager's id -> extension, `timezone`: of the account."""
    manager, note = user_of(agents, agent_of(call)), remark(call)
    return {
        "phone": digits_of(call.phone),
        "start": _local(call.started_at, timezone).strftime("%Y-%m-%d %H:%M:%S"),
        "duration": str(round(call.talk_seconds)),
        "direction": OUTGOING if call.direction is Direction.OUT else INCOMING,
        **({"manager_id": manager} if manager else {}),
        **({"record_link": recording_url} if recording_url else {}),
        **({"note": note} if note else {}),
    }


def stranger_of(call: Call, *, agents: Mapping[str, str], what: str) -> Mapping[str, str]:
    """The form of a new client or lead: the number is all that is known; the manager is who talked.

    Args:
        what: `contact` or `lead`, which spell the manager differently.
    """
    manager = user_of(agents, call.last_agent or "")
    name = "u_manager_id" if what == "contact" else "r_u_id"
    return {
        "u_phone": digits_of(call.phone),
        "u_surname": digits_of(call.phone),
        **({name: manager} if manager else {}),
    }


def reminder_of(call: Call, *, manager: str, client: str, minutes: int, timezone: tzinfo) -> Mapping[str, str]:
    """The form of a reminder, so many minutes after a call; `client`: U-ON's id of who called, "" for a stranger."""
    at = _local(call.ended_at + timedelta(minutes=minutes), timezone)
    return {
        "type_id": "1",
        "datetime": f"{at:%Y-%m-%d %H:%M:%S}",
        "datetime_to": f"{at + REMINDED:%Y-%m-%d %H:%M:%S}",
        "text": call_back(call),
        "manager_id": manager,
        **({"tr_id": client} if client else {}),
    }


class Seen(StrEnum):
    """Whether a call is in the history."""

    LISTED = "listed"
    ABSENT = "absent"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Look:
    """What a look into the history showed; `remote_id` is U-ON's own id of a listed call, when it has one."""

    seen: Seen
    remote_id: str = ""


def pages_of(found: Mapping[str, object]) -> int:
    """How many pages the history has."""
    pages = identifier(found.get("pages_all"))
    return max(1, int(pages)) if pages.isascii() and pages.isdigit() else 1


def worth_reading(pages: int) -> Sequence[int]:
    """The pages to read beside the first: both ends, because nobody says which of them is the newest."""
    return sorted({2, pages - 1, pages} & set(range(2, pages + 1)))


def look_for(call: Call, read: Mapping[int, Mapping[str, object]], *, timezone: tzinfo) -> Look:
    """Whether a call is listed.

    Args:
        read: Answers of `call_history` by page: the first, and those that are `worth_reading`.
    """
    wanted, start = digits_of(call.phone), _local(call.started_at, timezone)
    begun: dict[int, list[datetime]] = {page: [] for page in read}
    for page, found in read.items():
        for item in objects(found.get("users")):  # the list's name is theirs
            phone, at = re.sub(r"\D", "", text(_plain(item.get("phone")))), _moment(item.get("start"))
            if not phone or at is None:
                return Look(Seen.UNCLEAR)
            if phone == wanted and abs(at - start) <= SAME_START:
                return Look(Seen.LISTED, identifier(item.get("id")))
            begun[page].append(at)
    return Look(Seen.ABSENT if _reaches(begun, pages_of(read[1]), start) else Seen.UNCLEAR)


def notice_of(popup: Popup, *, subdomain: str) -> str:
    """The text of a popup: HTML, in which everything from outside is escaped."""
    progress = popup.progress
    outgoing = progress.direction is Direction.OUT
    lines = [
        "Исходящий звонок" if outgoing else "Входящий звонок",
        f"<b>{html.escape(display(progress.phone or ''))}</b>",
    ]
    customer = popup.customer
    if customer is not None and customer.names:
        lines.append(html.escape(_whole_name(customer)))
    client = _client_id(customer)
    if client and subdomain:
        address = f"https://{subdomain}.u-on.ru/client_edit.php?client_id={quote(client, safe='')}"
        lines.append(f'<a href="{html.escape(address)}">Карточка клиента</a>')
    return "<br/>".join(lines)


def _reaches(begun: Mapping[int, Sequence[datetime]], pages: int, start: datetime) -> bool:
    """Whether the call would be on the pages that were read: all of them, or the newest, far enough back."""
    if set(begun) >= set(range(1, pages + 1)):
        return True
    ends = [[at for page in end for at in begun.get(page, ())] for end in ((1, 2), (pages - 1, pages))]
    newest = max(filter(None, ends), key=max, default=[])
    return bool(newest) and min(newest) < start - REACHES


def _whole_name(customer: Customer) -> str:
    names = customer.names
    return f"{names.person} ({names.enterprise_name})" if names.person and names.enterprise_name else names.display


def _client_id(customer: Customer | None) -> str:
    """U-ON's own id of the customer, when there is exactly one."""
    ids = mapping(customer.meta.get("ids")).get("uon") if customer else None
    return identifier(ids[0]) if isinstance(ids, list) and len(ids) == 1 else ""


def _local(moment: datetime, timezone: tzinfo) -> datetime:
    """As the account's clock shows it, to the second."""
    return moment.astimezone(timezone).replace(tzinfo=None, microsecond=0)


def _moment(written: object) -> datetime | None:
    match = WRITTEN_TIME.match(text(written))
    try:
        return datetime.fromisoformat(f"{match[1]} {match[2]}") if match else None
    except ValueError:
        return None


def _plain(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
