"""`vochi-agent customer PHONE`: who it is, with all numbers, counters and last calls; `set` edits, `link` joins."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from vochi_agent.calls.model import Call, isoformat
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config, Enterprise
from vochi_agent.config.problems import did_you_mean
from vochi_agent.customers.model import Customer
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

from .calls import print_calls
from .presentation import add_json, local, print_facts, print_json, print_table
from .selection import add_enterprise, enterprise_of, phone_of
from .stored import prepared_store

NO: Final = 1
LAST_CALLS: Final = 10
# Columns that people may set, and how many characters they hold.
TEXTS: Final[Mapping[str, int]] = {
    "last_name": 100,
    "first_name": 100,
    "middle_name": 100,
    "enterprise_name": 200,
    "field1": 100,
    "field2": 100,
    "field3": 100,
    "field4": 100,
}
NAMES: Final = frozenset({"last_name", "first_name", "middle_name", "enterprise_name"})
FLAGS: Final[Mapping[str, bool]] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NUMBERS: Final = ("number", "name", "in", "missed", "out", "last call")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    """A number, the person's other numbers, the last calls of this one."""

    customer: Customer
    numbers: Sequence[Customer]
    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A number, and what is to be done with it: nothing, changes, or a link to another number."""

    phone: str
    changes: Mapping[str, str | bool] = field(default_factory=dict)
    other: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Who, and what to change."""
    parser.usage = "vochi-agent customer [--enterprise N] [--json] PHONE | set PHONE field=value ... | link PHONE PHONE"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="PHONE",
        help="the number; `set PHONE field=value ...` edits, `link PHONE PHONE` makes two numbers one customer's",
    )
    parser.epilog = f"fields: {', '.join(TEXTS)}, black_list (true or false); an empty value empties the field"
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the number is known, was changed or linked, else 1."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    asked = _asked(enterprise, args.words)
    person = asyncio.run(_person(loaded, enterprise, asked))
    if person is None:
        print(f"{display(asked.phone)} is not known to {enterprise.number}.", file=sys.stderr)
        return NO
    if args.json:
        print_json(_as_json(person))
        return 0
    _print(loaded, enterprise, person)
    if NAMES & asked.changes.keys() and enterprise.primary_source != "manual":
        print(f"\nNames of {enterprise.primary_source} win: its next answer about this number replaces them.")
    return 0


def _asked(enterprise: Enterprise, words: Sequence[str]) -> _Asked:
    """What the words ask for. Raises ConfigError with every mistake."""
    if words[0] == "link":
        if len(words) != 3:  # noqa: PLR2004 - link, two numbers
            raise ConfigError(["customer link needs two numbers"])
        return _Asked(phone_of(enterprise, words[1]), other=phone_of(enterprise, words[2]))
    if words[0] != "set":
        if len(words) > 1:
            raise ConfigError([f"{words[1]!r} is one word too many; to edit: customer set PHONE field=value ..."])
        return _Asked(phone_of(enterprise, words[0]))
    if len(words) < 3:  # noqa: PLR2004 - set, the number, one assignment
        raise ConfigError(["customer set needs a number and at least one field=value"])
    problems: list[str] = []
    changes: dict[str, str | bool] = {}
    for word in words[2:]:
        name, equals, value = word.partition("=")
        if complaint := _complaint(name, equals, value):
            problems.append(complaint)
        else:
            changes[name] = FLAGS[value.lower()] if name == "black_list" else value.strip()
    if problems:
        raise ConfigError(problems)
    return _Asked(phone_of(enterprise, words[1]), changes)


def _complaint(name: str, equals: str, value: str) -> str:
    """Why an assignment cannot be done, "" when it can."""
    if name == "black_list" and equals:
        return "" if value.lower() in FLAGS else f"black_list is {value!r}; allowed: true or false"
    if name not in TEXTS or not equals:
        return f"{name + equals!r} is no field{did_you_mean(name, [*TEXTS, 'black_list'])}; write it as field=value"
    if len(value.strip()) > TEXTS[name]:
        return f"{name} holds at most {TEXTS[name]} characters, these are {len(value.strip())}"
    return "" if value.isprintable() else f"{name} has characters that cannot be shown"


async def _person(config: Config, enterprise: Enterprise, asked: _Asked) -> _Person | None:
    async with prepared_store(config) as store:
        if asked.changes:
            await store.customers.edit(enterprise.number, asked.phone, asked.changes)
        if asked.other:
            await store.customers.link(enterprise.number, asked.phone, asked.other)
        customer = await store.customers.customer(enterprise.number, asked.phone)
        return await _with_numbers(store, customer) if customer else None


async def _with_numbers(store: PostgresStore, customer: Customer) -> _Person:
    number, uid = customer.enterprise_number, customer.meta.get("person_uid")
    numbers = await store.customers.person(number, uid) if isinstance(uid, str) and uid else []
    wanted = CallFilter(enterprise_number=number, phone=customer.phone_e164, limit=LAST_CALLS)
    return _Person(customer=customer, numbers=numbers or [customer], calls=await store.reports.calls(wanted))


def _as_json(person: _Person) -> dict[str, object]:
    """Columns by their names in the database; other numbers of the person; the last calls as contract §5 has them."""
    customer = person.customer
    values: dict[str, object] = {
        "enterprise_number": customer.enterprise_number,
        "phone_e164": customer.phone_e164,
        **asdict(customer.names),
        "first_seen_at": customer.first_seen_at,
        "last_seen_at": customer.last_seen_at,
        **asdict(customer.history),
        **{f"field{index}": value for index, value in enumerate(customer.fields, start=1)},
        "black_list": customer.black_list,
        "meta": dict(customer.meta),
        "numbers": [each.phone_e164 for each in person.numbers],
        "calls": [call.as_json() for call in person.calls],
    }
    return {name: isoformat(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _print(config: Config, enterprise: Enterprise, person: _Person) -> None:
    customer = person.customer
    names, zone = customer.names, enterprise.timezone
    full = " ".join(part for part in (names.last_name, names.first_name, names.middle_name) if part)
    print(printable(names.display) or "nobody we know by name")
    print_facts(
        [
            ("number", display(customer.phone_e164)),
            ("company", names.enterprise_name),
            ("person", full),
            ("person uid", str(customer.meta.get("person_uid") or "")),
            ("black list", "yes" if customer.black_list else ""),
            *((f"field{index}", value) for index, value in enumerate(customer.fields, start=1)),
            ("first seen", local(customer.first_seen_at, zone)),
            ("last talked", local(customer.history.last_success_at, zone)),
            ("with", customer.history.last_agent_internal or ""),
            ("last line", customer.history.last_line or ""),
        ]
    )
    print()
    print_table(NUMBERS, [_counters(each, zone) for each in person.numbers], right=("in", "missed", "out"))
    if person.calls:
        print()
        print_calls(config, person.calls)


def _counters(customer: Customer, timezone: str) -> list[str]:
    history = customer.history
    return [
        display(customer.phone_e164),
        customer.names.person or customer.names.display,
        str(history.calls_total_in),
        str(history.calls_missed_in),
        str(history.calls_total_out),
        local(history.last_call_at, timezone),
    ]
