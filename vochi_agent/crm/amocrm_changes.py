"""What amoCRM tells of changes: webhooks that name contacts and companies, whose cards are asked for.

A form with brackets; one message may hold several cards. Companies come under `contacts` with a type of their own
(UNCONFIRMED that they always do), so a company is recognised in both places. There is no signature: the secret of the
address and the account's id and subdomain are all that tells a message from a forged one.
Source: the vendor's developers' pages and public programs that receive them.
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.change_ports import Change
from vochi_agent.config.tables import AmoCrmConfig
from vochi_agent.crm.fields import identifier, mapping, numeric_id, objects, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["AmoCrmWebhook"]

CARDS: Final = ("contacts", "companies")
TAKEN: Final = ("add", "update", "responsible", "restore")
# What else a webhook may be about; whatever is not here is no message of amoCRM's.
OTHERS: Final = frozenset({"leads", "customers", "task", "catalogs", "unsorted", "message", "talk", "note", "notes"})


class AmoCrmWebhook:
    """Reads the webhooks of one account; fulfils `change_ports.WebhookReader`."""

    def __init__(self, config: AmoCrmConfig) -> None:
        self._account_id = config.account_id
        self._subdomain = (urlsplit(config.url).hostname or "").partition(".")[0].lower()

    def __call__(self, content_type: str, query: str, body: bytes) -> Sequence[Change]:
        """See `change_ports.WebhookReader`."""
        fields = read_payload(content_type, query, body)
        self._check_account(mapping(fields.get("account")))
        if not any(kind in fields for kind in (*CARDS, *OTHERS)):
            raise NotUnderstood("it names no card")
        return list(dict.fromkeys(_changes(fields)))

    def _check_account(self, account: Mapping[str, object]) -> None:
        """What the message says of its account must be what is configured; a message that says nothing is no one's."""
        account_id, subdomain = identifier(account.get("id")), text(account.get("subdomain")).lower()
        if not account_id and not subdomain:
            raise NotUnderstood("it names no account")
        if self._account_id and not hmac.compare_digest(account_id.encode(), self._account_id.encode()):
            raise ForeignTenant("the account's id is another one")
        if subdomain and not self._account_id and subdomain != self._subdomain:
            raise ForeignTenant("the subdomain is another one")


def _changes(fields: Mapping[str, object]) -> Iterator[Change]:
    for kind in CARDS:
        for event, cards in mapping(fields.get(kind)).items():
            if event not in TAKEN:
                continue
            for card in objects(cards):
                company = kind == "companies" or text(card.get("type")) == "company"
                if card_id := numeric_id(card.get("id")):
                    yield Change(kind="company" if company else "person", external_id=card_id)
