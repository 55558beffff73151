"""What Bitrix24 sends when a user clicks on a phone: the event ONEXTERNALCALLSTART of an application. Pure.

A form with brackets, by the official page of the event. The portal has registered the call already, as `data[CALL_ID]`.
`data[EXTENSION]` is "an additional number" there and empty in its sample: who clicked is `data[USER_ID]` alone.
"""

import hmac

from vochi_agent.change_ports import Click
from vochi_agent.crm.fields import mapping, numeric_id, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["EVENT", "bitrix24_click"]

EVENT = "ONEXTERNALCALLSTART"


def bitrix24_click(content_type: str, query: str, body: bytes, *, application_token: str) -> Click:
    """See `change_ports.ClickReader`; `application_token`: the portal's, which every event carries."""
    fields = read_payload(content_type, query, body)
    if text(fields.get("event")).upper() != EVENT:
        raise NotUnderstood("it is no click on a phone")
    token = text(mapping(fields.get("auth")).get("application_token"))
    if not application_token or not hmac.compare_digest(token.encode(), application_token.encode()):
        raise ForeignTenant("the application's token is another one")
    data = mapping(fields.get("data"))
    phone = text(data.get("phone_number_international")) or text(data.get("phone_number"))
    if not phone:
        raise NotUnderstood("it names no phone")
    return Click(phone=phone, user=numeric_id(data.get("user_id")), remote_id=text(data.get("call_id")))
