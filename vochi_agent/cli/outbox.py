"""`vochi-agent outbox`: finished calls that CRMs do not list yet, and those they refused."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict

from vochi_agent.calls.model import isoformat
from vochi_agent.config import Config
from vochi_agent.errors import ConfigError
from vochi_agent.store.outbox import OutboxState, ParkedPost

from .presentation import add_json, local, print_json, print_table
from .selection import add_enterprise, enterprise_of, timezone_of
from .stored import prepared_store

DECISIONS = {"retried": "tried again", "settled": "taken for listed"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and whether to try again."""
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument("--retry", action="store_true", help="try the refused calls again")
    parser.add_argument("--absent", action="store_true", help="with --retry: I looked, the CRM lists none of them")
    decision.add_argument(
        "--listed", action="store_true", help="I looked: the CRM lists the refused calls all the same"
    )
    parser.add_argument("--crm", metavar="NAME", help="with --retry or --listed: only those of this CRM")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when no call waits for a person, else 1."""
    if args.absent and not args.retry:
        raise ConfigError(["--absent goes with --retry"])
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    if args.retry or args.listed:
        done, count = asyncio.run(_decided(loaded, number, args))
        print_json({done: count}) if args.json else print(f"{count} calls are {DECISIONS[done]}.")
        return 0
    states, parked = asyncio.run(_look(loaded, number))
    if args.json:
        print_json({"crms": [_state(each) for each in states], "refused": [_parked(each) for each in parked]})
    else:
        _print(loaded, states, parked)
    return 1 if parked else 0


async def _decided(config: Config, number: str | None, args: argparse.Namespace) -> tuple[str, int]:
    async with prepared_store(config) as store:
        if args.listed:
            return "settled", await store.outbox.settle(number, args.crm)
        return "retried", await store.outbox.retry(number, args.crm, absent=args.absent)


async def _look(config: Config, number: str | None) -> tuple[Sequence[OutboxState], Sequence[ParkedPost]]:
    async with prepared_store(config) as store:
        return await store.outbox.states(number), await store.outbox.list_parked(number)


def _print(config: Config, states: Sequence[OutboxState], parked: Sequence[ParkedPost]) -> None:
    if not states:
        print("Every CRM lists every call.")
        return
    rows = [
        [
            f"{each.crm} {each.enterprise_number}",
            str(each.waiting),
            local(each.oldest, timezone_of(config, each.enterprise_number)) if each.oldest else "",
            str(each.parked),
        ]
        for each in states
    ]
    print_table(("crm", "waiting", "since", "refused"), rows, right=("waiting", "refused"))
    if parked:
        print()
        refused = [[f"{each.crm} {each.enterprise_number}", each.linkedid, each.parked] for each in parked]
        print_table(("crm", "call", "why"), refused)


def _state(state: OutboxState) -> dict[str, object]:
    return {**asdict(state), "oldest": isoformat(state.oldest) if state.oldest else None}


def _parked(post: ParkedPost) -> dict[str, object]:
    return {**asdict(post), "updated_at": isoformat(post.updated_at)}
