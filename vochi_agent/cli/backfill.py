"""`vochi-agent backfill`: the customers' counters and last calls, built again from `calls`."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.progress import Progress

from vochi_agent.config import Config
from vochi_agent.errors import ConfigError
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.recount import ALL_TIME, Backfilled, CallTime

from .presentation import add_json, local, print_json, print_table, progress_bar
from .selection import add_enterprise, enterprise_of, moment_of, timezone_of
from .stored import prepared_store

COLUMNS: Final = ("enterprise", "customers", "changed")


@dataclass(frozen=True, slots=True)
class _Done:
    """The end of one enterprise's backfill, and how much of it an earlier one had done."""

    enterprise_number: str
    done_before: int
    end: Backfilled


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of which time, and whose."""
    parser.add_argument(
        "--from",
        dest="since",
        metavar="T",
        help="only customers with a call that began at T or later: a local time such as 2026-11-20 or "
        "2026-11-20T09:30, or 90m, 6h, 2d ago; their rows are built from all their calls",
    )
    parser.add_argument("--to", dest="until", metavar="T", help="only customers with a call that began before T")
    parser.add_argument("--anew", action="store_true", help="do not go on with one that was not finished")
    add_enterprise(parser)
    add_json(parser)
    parser.epilog = (
        "Counters and last calls become what `calls` says; names, black list, field1 to field4 and meta are not "
        "touched. Safe beside a running daemon. Interrupted or killed, call it again with the same times: it goes on."
    )


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when all is done."""
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    now = datetime.now(UTC)  # noqa: TID251 - a command's moment is that of the machine

    def wanted(enterprise_number: str) -> CallTime:
        zone = timezone_of(loaded, enterprise_number)
        since = moment_of("--from", args.since, now, zone) if args.since else ALL_TIME.since
        until = moment_of("--to", args.until, now, zone) if args.until else ALL_TIME.until
        if since >= until:
            raise ConfigError([f"--from {args.since} is not before --to {args.until}"])
        return CallTime(since, until)

    wanted(number or "")  # a mistake is told before anything is done
    with progress_bar("customers") as bar:
        done = asyncio.run(_backfill(loaded, number, wanted, bar, anew=args.anew))
    _print(done, as_json=args.json)
    return 0


async def _backfill(
    config: Config, number: str | None, wanted: Callable[[str], CallTime], bar: Progress, *, anew: bool
) -> list[_Done]:
    async with prepared_store(config) as store:
        numbers = [number] if number else await store.recount.enterprises()
        return [await _of_enterprise(config, store, each, wanted(each), bar, anew=anew) for each in numbers]


async def _of_enterprise(
    config: Config, store: PostgresStore, number: str, wanted: CallTime, bar: Progress, *, anew: bool
) -> _Done:
    before, end = 0, None
    task = bar.add_task(number)
    async for place in store.recount.backfill(number, wanted, anew=anew):
        if end is None and place.done:
            before = place.done
            since = local(place.started_at, timezone_of(config, number))
            print(f"{number}: going on after {before} customers that were done since {since}", file=sys.stderr)
        end = place
        bar.update(task, completed=place.done, total=max(place.customers, place.done))
    if end is None:  # it always says where it begins
        raise AssertionError
    return _Done(number, before, end)


def _print(done: list[_Done], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "enterprise_number": each.enterprise_number,
                    "customers": each.end.done,
                    "changed": each.end.changed,
                    "done_before": each.done_before,
                }
                for each in done
            ]
        )
        return
    rows = [[each.enterprise_number, str(each.end.done), str(each.end.changed)] for each in done]
    print_table(COLUMNS, rows, right=COLUMNS[1:])
