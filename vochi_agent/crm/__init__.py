"""The CRMs we know: a name of the configuration -> how its adapter is built, and what it tells by itself."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Final, Protocol
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp

from vochi_agent.calls.model import Direction
from vochi_agent.change_ports import ChangeFeed, ClickReader, WebhookReader
from vochi_agent.config.tables import CrmConfig, RetailCrmConfig, UonConfig
from vochi_agent.crm.breaker import State
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.moysklad_clicks import moysklad_click
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.retailcrm_changes import RetailCrmHistory, RetailCrmWebhook
from vochi_agent.crm.retailcrm_clicks import RetailCrmClicks
from vochi_agent.crm.rules import MissedCalls, UnknownNumbers
from vochi_agent.crm.uon import Uon
from vochi_agent.crm.uon_webhook import UonWebhook
from vochi_agent.ports import CallBook, ProfileSource

__all__ = [
    "CALL_BOOKS",
    "CRMS",
    "CrmFactory",
    "State",
    "books_of",
    "clicks_of",
    "feed_of",
    "lists_of",
    "retailcrm",
    "uon",
    "webhook_of",
]


class CrmFactory(Protocol):
    """Builds the adapter of one enterprise."""

    def __call__(
        self,
        config: CrmConfig,
        *,
        enterprise_number: str,
        country: str,
        session: aiohttp.ClientSession,
        clock: Callable[[], float],
        on_state: Callable[[State], None],
    ) -> ProfileSource:
        """Make the adapter; nothing is connected yet.

        Args:
            config: The table of this CRM.
            enterprise_number: For logs.
            country: ISO 3166 code; how numbers without a country are read.
            session: Shared by all CRMs, with a `DummyCookieJar`: one account's cookies are not another's.
            clock: Monotonic seconds.
            on_state: Told when the circuit breaker changes.
        """
        ...


def retailcrm(
    config: CrmConfig,
    *,
    enterprise_number: str,
    country: str,
    session: aiohttp.ClientSession,
    clock: Callable[[], float],
    on_state: Callable[[State], None],
) -> RetailCrm:
    """RetailCRM; the key travels in a header, so that no proxy on the way logs it with the URL."""
    del country  # its numbers carry their own
    key = config.api_key.get_secret_value()
    http = CrmHttp(
        session,
        name=f"{RetailCrm.name} of {enterprise_number}",
        base_url=config.url,
        headers={"X-API-KEY": key},
        secrets=[key],
        rps=config.rps,
        clock=clock,
        on_state=on_state,
    )
    module = config.module if isinstance(config, RetailCrmConfig) else ""
    site = config.site if isinstance(config, RetailCrmConfig) else ""
    return RetailCrm(http, url=config.url, agents=config.agents, timezone=_timezone(config), module=module, site=site)


def uon(
    config: CrmConfig,
    *,
    enterprise_number: str,
    country: str,
    session: aiohttp.ClientSession,
    clock: Callable[[], float],
    on_state: Callable[[State], None],
) -> Uon:
    """U-ON; the key is a part of every path, which is why no address of it is ever shown whole."""
    key = config.api_key.get_secret_value()
    http = CrmHttp(
        session,
        name=f"{Uon.name} of {enterprise_number}",
        base_url=f"{config.url.rstrip('/')}/{quote(key, safe='')}",
        headers={},
        secrets=[key],
        rps=config.rps,
        clock=clock,
        on_state=on_state,
    )
    subdomain = config.subdomain if isinstance(config, UonConfig) else ""
    return Uon(http, subdomain=subdomain, agents=config.agents, country=country, timezone=_timezone(config))


def _timezone(config: CrmConfig) -> tzinfo:
    """Of an account whose times carry none."""
    name = config.timezone if isinstance(config, RetailCrmConfig | UonConfig) else ""
    return ZoneInfo(name) if name else UTC


CRMS: Final[Mapping[str, CrmFactory]] = {RetailCrm.name: retailcrm, Uon.name: uon}

# Those that keep a list of calls (`ports.CallBook`): the ledger leaves every call for them.
CALL_BOOKS: Final[frozenset[str]] = frozenset({RetailCrm.name, Uon.name})


def lists_of(name: str, config: CrmConfig) -> list[str]:
    """What of a CRM the ledger leaves calls for: its list of calls, and its rules."""
    lists = [name] if name in CALL_BOOKS and config.log_calls else []
    if isinstance(config, RetailCrmConfig | UonConfig) and {config.unknown_in, config.unknown_out} != {"nothing"}:
        lists.append(f"{name} contacts")
    if isinstance(config, UonConfig) and config.missed_task:
        lists.append(f"{name} tasks")
    return lists


def books_of(source: ProfileSource, config: CrmConfig, *, clock: Callable[[], float]) -> list[CallBook]:
    """What `lists_of` names."""
    books: list[CallBook] = [source] if isinstance(source, CallBook) and config.log_calls else []
    if isinstance(source, RetailCrm | Uon) and isinstance(config, RetailCrmConfig | UonConfig):
        rules = {Direction.IN: config.unknown_in, Direction.OUT: config.unknown_out}
        makers = {"contact": source.make_contact, **({"lead": source.make_lead} if isinstance(source, Uon) else {})}
        making = {direction: makers[rule] for direction, rule in rules.items() if rule != "nothing"}
        if making:
            # That the client of a new lead is found by his number: UNCONFIRMED.
            found_again = {direction: rules[direction] == "contact" for direction in making}
            books.append(UnknownNumbers(source, making, found_again=found_again, clock=clock))
    if isinstance(source, Uon) and isinstance(config, UonConfig) and config.missed_task:
        books.append(MissedCalls(source.name, partial(source.make_task, minutes=config.missed_task)))
    return books


def feed_of(source: ProfileSource, config: CrmConfig) -> ChangeFeed | None:
    """The histories that an adapter can look at; None where a CRM keeps none."""
    if isinstance(source, RetailCrm) and isinstance(config, RetailCrmConfig):
        return RetailCrmHistory(source.http.apart("changes"), period_s=config.history_s)
    return None


def clicks_of(name: str, config: CrmConfig) -> ClickReader | None:
    """What reads the clicks of a CRM that has an address for them alone; None for one that has none."""
    if isinstance(config, RetailCrmConfig):
        return RetailCrmClicks(config)
    return moysklad_click if name == "moysklad" else None


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
        case _:
            return None
