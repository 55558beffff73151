"""What Bitrix24 tells when a user clicks on a phone: the event ONEXTERNALCALLSTART of an application. Pure.

By the event's page the portal has registered the call already, as `CALL_ID`: that one is to be finished, and none is to
be registered beside it. Who clicked is `USER_ID`; `EXTENSION` is "an additional number" there and empty in its sample.
"""

from collections.abc import Mapping
from datetime import datetime
from math import inf
from typing import Final

from vochi_agent.change_ports import Click
from vochi_agent.crm.fields import numeric_id, text
from vochi_agent.errors import NotUnderstood

__all__ = ["CLICK", "click_of", "seconds_ago"]

CLICK: Final = "ONEXTERNALCALLSTART"


def click_of(data: Mapping[str, object]) -> Click:
    """Who clicked on which number.

    Args:
        data: Of the event, names in lower case.

    Raises:
        NotUnderstood: it names no number or no user.
    """
    phone = text(data.get("phone_number_international")) or text(data.get("phone_number"))
    user = numeric_id(data.get("user_id"))
    if not phone or not user:
        raise NotUnderstood("a click without a number or a user")
    return Click(phone=phone, user=user, remote_id=text(data.get("call_id")))


def seconds_ago(timestamp: object, now: object) -> float:
    """How old an event of the queue is, both times as the portal says them; without end when it does not.

    Args:
        timestamp: Of the event, `2024-07-18T12:32:31+02:00`.
        now: When the portal began its answer, in epoch seconds. Our own clock may be an hour off.
    """
    try:
        at = datetime.fromisoformat(text(timestamp))
    except ValueError:
        return inf
    if at.tzinfo is None or isinstance(now, bool) or not isinstance(now, int | float):
        return inf
    return now - at.timestamp()
