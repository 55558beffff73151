"""`vochi-agent status`: what the running daemon sees, asked over its own HTTP address."""

import argparse
import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.web.client import ask_status

from .presentation import add_json, local, print_facts, print_json, print_table
from .selection import timezone_of

Json = Mapping[str, object]


def arguments(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the daemon is ready, 1 when it waits for something; `main` exits 3 when none answers."""
    loaded = config()
    status = asyncio.run(ask_status(loaded.http.listen))
    if args.json:
        print_json(status)
    else:
        _print(loaded, status)
    return 0 if status.get("ready") is True else 1


def _print(config: Config, status: Json) -> None:
    zone = config.daemon.timezone
    print_facts(
        [
            ("vochi-agent", f"{status.get('version')}, pid {status.get('pid')}, instance {status.get('instance')}"),
            ("since", _local(status.get("started_at"), zone)),
            ("ready", "yes" if status.get("ready") else "no"),
            ("calls waiting", _waiting(status)),
            ("cards", ", ".join(f"{result} {count}" for result, count in _items(status, "cards")) or "none yet"),
        ]
    )
    print()
    parts = [(name, "up" if part.get("up") else "DOWN", str(part.get("detail") or "")) for name, part in
             _tables(status, "parts")]  # fmt: skip
    crms = [
        (f"{crm} {number}", "up" if state.get("breaker") == "closed" else "DOWN", _crm(state))
        for number, of_enterprise in _tables(status, "crm")
        for crm, state in _tables({"crm": of_enterprise}, "crm")
    ]
    print_table(("part", "state", "detail"), [*parts, *crms])
    print()
    print_table(
        ("pbx", "connected since", "last event", "reconnects", "clock", "calls"),
        [_pbx(number, pbx, timezone_of(config, number)) for number, pbx in _tables(status, "pbx")],
        right=("reconnects", "clock", "calls"),
    )
    calls = status.get("calls")
    if isinstance(calls, list) and calls:
        print()
        rows = [_call(call, config) for call in calls if isinstance(call, dict)]
        print_table(("phase", "dir", "phone", "line", "agents", "linkedid"), rows)


def _waiting(status: Json) -> str:
    spool = dict(_items(status, "spool"))
    refused = f"; the disk refused at the last attempt: {spool['problem']}" if spool.get("problem") else ""
    return f"{status.get('calls_waiting')} for the database, {spool.get('calls')} of them on disk{refused}"


def _crm(state: Json) -> str:
    waiting, parked = state.get("calls_waiting") or 0, state.get("calls_parked") or 0
    queue = f", {waiting} calls wait for it, {parked} refused" if waiting or parked else ""
    return f"breaker {state.get('breaker')}{queue}"


def _pbx(number: str, pbx: Json, zone: str) -> list[str]:
    offset = pbx.get("clock_offset")
    return [
        f"{number} {pbx.get('address')}",
        _local(pbx.get("connected_since"), zone) or "not connected",
        _local(pbx.get("last_event_at"), zone),
        str(pbx.get("reconnects")),
        f"{offset:+.3f} s" if isinstance(offset, float) else "",
        str(pbx.get("calls_live")),
    ]


def _call(call: Json, config: Config) -> list[str]:
    agents, phone = call.get("agents"), call.get("phone")
    several = len(config.enterprises) > 1
    return [
        str(call.get("phase")),
        str(call.get("direction")),
        display(phone) if isinstance(phone, str) else "hidden",
        f"{call.get('enterprise_number')} {call.get('line') or ''}" if several else str(call.get("line") or ""),
        ", ".join(map(str, agents)) if isinstance(agents, list) else "",
        str(call.get("linkedid")),
    ]


def _items(status: Json, key: str) -> Iterator[tuple[str, object]]:
    table = status.get(key)
    yield from table.items() if isinstance(table, dict) else ()


def _tables(status: Json, key: str) -> Iterator[tuple[str, Json]]:
    """The tables in a table; a daemon of another version may lack some."""
    yield from ((name, value) for name, value in _items(status, key) if isinstance(value, dict))


def _local(moment: object, zone: str) -> str:
    return local(datetime.fromisoformat(moment), zone) if isinstance(moment, str) else ""
