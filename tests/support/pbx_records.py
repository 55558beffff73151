"""What a PBX wrote about its calls, for tests of recovery: the CEL of real scenarios as one day's file."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vochi_agent.asterisk.replay import replay_ami
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.config import load

__all__ = [
    "ENTERPRISE",
    "LAYOUT",
    "SCENARIOS",
    "cdr_history",
    "cel_history",
    "cel_lines",
    "live_calls",
    "moment_of",
    "utc",
]

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
ENTERPRISE = load(SCENARIOS / "lab.toml").enterprises[0]
LAYOUT = Layout(ENTERPRISE)

# The scenarios of a round were recorded within two hours.
ROUND_S = 7207
CEL_MOMENTS, CDR_IDS, CDR_TIMES = (1, 14, 15), ("uniqueid", "linkedid"), ("start", "answer", "end")


def cel_lines(*names: str) -> list[str]:
    """The rows of some scenarios as cel_custom would have written them in one file, without a header."""
    lines = [
        line
        for name in names
        for line in (SCENARIOS / name / "cel.csv").read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    ]
    return sorted(lines, key=moment_of)


def moment_of(line: str) -> float:
    """Epoch seconds of a row."""
    return float(next(csv.reader([line]))[1])


def live_calls(names: Iterable[str]) -> list[Call]:
    """What the daemon would have stored of them, in order of their end."""
    calls = {
        update.call.linkedid: update.call
        for name in names
        for update in replay_ami(SCENARIOS / name / "ami.raw", LAYOUT)
        if isinstance(update, CallFinished)
    }
    return sorted(calls.values(), key=lambda call: call.ended_at)


def utc(text: str) -> datetime:
    """`10:24:03` of the day on which the scenarios were recorded."""
    return datetime.fromisoformat(f"2026-11-20 {text}").replace(tzinfo=UTC)


def cel_history(names: Sequence[str], rows: int) -> tuple[str, int]:
    """At least so many rows: the same calls every two hours, before the day on which they were recorded; how often."""
    recorded = list(csv.reader(cel_lines(*names)))
    rounds = rows // len(recorded) + 1
    text = io.StringIO()
    table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for number in range(rounds, 0, -1):
        for row in recorded:
            table.writerow(
                _earlier(field, number) if place in CEL_MOMENTS else field for place, field in enumerate(row)
            )
    return text.getvalue(), rounds


def cdr_history(names: Sequence[str], rounds: int) -> str:
    """The CDR rows of the same, without a header line."""
    text = io.StringIO()
    table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for number in range(rounds, 0, -1):
        rows = [row for name in names for row in _cdr_rows(name)]
        for row in sorted(rows, key=lambda row: row["end"]):
            row |= {name: _earlier(row[name], number) for name in CDR_IDS}
            for name in CDR_TIMES:
                if row[name]:
                    moment = datetime.fromisoformat(row[name]) - timedelta(seconds=number * ROUND_S)
                    row[name] = moment.isoformat(" ")
            table.writerow(row.values())
    return text.getvalue()


def _cdr_rows(name: str) -> list[dict[str, str]]:
    with (SCENARIOS / name / "cdr.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _earlier(moment: str, rounds: int) -> str:
    """Epoch seconds, or an id that begins with them, so many rounds before."""
    seconds, dot, rest = moment.partition(".")
    return f"{int(seconds) - rounds * ROUND_S}{dot}{rest}"
