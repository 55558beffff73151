"""How the adapter of each CRM is built from its table: which key goes where, which limit holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
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
from vochi_agent.crm.http import CrmHttp, limiter
from vochi_agent.crm.moysklad import DATA_HEADERS, PHONE_HEADERS, MoySklad
from vochi_agent.crm.oauth import TokenKeeper
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.uon import Uon
from vochi_agent.ports import ProfileSource

__all__ = ["CrmFactory", "Limiters", "Surroundings", "amocrm", "bitrix24", "moysklad", "retailcrm", "token_file", "uon"]

# A portal's bucket holds fifty and drains at `rps`; callers' names that come at once must not wait for each other.
BITRIX24_BURST: Final = 20
# The Phone API allows 100 in 5 s.
MOYSKLAD_PHONE_RPS: Final = 20.0

Limiters = dict[tuple[str, ...], AsyncLimiter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an adapter finds around it, the same for every CRM of an enterprise.

    Attributes:
        enterprise_number: For logs.
        country: ISO 3166 code; how numbers without a country are read.
        session: Shared by all CRMs, with a `DummyCookieJar`: one account's cookies are not another's.
        clock: Monotonic seconds.
        on_state: Told when the circuit breaker changes.
        state_dir: Of the daemon; tokens that change are kept in its folder `crm`.
        limiters: By account; a CRM counts the requests of all enterprises that share one. Its first client decides.
    """

    enterprise_number: str
    country: str
    session: aiohttp.ClientSession
    clock: Callable[[], float]
    on_state: Callable[[State], None]
    state_dir: Path
    limiters: Limiters = field(default_factory=dict, repr=False)

    def client(
        self, crm: str, what: str = "", *, account: Sequence[str], rps: float | AsyncLimiter, **options: Any
    ) -> CrmHttp:
        """A client of one of its CRMs, with the options of `CrmHttp`.

        Args:
            what: For a second client, beside the one that asks for names: its breaker is not shown.
            account: Whose requests the CRM counts together.
        """
        shared = rps if isinstance(rps, AsyncLimiter) else limiter(rps)
        return CrmHttp(
            self.session,
            name=f"{crm} of {self.enterprise_number}{what and f', {what}'}",
            rps=self.limiters.setdefault((crm, what, *account), shared),
            clock=self.clock,
            on_state=_not_shown if what else self.on_state,
            **options,
        )

    def token_file(self, crm: str) -> Path:
        """Where an application's pair of tokens is kept."""
        return token_file(self.state_dir, self.enterprise_number, crm)


# Makes the adapter of one enterprise from the table of its CRM; nothing is connected yet.
CrmFactory = Callable[[CrmConfig, Surroundings], ProfileSource]


def retailcrm(config: CrmConfig, around: Surroundings) -> RetailCrm:
    """RetailCRM; the key travels in a header, so that no proxy on the way logs it with the URL."""
    table = cast("RetailCrmConfig", config)
    key = table.api_key.get_secret_value()
    http = around.client(
        RetailCrm.name,
        account=(table.url, key),
        base_url=table.url,
        headers={"X-API-KEY": key},
        secrets=[key],
        rps=table.rps,
    )
    return RetailCrm(
        http,
        url=table.url,
        agents=table.agents,
        country=around.country,
        timezone=_timezone(table.timezone),
        module=table.module,
        site=table.site,
    )


def uon(config: CrmConfig, around: Surroundings) -> Uon:
    """U-ON; the key is a part of every path, which is why no address of it is ever shown whole."""
    table = cast("UonConfig", config)
    key = table.api_key.get_secret_value()
    base_url = f"{table.url.rstrip('/')}/{quote(key, safe='')}"
    http = around.client(Uon.name, account=(base_url,), base_url=base_url, headers={}, secrets=[key], rps=table.rps)
    return Uon(
        http,
        subdomain=table.subdomain,
        agents=table.agents,
        country=around.country,
        timezone=_timezone(table.timezone),
    )


def moysklad(config: CrmConfig, around: Surroundings) -> MoySklad:
    """MoySklad; the state of the breaker that is shown is that of the JSON API, which tells names."""
    table = cast("MoySkladConfig", config)
    key, phone_key = table.api_key.get_secret_value(), table.phone_key.get_secret_value()
    client = partial(around.client, MoySklad.name, base_url=table.url, secrets=[key, phone_key])
    data = client(account=(table.url, key), headers={**DATA_HEADERS, "Authorization": f"Bearer {key}"}, rps=table.rps)
    phone = client(
        what="telephony",
        account=(table.url, phone_key),
        headers={**PHONE_HEADERS, "Lognex-Phone-Auth-Token": phone_key},
        rps=MOYSKLAD_PHONE_RPS,
    )
    return MoySklad(data, phone if phone_key else None, agents=table.agents, country=around.country, clock=around.clock)


def bitrix24(config: CrmConfig, around: Surroundings) -> Bitrix24:
    """Bitrix24; a webhook's secret is a part of every path, an application's token of every body."""
    table = cast("Bitrix24Config", config)
    key, secret, first = (each.get_secret_value() for each in (table.api_key, table.client_secret, table.refresh_token))
    url = table.url.rstrip("/")
    client = partial(around.client, Bitrix24.name, account=(url,), headers={}, secrets=[key, secret, first])
    http = client(
        base_url=f"{url}/rest/{table.user_id}/{quote(key, safe='')}" if key else url,
        rps=AsyncLimiter(BITRIX24_BURST, BITRIX24_BURST / table.rps),
        tokens_expire=True,
        blocked=BLOCKED_BY_HAND,
    )
    portal: Portal = ByWebhook(http)
    if not key:
        vendor = client(what="tokens", base_url=table.oauth_url, rps=1.0)
        shop = TokenShop(vendor, client_id=table.client_id, client_secret=secret, portal=url)
        keeper = TokenKeeper(around.token_file(Bitrix24.name), first=first, refresh=shop.buy, clock=around.clock)
        portal = ByApplication(http, keeper, shop)
    return Bitrix24(
        portal,
        url=url,
        agents=table.agents,
        default_user=table.default_user,
        line=table.line,
        lists_calls=table.log_calls,
        country=around.country,
        clock=around.clock,
    )


def amocrm(config: CrmConfig, around: Surroundings) -> AmoCrm:
    """amoCRM; a long-lived token is sent as it is, an application's is renewed when it is refused."""
    table = cast("AmoCrmConfig", config)
    key, secret, first = (each.get_secret_value() for each in (table.api_key, table.client_secret, table.refresh_token))
    http = around.client(
        AmoCrm.name,
        account=(table.url, key or table.client_id),
        base_url=table.url,
        headers={},
        secrets=[key, secret, first],
        rps=table.rps,
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
        keeper = TokenKeeper(
            around.token_file(AmoCrm.name),
            first=first,
            refresh=lambda token: buy(refresh=token),
            clock=around.clock,
        )
        account = Account(http, tokens=keeper)
    rules = {Direction.IN: table.unknown_in, Direction.OUT: table.unknown_out}
    return AmoCrm(
        account,
        url=table.url,
        agents=table.agents,
        country=around.country,
        unsorted=table.unsorted,
        awaited={direction for direction, rule in rules.items() if rule != "nothing"},
    )


def token_file(state_dir: Path, enterprise_number: str, crm: str) -> Path:
    """Where an application's pair of tokens is kept."""
    return state_dir / "crm" / f"{enterprise_number}-{crm}.json"


def _timezone(name: str) -> tzinfo:
    """Of an account whose times carry none."""
    return ZoneInfo(name) if name else UTC


def _not_shown(state: State) -> None:
    del state
