"""What a card says beside the call itself: badges, hashtags, what phones did, the customer's page. Pure.

Invariant: only fixed words and what is left of outside strings after everything but letters and digits is taken out.
"""

import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.calls.model import Call, Direction, Status
from vochi_agent.customers.model import Customer, History

__all__ = ["badges", "hashtags", "phone_notes", "profile_link"]

# Q.850 causes as Asterisk gives them (include/asterisk/causes.h).
BUSY, DECLINED = 17, 21
NOT_THERE: Final = frozenset({1, 3, 20, 27, 34})
LONGEST_TAG: Final = 30
LONGEST_LINK: Final = 500
DIRECTIONS: Final = {Direction.IN: "#входящий", Direction.OUT: "#исходящий", Direction.INTERNAL: "#внутренний"}
STATUSES: Final = {Status.ANSWERED: "#отвеченный", Status.MISSED: "#пропущенный", Status.UNKNOWN: "#пропущенный"}


def badges(call: Call, customer: Customer | None, before: History | None, zone: tzinfo) -> Mapping[str, str]:
    """What is special about the customer: name of the badge -> its words."""
    found = {}
    if before is not None and before.last_call_at is None:
        found["new"] = "🆕 Первый звонок"
    elif before is not None and before.last_call_at is not None:
        days = {at.astimezone(zone).date() for at in (before.last_call_at, call.started_at)}
        if len(days) == 1:
            found["repeated"] = "🔁 Сегодня уже был звонок"
    if customer and customer.black_list:
        found["black_list"] = "⛔ Чёрный список"
    return found


def hashtags(call: Call, line: str) -> str:
    """What a call can be searched by; `line` is the label of its line."""
    tags = [STATUSES[call.status], DIRECTIONS.get(call.direction, "")]
    if label := re.sub(r"\W+", "_", line).strip("_")[:LONGEST_TAG]:
        # Telegram takes no hashtag of digits only.
        tags.append(f"#линия_{label}" if label[0].isdigit() else f"#{label}")
    return " ".join(tag for tag in tags if tag)


def phone_notes(call: Call) -> Mapping[str, str]:
    """What was the matter with phones that were dialled in vain: extension -> words; nothing for one that just rang."""
    legs = [leg for leg in call.evidence if leg.role is LegRole.AGENT and leg.extension and not leg.entered]
    rang = {leg.extension for leg in legs if leg.rang is not None and leg.cause != DECLINED}
    notes = {leg.extension: _note(leg) for leg in legs if leg.extension not in rang and leg.up is None}
    return {extension: note for extension, note in notes.items() if note}


def _note(leg: LegEvidence) -> str:
    if leg.cause == DECLINED:
        return "отклонил"
    if leg.cause == BUSY or leg.dial_status == "BUSY":
        return "занят"
    return "не в сети" if leg.cause in NOT_THERE or leg.dial_status == "CHANUNAVAIL" else ""


def profile_link(customer: Customer) -> str:
    """The customer's page in the CRM whose names we show, else in any; "" when there is none."""
    links = customer.meta.get("links")
    if not isinstance(links, Mapping):
        return ""
    primary = links.get(customer.meta.get("primary_source"))
    for link in (primary, *links.values()):
        if isinstance(link, str) and len(link) <= LONGEST_LINK and _is_page(link):
            return link
    return ""


def _is_page(link: str) -> bool:
    """Whether a CRM gave an address that a browser opens."""
    try:
        return urlsplit(link).scheme in ("http", "https")
    except ValueError:  # an unclosed [ of an IPv6 address
        return False
