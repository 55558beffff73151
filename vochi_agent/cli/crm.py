"""`vochi-agent crm register CRM`: what has to be set up once inside a CRM."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

import aiohttp

from vochi_agent.config import Config, CrmConfig, Enterprise, RetailCrmConfig
from vochi_agent.crm.bitrix24_handlers import bind
from vochi_agent.crm.factories import Surroundings, bitrix24, retailcrm
from vochi_agent.crm.retailcrm_module import register
from vochi_agent.errors import ConfigError
from vochi_agent.web.webhooks import click_address, webhook_address

from .presentation import add_json, print_json, print_table
from .selection import add_enterprise, enterprise_of

CRMS: Final = ("retailcrm", "bitrix24")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and in which CRM."""
    help_text = "register: the telephony module, the addresses of events; then a click calls"
    parser.add_argument("action", choices=["register"], help=help_text)
    parser.add_argument("crm", choices=CRMS)
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the CRM took it."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    table = _table(loaded, enterprise, args.crm)
    registering = _in_bitrix24 if args.crm == "bitrix24" else _in_retailcrm
    asyncio.run(registering(loaded, enterprise, table, as_json=args.json))
    return 0


def _table(config: Config, enterprise: Enterprise, crm: str) -> CrmConfig:
    """The CRM's table; everything that is missing for a click to reach us is said at once."""
    table = enterprise.crm.get(crm)
    keys = f"enterprises[{enterprise.number}].crm.{crm}"
    if table is None:
        raise ConfigError([f"{keys} is missing; needed: the account"])
    problems = []
    if not config.http.public_url:
        problems.append("http.public_url is missing; needed: the address under which the CRM reaches us")
    if not table.webhook_secret.get_secret_value():
        problems.append(f"{keys}.webhook_secret_file is missing; needed: the last part of that address")
    if problems:
        raise ConfigError(problems)
    return table


async def _in_retailcrm(config: Config, enterprise: Enterprise, table: CrmConfig, *, as_json: bool) -> None:
    assert isinstance(table, RetailCrmConfig)  # noqa: S101 - the name decides the class
    public_url, secret = config.http.public_url, table.webhook_secret.get_secret_value()
    async with _around(config, enterprise) as around:
        registered = await register(
            retailcrm(table, around).http,
            code=table.module or f"vochi-{enterprise.number}",
            public_url=public_url,
            call_url=click_address(public_url, enterprise.number, "retailcrm", secret),
            agents=table.agents,
        )
    if as_json:
        print_json(asdict(registered))
        return
    print(f"Module {registered.code} is {'up to date' if registered.renewed else 'registered'}.")
    if registered.code != table.module:
        print(f'Now write module = "{registered.code}" into [enterprises.crm.retailcrm] and restart the daemon.')
    if registered.extensions:
        print()
        print_table(("user", "extension"), registered.extensions)


async def _in_bitrix24(config: Config, enterprise: Enterprise, table: CrmConfig, *, as_json: bool) -> None:
    secret = table.webhook_secret.get_secret_value()
    async with _around(config, enterprise) as around:
        address = webhook_address(config.http.public_url, enterprise.number, "bitrix24", secret)
        bound = await bind(bitrix24(table, around).portal, address)
    if as_json:
        print_json(asdict(bound))
        return
    since = [(event, "from now on" if event in bound.anew else "as before") for event in bound.events]
    print_table(("event", "sent to us"), since)


@asynccontextmanager
async def _around(config: Config, enterprise: Enterprise) -> AsyncIterator[Surroundings]:
    """What an adapter of the enterprise finds around it while a command runs."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Surroundings(
            enterprise_number=enterprise.number,
            country=enterprise.country,
            session=session,
            clock=time.monotonic,
            on_state=lambda _: None,
            state_dir=config.daemon.state_dir,
        )
