"""`vochi-agent call-out EXTENSION PHONE`: click to call from a shell. The daemon need not run."""

import argparse
import asyncio
import time
from collections.abc import Callable

import aiohttp

from vochi_agent.asterisk.ari import Ari, AriPeer
from vochi_agent.asterisk.switchboard import AriDialler
from vochi_agent.calls.layout import Layout
from vochi_agent.config import Config, Enterprise
from vochi_agent.control import ClickToCall
from vochi_agent.errors import ConfigError

from .names import sources_of
from .selection import add_enterprise, enterprise_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Who calls whom."""
    parser.add_argument("extension", metavar="EXTENSION", help="whose phone rings first")
    parser.add_argument("phone", metavar="PHONE", help="who is called when it is picked up")
    parser.add_argument(
        "--line", metavar="ID", default="", help="VOCHI_LINE for the dialplan: the line to call through"
    )
    add_enterprise(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """Prints the linkedid when the agent's phone rings; 1 refused, 3 the PBX does not answer."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    peer = AriPeer.of(enterprise.asterisk)
    if peer is None:
        raise ConfigError(
            ["enterprises.asterisk.ari is not configured; calls are begun over Asterisk's REST interface"]
        )
    print(asyncio.run(_call_out(loaded, enterprise, peer, args)))
    return 0


async def _call_out(config: Config, enterprise: Enterprise, peer: AriPeer, args: argparse.Namespace) -> str:
    layout = Layout(enterprise)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        sources_of(config, enterprise, session) as (customers, enrichment),
    ):
        click = ClickToCall(
            lambda: layout,
            AriDialler(Ari(peer, session)),
            customers=customers,
            lookups=enrichment,
            primary_source=enterprise.primary_source,
            clock=time.time,
        )
        return await click.call_out(args.extension, args.phone, line=args.line)
