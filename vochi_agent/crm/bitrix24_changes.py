"""What Bitrix24 tells of changes: events that name a card, sent to us or fetched by us, and clicks on phone numbers.

An event is a form with brackets and holds the card's id only. It is proved by `auth[application_token]`; `member_id`
and `domain` say which portal it comes from. A daemon that the portal cannot reach fetches the same events from the
portal's queue of offline events, which an application has to bind once: `event.offline.list` reads it without changing
it, and what we have stored is dropped from it by `event.offline.get`, so that a crash in between loses nothing. Clicks
come the same two ways; a public telephony module takes them from the queue.
Source: the vendor's documentation of its REST API and events.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.change_ports import Change, Click, HistoryPage
from vochi_agent.config.tables import Bitrix24Config
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_cards import COMPANY, LEAD
from vochi_agent.crm.bitrix24_clicks import CLICK, click_of, seconds_ago
from vochi_agent.crm.bitrix24_portal import bind_event
from vochi_agent.crm.fields import mapping, numeric_id, objects, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["EVENTS", "Bitrix24Events", "Bitrix24Webhook", "change_of"]

EVENTS: Final[Mapping[str, str]] = {
    f"ONCRM{card}{what}": card for card in ("CONTACT", "COMPANY", "LEAD") for what in ("ADD", "UPDATE")
}
PREFIX: Final = "ON"
QUEUE: Final = "events"
PAGE: Final = 50  # of a list method
# With longer pauses every click would come too late.
CLICK_PERIOD_S: Final = 10.0


class Bitrix24Webhook:
    """Reads the webhooks of one portal; fulfils `change_ports.WebhookReader`."""

    def __init__(self, config: Bitrix24Config) -> None:
        self._token = config.application_token.get_secret_value()
        self._member_id = config.member_id
        self._host = (urlsplit(config.url).hostname or "").lower()

    def __call__(self, content_type: str, query: str, body: bytes) -> Change | Click | None:
        """See `change_ports.WebhookReader`."""
        fields = read_payload(content_type, query, body)
        self._check_portal(mapping(fields.get("auth")))
        event = text(fields.get("event")).upper()
        if event == CLICK:
            return click_of(mapping(fields.get("data")))
        if not event.startswith(PREFIX):
            raise NotUnderstood("it names no event")
        return change_of(event, mapping(mapping(fields.get("data")).get("fields")).get("id"))

    def _check_portal(self, auth: Mapping[str, object]) -> None:
        token, member_id = text(auth.get("application_token")), text(auth.get("member_id"))
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise ForeignTenant("the application_token is another one")
        if self._member_id and not hmac.compare_digest(member_id.encode(), self._member_id.encode()):
            raise ForeignTenant("the member_id is another one")
        domain = text(auth.get("domain")).lower()
        if domain and not self._member_id and domain != self._host:
            raise ForeignTenant("the domain is another one; did the portal move?")


class Bitrix24Events:
    """The portal's queue of offline events; fulfils `change_ports.ChangeFeed`."""

    histories: Sequence[str] = (QUEUE,)

    def __init__(self, crm: Bitrix24, *, period_s: float) -> None:
        self._crm = crm
        self._portal = crm.portal
        self.period_s = period_s
        self._bound = False
        self._dropped = 0

    async def present(self, history: str, now: datetime) -> int:
        """See `change_ports.ChangeFeed`. What is in the queue already is before our time."""
        del history, now
        await self._bind()
        found = objects((await self._list({}, "DESC")).get("result"))
        return _number(found[0]) if found else 0

    async def after(self, history: str, since_id: int, started_at: datetime) -> HistoryPage:
        """See `change_ports.ChangeFeed`. That we are asked for what is behind `since_id` says that it is stored."""
        del history, started_at
        await self._bind()
        if since_id > self._dropped:
            await self._ask("event.offline.get", {"filter": {"<=ID": since_id}, "limit": PAGE, "clear": 1})
            self._dropped = since_id
        body = await self._list({">ID": since_id}, "ASC")
        events = [each for each in objects(body.get("result")) if _number(each) > since_id]
        found = [change for each in events if (change := _offline(each))]
        clicks = [click for each in events if (click := _clicked(each, mapping(body.get("time")).get("start")))]
        newest = max(map(_number, events), default=since_id)
        return HistoryPage(changes=list(dict.fromkeys(found)), since_id=newest, more=len(events) >= PAGE, clicks=clicks)

    async def contacts(self, company_id: str) -> Sequence[str]:
        """See `change_ports.ChangeFeed`."""
        found = objects((await self._ask("crm.company.contact.items.get", {"id": company_id})).get("result"))
        ids = (numeric_id(each.get("CONTACT_ID")) for each in found)
        return [f"{COMPANY}{company_id}", *(each for each in ids if each)]

    async def _bind(self) -> None:
        """Ask for the events, once a life."""
        if self._bound:
            return
        wanted = list(EVENTS)
        # An application without rights for telephony may still tell of cards.
        if self.period_s <= CLICK_PERIOD_S and "telephony" in await self._crm.scopes():
            wanted.append(CLICK)
        for event in wanted:
            await bind_event(self._portal, {"event": event, "event_type": "offline"})
        self._bound = True

    async def _list(self, condition: Mapping[str, object], order: str) -> Mapping[str, object]:
        return await self._ask("event.offline.list", {"filter": condition, "order": {"ID": order}, "start": 0})

    async def _ask(self, method: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        deadline = self._portal.http.deadline()
        return await self._portal.call(method, parameters, deadline=deadline, repeatable=True)


def change_of(event: str, card_id: object) -> Change | None:
    """What an event is about; None for one that tells nothing about customers.

    Raises:
        NotUnderstood: it should name a card and does not.
    """
    kind, number = EVENTS.get(event), numeric_id(card_id)
    if kind is None:
        return None
    if not number:
        raise NotUnderstood("it names no card")
    if kind == "COMPANY":
        return Change(kind="company", external_id=number)
    return Change(external_id=number if kind == "CONTACT" else f"{LEAD}{number}")


def _offline(event: Mapping[str, object]) -> Change | None:
    data = mapping(mapping(event.get("EVENT_DATA")).get("FIELDS"))
    try:
        return change_of(text(event.get("EVENT_NAME")).upper(), data.get("ID"))
    except NotUnderstood:
        return None


def _clicked(event: Mapping[str, object], now: object) -> Click | None:
    if text(event.get("EVENT_NAME")).upper() != CLICK:
        return None
    data = {name.lower(): value for name, value in mapping(event.get("EVENT_DATA")).items()}
    try:
        return replace(click_of(data), age_s=seconds_ago(event.get("TIMESTAMP_X"), now))
    except NotUnderstood:
        return None


def _number(event: Mapping[str, object]) -> int:
    number = numeric_id(event.get("ID"))
    return int(number) if number else 0
