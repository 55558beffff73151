"""`vochi-agent audit`: do the customers' counters say what their calls add up to?"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Final

from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import Difference

from .presentation import add_json, print_json, print_table
from .selection import add_enterprise, enterprise_of
from .stored import prepared_store

COLUMNS: Final = ("enterprise", "phone", "column", "stored", "counted")
NO: Final = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and whether to mend."""
    parser.add_argument("--fix", action="store_true", help="count the customers again that differ")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when there is no difference, or none is left; else 1."""
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    found, left = asyncio.run(_audit(loaded, number, fix=args.fix))
    if args.json:
        print_json([asdict(each) for each in found])
    elif found:
        print_table(COLUMNS, [_row(each) for each in found])
    return NO if left else 0


async def _audit(config: Config, number: str | None, *, fix: bool) -> tuple[list[Difference], list[Difference]]:
    """What differed, and what still does."""
    async with prepared_store(config) as store:
        found = await store.reports.audit(number)
        if not fix or not found:
            return found, found
        await _mend(store, found)
        return found, await store.reports.audit(number)


async def _mend(store: PostgresStore, found: Sequence[Difference]) -> None:
    """One transaction a customer, so that calls that end meanwhile do not wait for all of them."""
    customers = groupby(found, key=lambda each: (each.enterprise_number, each.phone_e164))
    for (enterprise_number, phone), _ in customers:
        await store.calls.mend(enterprise_number, [phone])


def _row(difference: Difference) -> list[str]:
    return [
        difference.enterprise_number,
        display(difference.phone_e164),
        difference.column,
        difference.stored or "",
        difference.counted or "",
    ]
