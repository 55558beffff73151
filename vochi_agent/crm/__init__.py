"""The CRMs we know: a name of the configuration -> its adapter, and what it tells by itself."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from vochi_agent.calls.model import Direction
from vochi_agent.change_ports import ChangeFeed, ClickReader, WebhookReader
from vochi_agent.config.tables import (
    AmoCrmConfig,
    Bitrix24Config,
    CrmConfig,
    MoySkladConfig,
    RetailCrmConfig,
    UonConfig,
)
from vochi_agent.crm.amocrm import AmoCrm
from vochi_agent.crm.amocrm_changes import AmoCrmWebhook
from vochi_agent.crm.amocrm_clicks import AmoCrmClicks
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_changes import Bitrix24Events, Bitrix24Webhook
from vochi_agent.crm.breaker import State
from vochi_agent.crm.factories import CrmFactory, Limiters, Surroundings, amocrm, bitrix24, moysklad, retailcrm, uon
from vochi_agent.crm.moysklad import MoySklad
from vochi_agent.crm.moysklad_changes import MoySkladWebhook
from vochi_agent.crm.moysklad_clicks import moysklad_click
from vochi_agent.crm.no_history import NoHistory
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.retailcrm_changes import RetailCrmHistory, RetailCrmWebhook
from vochi_agent.crm.retailcrm_clicks import RetailCrmClicks
from vochi_agent.crm.rules import MakesContacts, MakesLeads, MakesTasks, MissedCalls, UnknownNumbers
from vochi_agent.crm.uon import Uon
from vochi_agent.crm.uon_webhook import UonWebhook
from vochi_agent.ports import CallBook, ProfileSource

__all__ = [
    "CALL_BOOKS",
    "CRMS",
    "CrmFactory",
    "Limiters",
    "State",
    "Surroundings",
    "books_of",
    "clicks_of",
    "feed_of",
    "lists_of",
    "webhook_of",
]


CRMS: Final[Mapping[str, CrmFactory]] = {
    RetailCrm.name: retailcrm,
    Uon.name: uon,
    MoySklad.name: moysklad,
    Bitrix24.name: bitrix24,
    AmoCrm.name: amocrm,
}

# Those that keep a list of calls (`ports.CallBook`): the ledger leaves every call for them.
CALL_BOOKS: Final = frozenset(CRMS)


def lists_of(name: str, config: CrmConfig) -> list[str]:
    """What of a CRM the ledger leaves calls for: its list of calls, and its rules."""
    lists = [name] if name in CALL_BOOKS and config.log_calls else []
    if {config.unknown_in, config.unknown_out} != {"nothing"}:
        lists.append(f"{name} contacts")
    if config.missed_task:
        lists.append(f"{name} tasks")
    return lists


def books_of(source: ProfileSource, config: CrmConfig, *, clock: Callable[[], float]) -> list[CallBook]:
    """What `lists_of` names."""
    books: list[CallBook] = [source] if isinstance(source, CallBook) and config.log_calls else []
    rules = {Direction.IN: config.unknown_in, Direction.OUT: config.unknown_out}
    makers = {
        **({"contact": source.make_contact} if isinstance(source, MakesContacts) else {}),
        **({"lead": source.make_lead} if isinstance(source, MakesLeads) else {}),
    }
    making = {direction: makers[rule] for direction, rule in rules.items() if rule in makers}
    if making:
        # That the client of a new lead of U-ON is found by his number: UNCONFIRMED.
        found_again = {each: rules[each] == "contact" or not isinstance(source, Uon) for each in making}
        books.append(UnknownNumbers(source, making, found_again=found_again, clock=clock))
    if isinstance(source, MakesTasks) and config.missed_task:
        books.append(MissedCalls(source.name, partial(source.make_task, minutes=config.missed_task)))
    return books


def feed_of(source: ProfileSource, config: CrmConfig) -> ChangeFeed | None:
    """The histories that an adapter can look at, and the people of its companies; None where it knows neither."""
    if isinstance(source, RetailCrm) and isinstance(config, RetailCrmConfig):
        return RetailCrmHistory(source.http.apart("changes"), period_s=config.history_s)
    if isinstance(source, Bitrix24) and isinstance(config, Bitrix24Config):
        return Bitrix24Events(source, period_s=config.events_s)
    return NoHistory(source.people) if isinstance(source, AmoCrm | MoySklad) else None


def clicks_of(config: CrmConfig) -> ClickReader | None:
    """What reads the clicks of a CRM that has an address for them alone; None for one that has none."""
    match config:
        case RetailCrmConfig():
            return RetailCrmClicks(config)
        case MoySkladConfig():
            return moysklad_click
        case AmoCrmConfig():
            return AmoCrmClicks(config)
        case _:
            return None


def webhook_of(config: CrmConfig, *, country: str) -> WebhookReader | None:
    """What reads the webhooks of a CRM; None for one that we do not understand yet.

    Args:
        country: ISO 3166 code; how numbers without a country are read.
    """
    match config:
        case RetailCrmConfig():
            return RetailCrmWebhook(config)
        case UonConfig():
            return UonWebhook(config, country=country)
        case MoySkladConfig():
            return MoySkladWebhook(config)
        case Bitrix24Config():
            return Bitrix24Webhook(config)
        case AmoCrmConfig():
            return AmoCrmWebhook(config)
        case _:
            return None
