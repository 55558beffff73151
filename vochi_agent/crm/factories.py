"""How the adapter of each CRM is built from its table: which key goes where, which limit holds."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp
from aiolimiter import AsyncLimiter

from vochi_agent.calls.model import Direction
from vochi_agent.config.tables import (
    AmoCrmConfig,
    Bitrix24Config,
    CrmConfig,
    MoySkladConfig,
    RetailCrmConfig,
    UonConfig,
)
from vochi_agent.crm.amocrm import AmoCrm
from vochi_agent.crm.amocrm_account import Account
from vochi_agent.crm.amocrm_account import buy_tokens as buy_amocrm_tokens
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_portal import BLOCKED_BY_HAND, ByApplication, ByWebhook, Portal, TokenShop
from vochi_agent.crm.breaker import State
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.moysklad import DATA_HEADERS, PHONE_HEADERS, MoySklad
from vochi_agent.crm.oauth import TokenKeeper
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.uon import Uon
from vochi_agent.ports import ProfileSource

__all__ = ["CrmFactory", "amocrm", "bitrix24", "moysklad", "retailcrm", "token_file", "uon"]

# A portal's bucket holds fifty and drains at `rps`; callers' names that come at once must not wait for each other.
BITRIX24_BURST: Final = 20
# The Phone API allows 100 in 5 s.
MOYSKLAD_PHONE_RPS: Final = 20.0


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
        state_dir: Path,
    ) -> ProfileSource:
        """Make the adapter; nothing is connected yet.

        Args:
            config: The table of this CRM.
            enterprise_number: For logs.
            country: ISO 3166 code; how numbers without a country are read.
            session: Shared by all CRMs, with a `DummyCookieJar`: one account's cookies are not another's.
            clock: Monotonic seconds.
            on_state: Told when the circuit breaker changes.
            state_dir: Of the daemon; tokens that change are kept in its folder `crm`.
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
    state_dir: Path,
) -> RetailCrm:
    """RetailCRM; the key travels in a header, so that no proxy on the way logs it with the URL."""
    del country, state_dir  # its numbers carry their own
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
    state_dir: Path,
) -> Uon:
    """U-ON; the key is a part of every path, which is why no address of it is ever shown whole."""
    del state_dir
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


def moysklad(
    config: CrmConfig,
    *,
    enterprise_number: str,
    country: str,
    session: aiohttp.ClientSession,
    clock: Callable[[], float],
    on_state: Callable[[State], None],
    state_dir: Path,
) -> MoySklad:
    """MoySklad; the state of the breaker that is shown is that of the JSON API, which tells names."""
    del state_dir
    table = cast("MoySkladConfig", config)
    key, phone_key = table.api_key.get_secret_value(), table.phone_key.get_secret_value()
    common: dict[str, Any] = {"base_url": table.url, "secrets": [key, phone_key], "clock": clock}
    name = f"{MoySklad.name} of {enterprise_number}"
    data = CrmHttp(
        session,
        name=name,
        headers={**DATA_HEADERS, "Authorization": f"Bearer {key}"},
        rps=table.rps,
        on_state=on_state,
        **common,
    )
    phone = CrmHttp(
        session,
        name=f"{name}, telephony",
        headers={**PHONE_HEADERS, "Lognex-Phone-Auth-Token": phone_key},
        rps=MOYSKLAD_PHONE_RPS,
        on_state=lambda _: None,
        **common,
    )
    return MoySklad(data, phone if phone_key else None, agents=table.agents, country=country, clock=clock)


def bitrix24(
    config: CrmConfig,
    *,
    enterprise_number: str,
    country: str,
    session: aiohttp.ClientSession,
    clock: Callable[[], float],
    on_state: Callable[[State], None],
    state_dir: Path,
) -> Bitrix24:
    """Bitrix24; a webhook's secret is a part of every path, an application's token of every body."""
    table = cast("Bitrix24Config", config)
    key, secret, first = (each.get_secret_value() for each in (table.api_key, table.client_secret, table.refresh_token))
    url = table.url.rstrip("/")
    name = f"{Bitrix24.name} of {enterprise_number}"
    common: dict[str, Any] = {"headers": {}, "secrets": [key, secret, first], "clock": clock}
    http = CrmHttp(
        session,
        name=name,
        base_url=f"{url}/rest/{table.user_id}/{quote(key, safe='')}" if key else url,
        rps=AsyncLimiter(BITRIX24_BURST, BITRIX24_BURST / table.rps),
        on_state=on_state,
        tokens_expire=True,
        blocked=BLOCKED_BY_HAND,
        **common,
    )
    portal: Portal = ByWebhook(http)
    if not key:
        vendor = CrmHttp(
            session, name=f"{name}, tokens", base_url=table.oauth_url, rps=1.0, on_state=lambda _: None, **common
        )
        shop = TokenShop(vendor, client_id=table.client_id, client_secret=secret, portal=url)
        kept = token_file(state_dir, enterprise_number, Bitrix24.name)
        portal = ByApplication(http, TokenKeeper(kept, first=first, refresh=shop.buy, clock=clock), shop)
    return Bitrix24(
        portal,
        url=url,
        agents=table.agents,
        default_user=table.default_user,
        line=table.line,
        country=country,
        clock=clock,
    )


def amocrm(
    config: CrmConfig,
    *,
    enterprise_number: str,
    country: str,
    session: aiohttp.ClientSession,
    clock: Callable[[], float],
    on_state: Callable[[State], None],
    state_dir: Path,
) -> AmoCrm:
    """amoCRM; a long-lived token is sent as it is, an application's is renewed when it is refused."""
    table = cast("AmoCrmConfig", config)
    key, secret, first = (each.get_secret_value() for each in (table.api_key, table.client_secret, table.refresh_token))
    http = CrmHttp(
        session,
        name=f"{AmoCrm.name} of {enterprise_number}",
        base_url=table.url,
        headers={},
        secrets=[key, secret, first],
        rps=table.rps,
        clock=clock,
        on_state=on_state,
        tokens_expire=not key,
    )
    account = Account(http, token=key)
    if not key:
        buy = partial(
            buy_amocrm_tokens,
            http.apart("tokens"),
            client_id=table.client_id,
            client_secret=secret,
            redirect_uri=table.redirect_uri,
        )
        kept = token_file(state_dir, enterprise_number, AmoCrm.name)
        keeper = TokenKeeper(kept, first=first, refresh=lambda token: buy(refresh=token), clock=clock)
        account = Account(http, tokens=keeper)
    rules = {Direction.IN: table.unknown_in, Direction.OUT: table.unknown_out}
    return AmoCrm(
        account,
        url=table.url,
        agents=table.agents,
        country=country,
        unsorted=table.unsorted,
        awaited={direction for direction, rule in rules.items() if rule != "nothing"},
    )


def token_file(state_dir: Path, enterprise_number: str, crm: str) -> Path:
    """Where an application's pair of tokens is kept."""
    return state_dir / "crm" / f"{enterprise_number}-{crm}.json"
