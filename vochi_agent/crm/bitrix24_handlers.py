"""Where a Bitrix24 portal sends its events: what has to be bound once, as an application.

What is there is looked at first, and told apart from what is new. An address of ours with an older secret is let go.
Source: the vendor's documentation of its REST API.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vochi_agent.crm.bitrix24_changes import EVENTS
from vochi_agent.crm.bitrix24_clicks import CLICK
from vochi_agent.crm.bitrix24_portal import Portal, bind_event
from vochi_agent.crm.fields import objects, text
from vochi_agent.errors import CrmRejected

__all__ = ["Bound", "bind", "clicks_come"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the portal tells us of from now on.

    Attributes:
        events: All of them.
        anew: Those that were not bound before.
    """

    events: Sequence[str]
    anew: Sequence[str]


async def bind(portal: Portal, address: str) -> Bound:
    """Let the portal send clicks and changes to this address.

    Raises:
        CrmRejected: it is a webhook, which may not, or the portal refuses.
        CrmUnavailable, CrmAuthFailed: as `Portal.call`.
    """
    if not portal.telephony:
        raise CrmRejected("events want an application (client_id, client_secret, refresh_token), not a webhook")
    wanted, ours = [CLICK, *EVENTS], address.rpartition("/")[0] + "/"
    body = await portal.call("event.get", {}, deadline=portal.http.deadline(), repeatable=True)
    bound = [(text(each.get("event")).upper(), text(each.get("handler"))) for each in objects(body.get("result"))]
    for event, handler in bound:
        if handler.startswith(ours) and handler != address:
            # Each request has its own time: a portal takes two a second for long.
            await portal.call(
                "event.unbind",
                {"event": event, "handler": handler},
                deadline=portal.http.deadline(),
                repeatable=True,
            )
    anew = [event for event in wanted if (event, address) not in bound]
    for event in anew:
        await bind_event(portal, {"event": event, "handler": address})
    return Bound(events=wanted, anew=anew)


async def clicks_come(portal: Portal) -> bool:
    """Whether the portal tells us of clicks, at an address or in its queue. Raises as `Portal.call`."""
    body = await portal.call("event.get", {}, deadline=portal.http.deadline(), repeatable=True)
    return any(text(each.get("event")).upper() == CLICK for each in objects(body.get("result")))
