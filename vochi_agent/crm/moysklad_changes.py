"""What MoySklad tells of changes: webhooks that name counterparties, whose cards and contact persons are asked for.

A message holds links and no card. It comes again under the same `requestId` when it was not answered within 1.5 s; a
change that is kept already is only kept anew, so a repetition does no harm. There is no signature: the secret of the
address and the account's id are all that tells a message from a forged one.
Source: the vendor's documentation of JSON API 1.2; that an edited contact person counts as an UPDATE of his
counterparty is UNCONFIRMED.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from vochi_agent.change_ports import Change
from vochi_agent.config.tables import MoySkladConfig
from vochi_agent.crm.fields import identifier, mapping, objects, text
from vochi_agent.crm.payload import read_json
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["MoySkladWebhook"]

COUNTERPARTY: Final = "counterparty"
TAKEN: Final = frozenset({"CREATE", "UPDATE"})
# One message is about one action of one person; an import sends many messages.
MOST_EVENTS: Final = 1000


class MoySkladWebhook:
    """Reads the webhooks of one account; fulfils `change_ports.WebhookReader`."""

    def __init__(self, config: MoySkladConfig) -> None:
        self._account_id = config.account_id.lower()

    def __call__(self, content_type: str, query: str, body: bytes) -> Sequence[Change]:
        """See `change_ports.WebhookReader`."""
        del content_type, query
        fields = read_json(body)
        events = objects(fields.get("events"))[:MOST_EVENTS]
        if not events:
            raise NotUnderstood("it names no event")
        accounts = {text(each.get("accountId")).lower() for each in events}
        if self._account_id and not all(
            hmac.compare_digest(each.encode(), self._account_id.encode()) for each in accounts
        ):
            raise ForeignTenant("the account's id is another one")
        found = [
            Change(kind="company", external_id=counterparty_id)
            for each in events
            if text(each.get("action")) in TAKEN and (counterparty_id := _counterparty(each))
        ]
        return list(dict.fromkeys(found))


def _counterparty(event: Mapping[str, object]) -> str:
    meta = mapping(event.get("meta"))
    if text(meta.get("type")) != COUNTERPARTY:
        return ""
    return identifier(text(meta.get("href")).partition("?")[0].rpartition("/")[2])
