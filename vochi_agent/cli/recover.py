"""`vochi-agent recover`: by hand what the daemon does after a gap. Running it twice changes nothing."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from vochi_agent.asterisk.ami import AmiPeer, connect
from vochi_agent.asterisk.records import living_channels, open_records
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import isoformat
from vochi_agent.chats import tell_recovered
from vochi_agent.config import Config, Enterprise
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError, VochiError
from vochi_agent.recovery import Recovery, Report
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.drafts import renderer

from .presentation import add_json, local, print_json, print_table, progress_bar
from .recovered_names import Named, has_names, name_customers
from .selection import add_enterprise, enterprise_of, moment_of, timezone_of
from .stored import prepared_store

NO: Final = 1
COLUMNS: Final = ("company", "since", "found", "already known", "stored", "corrected")
# What ended this long ago has been written down, whatever writes CEL.
WRITTEN_WITHIN: Final = timedelta(seconds=5)
EVERYTHING: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class _Done:
    enterprise: Enterprise
    since: datetime
    report: Report
    named: Named | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    """From when on, and whose."""
    parser.add_argument(
        "--since",
        metavar="T",
        help="a local time such as 2026-11-20 or 2026-11-20T09:30, or 90m, 6h, 2d ago; "
        "without it from the last moment known to be complete",
    )
    parser.add_argument(
        "--names", action="store_true", help="afterwards ask the CRMs about every customer who has no name yet"
    )
    add_enterprise(parser)
    add_json(parser)
    parser.epilog = (
        "On the day of installation: recover --since with the day from which calls are wanted. Chats are not told of "
        "calls that ended before the daemon ran for the first time. Twice changes nothing."
    )


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when everything was read and stored; 1 when a company has no records to read."""
    loaded = config()
    wanted = [enterprise_of(loaded, args.enterprise)] if args.enterprise else list(loaded.enterprises)
    silent = [each.number for each in wanted if not (each.asterisk.cel or each.asterisk.cdr)]
    for number in silent:
        print(
            f"{number}: neither asterisk.cel nor asterisk.cdr is configured: nothing can be recovered", file=sys.stderr
        )
    nameless = [each.number for each in wanted if args.names and not has_names(each)]
    if nameless and len(nameless) == len(wanted):
        raise ConfigError(["--names: there is no CRM that could be asked for names"])
    for number in nameless:
        print(f"{number}: there is no CRM that could be asked for names", file=sys.stderr)
    now = _now()
    sinces = {
        each.number: moment_of("--since", args.since, now, timezone_of(loaded, each.number)) if args.since else None
        for each in wanted
    }
    audible = [each for each in wanted if each.number not in silent]
    done = asyncio.run(_recover_all(loaded, audible, sinces, now, names=args.names))
    _print(loaded, done, as_json=args.json)
    return NO if silent else 0


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a command's moment is that of the machine


async def _recover_all(
    config: Config, enterprises: list[Enterprise], sinces: dict[str, datetime | None], now: datetime, *, names: bool
) -> list[_Done]:
    if not enterprises:
        return []
    async with prepared_store(config) as store:
        done = [await _recover(config, store, each, sinces[each.number], now) for each in enterprises]
        if names:
            done = [
                replace(each, named=await name_customers(each.enterprise, store, state_dir=config.daemon.state_dir))
                if has_names(each.enterprise)
                else each
                for each in done
            ]
        return done


async def _recover(
    config: Config, store: PostgresStore, enterprise: Enterprise, since: datetime | None, now: datetime
) -> _Done:
    layout = Layout(enterprise)
    records = open_records(enterprise, lambda: layout)
    if records is None:
        raise ConfigError([f"{enterprise.number}: nothing to read"])
    known_until = await store.watched.complete_until(enterprise.number)
    start = since or known_until or EVERYTHING
    alive = await _alive(enterprise)
    with _progress(enterprise, now) as progress:
        recovery = Recovery(
            lambda: layout,
            records,
            store.calls,
            store.watched,
            render=renderer(enterprise, config),
            clock=_now,
            told_since=await store.watched.first_watched(enterprise.number) or now,
            announce=partial(tell_recovered, enterprise, store),
            progress=progress,
        )
        report = await recovery.recover(start, now, alive)
    complete = now - WRITTEN_WITHIN
    # How far back the records reach is unknown: of what was never watched only the end is claimed.
    await store.watched.close_gap(enterprise.number, min(since or known_until or complete, complete), complete)
    return _Done(enterprise, start, report)


@contextmanager
def _progress(enterprise: Enterprise, until: datetime) -> Iterator[Callable[[datetime, Report], None]]:
    """Draws how far the records were read, from their first moment on."""
    first: list[datetime] = []
    with progress_bar("seconds of records") as bar:
        task = bar.add_task(enterprise.number, total=None)

        def show(moment: datetime, report: Report) -> None:
            if not first:
                first.append(moment)
            done, whole = ((each - first[0]).total_seconds() for each in (moment, until))
            counted = f"{enterprise.number}: {report.found} calls found, {report.stored} stored"
            bar.update(task, description=counted, completed=done, total=whole)

        yield show


async def _alive(enterprise: Enterprise) -> AbstractSet[str] | None:
    """The channels that live now; None when the PBX cannot be asked: then calls without an end are left alone."""
    asterisk = enterprise.asterisk
    peer = AmiPeer(
        host=asterisk.ami.host,
        port=asterisk.ami.port,
        username=asterisk.ami_username,
        secret=asterisk.ami_secret.get_secret_value(),
    )
    try:
        async with connect(peer) as connection:
            return await living_channels(connection)
    except VochiError as error:
        print(f"{enterprise.number}: calls without an end are left out: {printable(str(error))}", file=sys.stderr)
        return None


def _print(config: Config, done: list[_Done], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"enterprise_number": each.enterprise.number, "since": isoformat(each.since), **asdict(each.report)}
                | (asdict(each.named) if each.named else {})
                for each in done
            ]
        )
        return
    rows = [
        [
            each.enterprise.number,
            local(each.since, timezone_of(config, each.enterprise.number)),
            *map(str, (each.report.found, each.report.known, each.report.stored, each.report.corrected)),
        ]
        for each in done
    ]
    print_table(COLUMNS, rows, right=COLUMNS[2:])
    for each in done:
        if each.named:
            print(f"{each.enterprise.number}: {each.named.asked} customers asked about, {each.named.named} named")
