"""What RetailCRM sends when a user clicks on a phone: GET on the module's `makeCallUrl`. Pure.

Parameters as a public bridge in daily use gets them: `clientId` (what the module was registered with), `phone`,
`userId`, sometimes `code` (the user's extension, as the module lists it) and `externalPhone`. There is no signature.
"""

from vochi_agent.change_ports import Click
from vochi_agent.config.tables import RetailCrmConfig
from vochi_agent.crm.fields import numeric_id, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["RetailCrmClicks"]


class RetailCrmClicks:
    """Reads the clicks of one account; fulfils `change_ports.ClickReader`."""

    def __init__(self, config: RetailCrmConfig) -> None:
        self._module = config.module

    def __call__(self, content_type: str, query: str, body: bytes) -> Click:
        """See `change_ports.ClickReader`."""
        fields = read_payload(content_type, query, body)
        client = text(fields.get("clientid"))
        if client and self._module and client != self._module:
            raise ForeignTenant("the module is another one")
        phone = text(fields.get("phone"))
        if not phone:
            raise NotUnderstood("it names no phone")
        return Click(phone=phone, user=numeric_id(fields.get("userid")), extension=text(fields.get("code")))
