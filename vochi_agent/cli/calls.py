"""`vochi-agent calls`: the ledger, newest first."""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from vochi_agent.calls.model import Call
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.errors import ConfigError
from vochi_agent.store.reports import CallFilter

from .presentation import add_json, length, local, print_json, print_table
from .selection import add_enterprise, count, enterprise_of, phone_of, timezone_of
from .stored import prepared_store

__all__ = ["arguments", "print_calls", "run"]

COLUMNS: Final = ("started", "dir", "reason", "phone", "line", "agents", "talk", "linkedid")
MOST_ROWS: Final = 100_000
DIRECTIONS: Final = {"in": "in", "out": "out", "internal": "int", "unknown": "?"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which calls."""
    parser.add_argument("--missed", action="store_true", help="only calls that nobody answered")
    parser.add_argument("--today", action="store_true", help="only calls that began today")
    parser.add_argument("--phone", metavar="P", help="only calls of this number")
    parser.add_argument("--limit", type=count(MOST_ROWS), default=50, metavar="N", help="at most so many (50)")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0, also when there are none."""
    loaded = config()
    calls = asyncio.run(_calls(loaded, _filter(args, loaded)))
    if args.json:
        print_json([call.as_json() for call in calls])
    else:
        print_calls(loaded, calls)
    return 0


def print_calls(config: Config, calls: Sequence[Call]) -> None:
    """The table of some calls; the enterprise is named when the configuration has several."""
    several = len(config.enterprises) > 1
    rows = [([call.enterprise_number] if several else []) + _row(config, call) for call in calls]
    print_table([*(["company"] if several else []), *COLUMNS], rows, right=("talk",))


def _filter(args: argparse.Namespace, config: Config) -> CallFilter:
    enterprise = enterprise_of(config, args.enterprise) if args.enterprise else None
    phones = {phone_of(each, args.phone) for each in ([enterprise] if enterprise else config.enterprises) if args.phone}
    if len(phones) > 1:
        raise ConfigError(
            [f"--phone {args.phone} means {' or '.join(sorted(phones))}: write it with + or --enterprise"]
        )
    timezone = ZoneInfo(enterprise.timezone if enterprise else config.daemon.timezone)
    midnight = datetime.fromtimestamp(time.time(), timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    return CallFilter(
        enterprise_number=enterprise.number if enterprise else None,
        missed=args.missed,
        since=midnight if args.today else None,
        phone=next(iter(phones), None),
        limit=args.limit,
    )


async def _calls(config: Config, wanted: CallFilter) -> list[Call]:
    async with prepared_store(config) as store:
        return await store.reports.calls(wanted)


def _row(config: Config, call: Call) -> list[str]:
    return [
        local(call.started_at, timezone_of(config, call.enterprise_number)),
        DIRECTIONS[call.direction.value],
        call.reason.value + (" ~" if call.partial else ""),
        display(call.phone) if call.phone else call.raw_number or "hidden",
        call.line or "",
        ">".join(call.path or call.rung),
        length(call.talk_seconds),
        call.linkedid,
    ]
