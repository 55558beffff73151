"""A click on a phone in amoCRM, as a widget of the account's own or a button of its user tells of it. Pure.

amoCRM has no webhook for clicks: in the browser a widget is told of them (`add_action`), and what it sends on is up to
its author. We read `phone` and `user` (his id in amoCRM), by GET or POST, and `account`, the subdomain or id, when it
is there: an address that was copied into another account rings nobody.
"""

from urllib.parse import urlsplit

from vochi_agent.change_ports import Click
from vochi_agent.config.tables import AmoCrmConfig
from vochi_agent.crm.fields import numeric_id, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["AmoCrmClicks"]


class AmoCrmClicks:
    """Reads the clicks of one account; fulfils `change_ports.ClickReader`."""

    def __init__(self, config: AmoCrmConfig) -> None:
        subdomain = (urlsplit(config.url).hostname or "").partition(".")[0].lower()
        self._names = {config.account_id, subdomain}

    def __call__(self, content_type: str, query: str, body: bytes) -> Click:
        """See `change_ports.ClickReader`."""
        fields = read_payload(content_type, query, body)
        account = _said(fields.get("account")).lower()
        if account and account not in self._names:
            raise ForeignTenant("the account is another one")
        phone, user = _said(fields.get("phone")), numeric_id(fields.get("user"))
        if not phone or not user:
            raise NotUnderstood("it names no phone or no user")
        return Click(phone=phone, user=user)


def _said(value: object) -> str:
    """A text, or the number that JSON makes of it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
