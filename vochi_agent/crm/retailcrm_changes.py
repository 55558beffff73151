"""What RetailCRM tells of changes: the HTTP request of a trigger, and the history of changes that we look at ourselves.

There is no registry of webhooks and no signature. A trigger's request carries parameters that a person names, so ours
are a recipe (docs/retailcrm.md): `id` of the customer, or `company_id`, and `account` with the account's address.
They say who changed; what he is now is asked for by id.

The history is read by `filter[sinceId]` and never by pages: both together are refused since 15.05.2023 (the
developers' pages on working with history). An answer with `totalPageCount` above 1 has more behind it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from vochi_agent.change_ports import Change, HistoryPage
from vochi_agent.config.tables import RetailCrmConfig
from vochi_agent.crm.fields import mapping, numeric_id, objects, text
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.payload import read_payload
from vochi_agent.crm.retailcrm import API, interpret
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["RetailCrmHistory", "RetailCrmWebhook", "to_page"]

PERSONS: Final = "customers"
COMPANIES: Final = "customers-corporate"
PAGE: Final = 100
# History is stamped in the account's own time zone, which nobody tells us; no place is further from UTC.
ANY_TIME_ZONE: Final = timedelta(hours=26)
# A day of history at the first look, a company's contacts: what is beyond has come in by an import.
MOST_PAGES: Final = 200
MOST_CONTACT_PAGES: Final = 10


class RetailCrmWebhook:
    """Reads the requests of triggers; fulfils `change_ports.WebhookReader`."""

    def __init__(self, config: RetailCrmConfig) -> None:
        self._host = urlsplit(config.url).hostname or ""

    def __call__(self, content_type: str, query: str, body: bytes) -> Change | None:
        """See `change_ports.WebhookReader`."""
        fields = read_payload(content_type, query, body)
        account = _host(text(fields.get("account")))
        if account and account not in (self._host, self._host.partition(".")[0]):
            raise ForeignTenant("the account is another one")
        for kind, names in NAMES.items():
            external_id = next((found for name in names if (found := numeric_id(fields.get(name)))), "")
            if external_id:
                return Change(kind=kind, external_id=external_id)
        raise NotUnderstood("it names no customer: the parameter id is missing or no number")


NAMES: Final[Mapping[Literal["person", "company"], tuple[str, ...]]] = {
    "company": ("company_id", "companyid", "customer_corporate_id"),
    "person": ("id", "customer_id", "customerid"),
}


class RetailCrmHistory:
    """Looks at what changed in one account; fulfils `change_ports.ChangeFeed`.

    Args:
        http: With a breaker of its own, so that a history that fails costs no caller his name.
        period_s: Seconds between two looks; 0: never.
    """

    histories: Sequence[str] = (PERSONS, COMPANIES)

    def __init__(self, http: CrmHttp, *, period_s: float) -> None:
        self._http = http
        self.period_s = period_s

    async def present(self, history: str, now: datetime) -> int:
        """The id of the newest change; see `change_ports.ChangeFeed`."""
        page = await self.after(history, 0, now)
        for _ in range(MOST_PAGES):
            if not page.more:
                break
            page = await self.after(history, page.since_id, now)
        return page.since_id

    async def after(self, history: str, since_id: int, started_at: datetime) -> HistoryPage:
        """What came after an id, or, while there is none, since somewhat before `started_at`."""
        since = ("filter[sinceId]", str(since_id))
        if not since_id:
            since = ("filter[startDate]", (started_at - ANY_TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S"))
        query = [since, ("limit", str(PAGE))]
        found = await self._http.get(f"{API}/{history}/history", query, interpret, deadline=self._http.deadline())
        return to_page(found, history, since_id)

    async def contacts(self, company_id: str) -> Sequence[str]:
        """Ids of the people of a company; see `change_ports.ChangeFeed`."""
        contacts: dict[str, None] = {}
        for page in range(1, MOST_CONTACT_PAGES + 1):
            query = [("by", "id"), ("limit", str(PAGE)), ("page", str(page))]
            path = f"{API}/{COMPANIES}/{company_id}/contacts"
            found = await self._http.get(path, query, interpret, deadline=self._http.deadline())
            cards = [mapping(contact.get("customer")) for contact in objects(found.get("contacts"))]
            contacts |= dict.fromkeys(filter(None, (numeric_id(card.get("id")) for card in cards)))
            if not _more(found, page):
                break
        return list(contacts)


def to_page(found: Mapping[str, object], history: str, since_id: int) -> HistoryPage:
    """An answer of a history; everybody is named once, however many of his fields changed.

    A record that is not newer than `since_id` shows that the filter was ignored: it is no change.
    """
    kind: Literal["person", "company"] = "company" if history == COMPANIES else "person"
    changes: dict[str, Change] = {}
    newest = since_id
    for record in objects(found.get("history")):
        number = record.get("id")
        if not isinstance(number, int) or number <= since_id:
            continue
        newest = max(newest, number)
        # One card may be merged into another, which then has its numbers.
        for key in ("customer", "combinedTo"):
            external_id = numeric_id(mapping(record.get(key)).get("id"))
            if external_id:
                changes[external_id] = Change(kind=kind, external_id=external_id)
    return HistoryPage(changes=list(changes.values()), since_id=newest, more=newest > since_id and _more(found, 1))


def _more(found: Mapping[str, object], page: int) -> bool:
    pages = mapping(found.get("pagination")).get("totalPageCount")
    return isinstance(pages, int) and pages > page


def _host(written: str) -> str:
    """`demo`, `demo.retailcrm.ru`, `https://demo.retailcrm.ru/`."""
    lowered = written.lower()
    try:
        return urlsplit(lowered).hostname or "" if "//" in lowered else lowered.strip("/")
    except ValueError:
        return lowered  # `http://[`: nobody's
