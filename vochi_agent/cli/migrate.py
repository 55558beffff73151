"""`vochi-agent migrate`: brings the database to the schema of this version."""

import argparse
import asyncio
from collections.abc import Callable

from vochi_agent.config import Config
from vochi_agent.daemon import open_store

from .presentation import add_json, print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the database has the schema, applied now or before."""
    applied = asyncio.run(_migrate(config()))
    if args.json:
        print_json({"applied": applied})
        return 0
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("The database has the schema of this version.")
    return 0


async def _migrate(config: Config) -> list[str]:
    async with open_store(config, may_carry_over=True) as store:
        return await store.migrate()
