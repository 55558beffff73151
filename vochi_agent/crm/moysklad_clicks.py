"""What MoySklad sends when a user clicks on a phone: POST of a JSON object to the provider's address. Pure.

`{"srcNumber": "101", "destNumber": "79000000003", "uid": "…"}` by the Phone API's page: `srcNumber` is the extension of
the employee. From which values the header `Lognex-Content-MD5` is made is UNCONFIRMED, so the secret of the address is
all that tells a message from a forged one.
"""

from vochi_agent.change_ports import Click
from vochi_agent.crm.fields import text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import NotUnderstood

__all__ = ["moysklad_click"]


def moysklad_click(content_type: str, query: str, body: bytes) -> Click:
    """See `change_ports.ClickReader`."""
    fields = read_payload(content_type, query, body)
    phone, extension = text(fields.get("destnumber")), text(fields.get("srcnumber"))
    if not phone or not extension:
        raise NotUnderstood("it names no srcNumber or no destNumber")
    return Click(phone=phone, extension=extension)
