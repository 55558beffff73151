"""`vochi-agent report`: who was missed last month and never called back, from the CDR that any Asterisk writes.

No configuration, no database, no connection: a file is read, a table is printed.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.clock import LATEST
from vochi_agent.asterisk.record_report import Records, cdr_calls, cel_beginning, cel_calls, newest_of
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.missed import MissedCalls, Row
from vochi_agent.calls.model import Call, isoformat
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config
from vochi_agent.errors import ConfigError

from .presentation import add_json, print_json, print_table
from .selection import count
from .unconfigured import add_guesses, guessed_layout, zone_from

BAD: Final = 2
MONTH_DAYS: Final = 30
LONGEST_DAYS: Final = 3660
MOST_OWED: Final = 1000
MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
# A call that was going on when the time began is read to its end, and so is what followed a missed one.
MARGIN_S: Final = 86_400.0
COLUMNS: Final = ("missed", "called back", "came again", "hidden", "never called back")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The files and the time."""
    parser.add_argument("cdr", nargs="+", type=Path, metavar="Master.csv", help="CDR, oldest file first; may be .gz")
    parser.add_argument("--cel", type=Path, metavar="FILE", help="CEL, believed instead for the time it covers")
    period = parser.add_mutually_exclusive_group()
    period.add_argument(
        "--days", type=count(LONGEST_DAYS), default=MONTH_DAYS, metavar="N", help="up to the last call (30)"
    )
    period.add_argument("--month", metavar="YYYY-MM", help="a calendar month instead")
    parser.add_argument(
        "--owed", type=count(MOST_OWED), default=10, metavar="N", help="numbers never called back to list (10)"
    )
    add_guesses(parser)
    add_json(parser)


def run(args: argparse.Namespace, _config: Callable[[], Config]) -> int:
    """0 when the files were read; 2 when one cannot be, or is no CDR."""
    layout, zone = guessed_layout(args.trunk, args.country), zone_from(args.timezone)
    cdr, cel = Records(args.cdr), Records([args.cel] if args.cel else [])
    try:
        since, until = _time(args, zone)
        report = MissedCalls(zone, since, until)
        for call in _calls(cdr, cel, layout, zone, since.timestamp() - MARGIN_S):
            report.receive(call)
    except OSError as error:
        print(f"{error.filename or ', '.join(map(str, args.cdr))}: {error.strerror or error}", file=sys.stderr)
        return BAD
    if args.json:
        print_json(_json(report, (cdr, cel), args.owed))
    else:
        _print(report, args.owed)
        for line in _passed((cdr, cel)):
            print(line, file=sys.stderr)
    return 0


def _calls(cdr: Records, cel: Records, layout: Layout, zone: tzinfo, since: float) -> Iterator[Call]:
    """Those of CDR until CEL begins, then those of CEL. Raises OSError."""
    begins = min((at for file in cel.files if (at := cel_beginning(file, zone)) is not None), default=None)
    across: set[str] = set()  # they went on when CEL began, which saw their ends only
    for call in cdr_calls(cdr, layout, zone, since=since, until=LATEST if begins is None else begins):
        if begins is None or call.started_at.timestamp() < begins:
            if begins is not None and call.ended_at.timestamp() >= begins:
                across.add(call.linkedid)
            yield call
    if begins is not None:
        yield from (call for call in cel_calls(cel, layout, zone) if call.linkedid not in across)


def _time(args: argparse.Namespace, zone: tzinfo) -> tuple[datetime, datetime]:
    """From when to when missed calls are counted.

    Raises:
        ConfigError: that is no month, or the file says nothing of calls.
    """
    if args.month:
        match = MONTH.fullmatch(args.month)
        if match is None or not 1970 <= int(match[1]) < 9999:  # noqa: PLR2004 - what `datetime` and epochs hold
            raise ConfigError([f"--month {args.month!r}; allowed: a year and a month, such as 2026-10"])
        first = datetime(int(match[1]), int(match[2]), 1, tzinfo=zone)
        return first, (first + timedelta(days=31)).replace(day=1)
    newest = max((moment for file in args.cdr if (moment := newest_of(file, zone)) is not None), default=None)
    if newest is None:
        raise ConfigError([f"{', '.join(map(str, args.cdr))}: the end holds no line of CDR"])
    until = datetime.fromtimestamp(newest, UTC) + timedelta(seconds=1)
    return until - timedelta(days=args.days), until


def _print(report: MissedCalls, owed: int) -> None:
    total, zone = report.total, report.zone
    print(
        f"{report.since.astimezone(zone):%Y-%m-%d %H:%M} to {report.until.astimezone(zone):%Y-%m-%d %H:%M}: "
        f"{report.incoming} calls came in, {total.missed} were missed, {total.never} of them never called back"
    )
    hours = {f"{hour:02d}:00": row for hour, row in sorted(report.by_hour.items())}
    for heading, rows in (("hour", hours), ("line", _largest(report.by_line)), ("agent", _largest(report.by_agent))):
        if rows:
            print()
            table = [(name or "none", *map(str, _figures(row))) for name, row in rows.items()]
            print_table((heading, *COLUMNS), table, right=COLUMNS)
    debts = list(islice(report.owed(), owed))
    if debts:
        print()
        table = [
            (display(debt.phone), str(debt.missed), f"{debt.last.astimezone(zone):%Y-%m-%d %H:%M}", debt.line or "none")
            for debt in debts
        ]
        print_table(("never called back", "times", "last", "line"), table, right=("times",))


def _json(report: MissedCalls, records: Iterable[Records], owed: int) -> Mapping[str, object]:
    return {
        "since": isoformat(report.since),
        "until": isoformat(report.until),
        "incoming": report.incoming,
        "total": _row(report.total),
        "hours": {str(hour): _row(row) for hour, row in sorted(report.by_hour.items())},
        "lines": {name: _row(row) for name, row in _largest(report.by_line).items()},
        "agents": {name: _row(row) for name, row in _largest(report.by_agent).items()},
        "owed": [
            {"phone": debt.phone, "missed": debt.missed, "last": isoformat(debt.last), "line": debt.line or None}
            for debt in islice(report.owed(), owed)
        ],
        "passed_over": [
            {"kind": kind, "lines": number, "places": each.places.get(kind, [])}
            for each in records
            for kind, number in sorted(each.kinds.items())
        ],
    }


def _row(row: Row) -> Mapping[str, int]:
    return dict(zip(("missed", "called_back", "came_again", "hidden", "never"), _figures(row), strict=True))


def _figures(row: Row) -> tuple[int, ...]:
    return row.missed, row.called_back, row.came_again, row.hidden, row.never


def _largest(rows: Mapping[str, Row]) -> Mapping[str, Row]:
    return dict(
        sorted(((name, row) for name, row in rows.items() if row.missed), key=lambda each: (-each[1].missed, each[0]))
    )


def _passed(records: Iterable[Records]) -> Iterable[str]:
    for each in records:
        for kind, number in sorted(each.kinds.items()):
            places = each.places.get(kind, [])
            yield f"passed over: {number} × {kind}: {', '.join(places)}{' …' if number > len(places) else ''}"
