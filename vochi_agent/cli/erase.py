"""`vochi-agent erase PHONE`: a person's data goes, and does not come back by itself."""

import argparse
import asyncio
import os
import pwd
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from vochi_agent.calls.model import isoformat
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config, Enterprise
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError
from vochi_agent.store.erasure import Erased, ErasureNote, Traces

from .presentation import add_json, local, print_facts, print_json, print_table
from .selection import add_enterprise, count, enterprise_of, phone_of, timezone_of
from .stored import prepared_store

NO: Final = 1
NOTES: Final = ("erased", "enterprise", "digest", "by", "rows", "called again")
MOST_NOTES: Final = 10_000
UNSET_LOGIN: Final = 0xFFFFFFFF  # of a process that no login began
ROWS: Final = ("customers", "calls", "past_calls", "mentions", "cards", "posts", "changes", "updates")
MOST_RECORDINGS: Final = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, how far, and how sure."""
    parser.add_argument("phone", nargs="?", metavar="PHONE", help="a number of the person")
    parser.add_argument("--person", action="store_true", help="all of the person's numbers, not only this one")
    parser.add_argument("--dry-run", action="store_true", help="say what is there of him and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--log", action="store_true", help="what was erased, when and by whom, newest first")
    parser.add_argument("--limit", type=count(MOST_NOTES), default=50, metavar="N", help="with --log: at most N rows")
    add_enterprise(parser)
    add_json(parser)
    parser.epilog = (
        "Names, notes, counters and cards go; calls stay as calls of nobody. A keyed digest of the number keeps "
        "recovery, CRMs and phonebooks from bringing it back until the person calls anew. docs/data.md"
    )


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when it is done; 1 when nothing is known of the number, or the answer was no."""
    loaded = config()
    if args.log:
        number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
        _print_notes(loaded, asyncio.run(_notes(loaded, number, args.limit)), as_json=args.json)
        return 0
    if not args.phone:
        raise ConfigError(["erase needs a number; `erase --log` lists what was erased"])
    enterprise = enterprise_of(loaded, args.enterprise)
    phone = phone_of(enterprise, args.phone)
    found, others = asyncio.run(_look(loaded, enterprise, phone, person=args.person))
    if not found.traces:
        print(f"Nothing is known of {display(phone)} to {enterprise.number}.", file=sys.stderr)
        return NO
    if args.dry_run:
        _print(enterprise, found, others, as_json=args.json)
        print("Nothing was changed.", file=sys.stderr)
        return 0
    if not args.yes and not _agreed(enterprise, found, others):
        print("Nothing was changed.", file=sys.stderr)
        return NO
    done = Erased(found.numbers, asyncio.run(_erase(loaded, enterprise, found.numbers)))
    if not args.json:
        print("Erased:")
    _print(enterprise, done, others, as_json=args.json)
    return 0


async def _look(config: Config, enterprise: Enterprise, phone: str, *, person: bool) -> tuple[Erased, list[str]]:
    """What there is, and the person's numbers that were not asked about."""
    async with prepared_store(config) as store:
        all_numbers = await store.erasure.numbers(enterprise.number, phone)
        numbers = all_numbers if person else [phone]
        traces = await store.erasure.look(enterprise.number, numbers)
    return Erased(numbers, traces), [each for each in all_numbers if each not in numbers]


async def _erase(config: Config, enterprise: Enterprise, numbers: Sequence[str]) -> Traces:
    async with prepared_store(config) as store:
        return await store.erasure.erase(enterprise.number, numbers, by=_who())


async def _notes(config: Config, number: str | None, limit: int) -> list[ErasureNote]:
    async with prepared_store(config) as store:
        return await store.erasure.notes(number, limit=limit)


def _agreed(enterprise: Enterprise, found: Erased, others: Sequence[str]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(["nobody is there to be asked: look with --dry-run, then say --yes"])
    _print(enterprise, found, others, as_json=False)
    try:
        return input("\nErase all this? It cannot be undone. Type yes: ").strip().lower() == "yes"
    except EOFError:
        return False


def _who() -> str:
    """The login behind the command, `sudo` or not."""
    user, login = _name(os.geteuid()), UNSET_LOGIN
    with suppress(OSError, ValueError):  # no audit in this kernel
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    known = "" if login == UNSET_LOGIN else _name(login)
    return f"{known} as {user}" if known and known != user else user


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _print(enterprise: Enterprise, found: Erased, others: Sequence[str], *, as_json: bool) -> None:
    traces = asdict(found.traces)
    if as_json:
        traces["recordings"] = list(found.traces.recordings)
        print_json(
            {
                "enterprise_number": enterprise.number,
                "numbers": list(found.numbers),
                "other_numbers": list(others),
                **traces,
                "stays": list(_stays(enterprise, found)),
            }
        )
        return
    facts = [("number", display(each)) for each in found.numbers]
    print_facts([*facts, *((name.replace("_", " "), str(traces[name] or "")) for name in ROWS)])
    if others:
        print(f"\nThe same person has {', '.join(map(display, others))}: --person takes all of them.")
    print("\nWhat is not ours to erase:")
    for sentence in _stays(enterprise, found):
        print(f"- {sentence}")
    if found.traces.recordings:
        print("\nThe recordings:")
    for file in found.traces.recordings[:MOST_RECORDINGS]:
        print(printable(file))


def _stays(enterprise: Enterprise, found: Erased) -> Iterator[str]:
    """What stays elsewhere, a sentence each."""
    traces, asterisk = found.traces, enterprise.asterisk
    if traces.recordings:
        where = f" in {asterisk.recordings}" if asterisk.recordings else ""
        yield f"recordings{where}: {len(traces.recordings)} files"
    if traces.messages:
        yield f"Telegram: {traces.messages} messages that are in chats already"
    for crm in enterprise.crm:
        yield f"{crm}: his card, and the calls that it lists" + (f" ({traces.posted} told)" if traces.posted else "")
    # They may hold a password of a database.
    records = [name for name, place in (("CEL", asterisk.cel), ("CDR", asterisk.cdr)) if place]
    yield f"the PBX: {' and '.join([*records, 'its logs'])}"
    yield "backups made before now, and the system's journal: numbers are masked there unless log.mask_phones is off"
    yield "files: phonebooks he came from, AMI streams that `record` wrote, postgres/data.* of an older PostgreSQL"
    if traces.black_listed:
        yield "he was on the black list and is not any more; `block` of the configuration would hold him"


def _print_notes(config: Config, notes: Sequence[ErasureNote], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    **asdict(each),
                    "erased_at": isoformat(each.erased_at),
                    "returned_at": isoformat(each.returned_at) if each.returned_at else None,
                }
                for each in notes
            ]
        )
        return
    rows = []
    for each in notes:
        zone = timezone_of(config, each.enterprise_number)
        found = ", ".join(f"{each.done[name]} {name}" for name in ROWS if each.done.get(name)) if each.done else ""
        shown = found or ("nothing" if each.done is not None else "interrupted: erase again")
        rows.append(
            [
                local(each.erased_at, zone),
                each.enterprise_number,
                each.digest[:16],
                each.erased_by,
                shown,
                local(each.returned_at, zone),
            ]
        )
    print_table(NOTES, rows)
