"""`vochi-agent top`: who calls most."""

import argparse
import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from vochi_agent.calls.model import isoformat
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.store.reports import CustomerActivity

from .presentation import add_json, local, print_json, print_table
from .selection import add_enterprise, count, enterprise_of, timezone_of
from .stored import prepared_store

MOST_DAYS: Final = 36_500
MOST_ROWS: Final = 100_000
COLUMNS: Final = ("calls", "phone", "name", "in", "missed", "out", "last call")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of which time, and how many."""
    parser.add_argument("--days", type=count(MOST_DAYS), default=30, metavar="N", help="calls of the last N days (30)")
    parser.add_argument(
        "--limit", type=count(MOST_ROWS), default=20, metavar="N", help="at most so many customers (20)"
    )
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0, also when nobody called."""
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    since = datetime.fromtimestamp(time.time(), UTC) - timedelta(days=args.days)
    found = asyncio.run(_top(loaded, since, number, args.limit))
    if args.json:
        print_json([_as_json(each) for each in found])
    else:
        print_table(COLUMNS, [_row(loaded, each) for each in found], right=("calls", "in", "missed", "out"))
    return 0


async def _top(config: Config, since: datetime, enterprise_number: str | None, limit: int) -> list[CustomerActivity]:
    async with prepared_store(config) as store:
        return await store.reports.top(since, enterprise_number=enterprise_number, limit=limit)


def _as_json(activity: CustomerActivity) -> dict[str, object]:
    customer, last = activity.customer, activity.customer.history.last_call_at
    return {
        "enterprise_number": customer.enterprise_number,
        "phone_e164": customer.phone_e164,
        "name": customer.names.display,
        "calls": activity.calls,
        "calls_total_in": customer.history.calls_total_in,
        "calls_missed_in": customer.history.calls_missed_in,
        "calls_total_out": customer.history.calls_total_out,
        "last_call_at": isoformat(last) if last else None,
    }


def _row(config: Config, activity: CustomerActivity) -> list[str]:
    customer = activity.customer
    return [
        str(activity.calls),
        display(customer.phone_e164),
        customer.names.display,
        str(customer.history.calls_total_in),
        str(customer.history.calls_missed_in),
        str(customer.history.calls_total_out),
        local(customer.history.last_call_at, timezone_of(config, customer.enterprise_number)),
    ]
