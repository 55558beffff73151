"""`vochi-agent audit`: do the customers' counters say what their calls add up to?"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import astuple
from typing import Final

from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.store.recount import Difference

from .presentation import GrowingList, add_json
from .selection import add_enterprise, enterprise_of
from .stored import prepared_store

COLUMNS: Final = (
    ("enterprise_number", "enterprise", 10),
    ("phone_e164", "phone", 20),
    ("column", "column", 19),
    ("stored", "stored", 32),
    ("counted", "counted", 0),
)
NO: Final = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and whether to mend."""
    parser.add_argument("--fix", action="store_true", help="make the customers that differ say what their calls say")
    add_enterprise(parser)
    add_json(parser)
    parser.epilog = (
        "Safe beside a running daemon, at any size: some customers are looked at at a time, and differences are "
        "printed as they are found. Exit code 1 when there are any and they were not mended."
    )


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when there is no difference, or none is left; else 1."""
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    found = GrowingList(COLUMNS, as_json=args.json)
    differs = asyncio.run(_audit(loaded, number, found, fix=args.fix))
    found.close()
    return NO if differs and not args.fix else 0


async def _audit(config: Config, number: str | None, found: GrowingList, *, fix: bool) -> bool:
    """Whether anything differed."""
    differs = False
    async with prepared_store(config) as store:
        for each in [number] if number else await store.recount.enterprises():
            async for differences in store.recount.differences(each):
                differs = True
                for difference in differences:
                    found.add(*astuple(difference), shown=_shown(difference))
                if fix:
                    await store.recount.mend(each, sorted({difference.phone_e164 for difference in differences}))
    return differs


def _shown(difference: Difference) -> list[str]:
    return [
        difference.enterprise_number,
        display(difference.phone_e164),
        difference.column,
        difference.stored or "",
        difference.counted or "",
    ]
