"""`vochi-agent crm register retailcrm`: what has to be set up once inside a CRM."""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import aiohttp

from vochi_agent.config import Config, Enterprise, RetailCrmConfig
from vochi_agent.crm.factories import retailcrm
from vochi_agent.crm.retailcrm_module import Registered, register
from vochi_agent.errors import ConfigError
from vochi_agent.web.webhooks import click_address

from .presentation import add_json, print_json, print_table
from .selection import add_enterprise, enterprise_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and in which CRM."""
    parser.add_argument("action", choices=["register"], help="register: the telephony module, so that a click calls")
    parser.add_argument("crm", choices=["retailcrm"])
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the CRM took it."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    table = _table(loaded, enterprise)
    registered = asyncio.run(_register(enterprise, table, loaded.http.public_url, loaded.daemon.state_dir))
    if args.json:
        print_json(asdict(registered))
        return 0
    print(f"Module {registered.code} is {'up to date' if registered.renewed else 'registered'}.")
    if registered.code != table.module:
        print(f'Now write module = "{registered.code}" into [enterprises.crm.retailcrm] and restart the daemon.')
    if registered.extensions:
        print()
        print_table(("user", "extension"), registered.extensions)
    return 0


def _table(config: Config, enterprise: Enterprise) -> RetailCrmConfig:
    """The CRM's table; everything that is missing for a click to reach us is said at once."""
    table = enterprise.crm.get("retailcrm")
    keys = f"enterprises[{enterprise.number}].crm.retailcrm"
    if not isinstance(table, RetailCrmConfig):
        raise ConfigError([f"{keys} is missing; needed: the account"])
    problems = []
    if not config.http.public_url:
        problems.append("http.public_url is missing; needed: the address under which RetailCRM reaches us")
    if not table.webhook_secret.get_secret_value():
        problems.append(f"{keys}.webhook_secret_file is missing; needed: the last part of that address")
    if problems:
        raise ConfigError(problems)
    return table


async def _register(enterprise: Enterprise, table: RetailCrmConfig, public_url: str, state_dir: Path) -> Registered:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        adapter = retailcrm(
            table,
            enterprise_number=enterprise.number,
            country=enterprise.country,
            session=session,
            clock=time.monotonic,
            on_state=lambda _: None,
            state_dir=state_dir,
        )
        return await register(
            adapter.http,
            code=table.module or f"vochi-{enterprise.number}",
            public_url=public_url,
            call_url=click_address(public_url, enterprise.number, "retailcrm", table.webhook_secret.get_secret_value()),
            agents=table.agents,
        )
