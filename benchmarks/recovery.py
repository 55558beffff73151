"""How long it takes to recover the calls of 100,000 CEL rows, beside `COPY` of the same file into a table.

    python -m benchmarks.recovery [--rows 100000] [--rounds 2]

The rows are those of real calls of many kinds, repeated with later times and other customers. Ours reads the file, runs
the call machine over it, and stores every call with its customer; COPY splits lines and keeps them as text. Both end
with a commit on one durable server, by turns.
"""

import argparse
import csv
import itertools
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from benchmarks.row import Reach, Row
from benchmarks.support.database import durable_server
from tests.support.pbx_records import CEL_MOMENTS, ENTERPRISE, LAYOUT, ROUND_S, cel_lines
from tests.support.renderers import no_cards
from vochi_agent.asterisk.cel import COLUMNS
from vochi_agent.asterisk.cel_sources import CelFile
from vochi_agent.chats import tell_recovered
from vochi_agent.recovery import Recovery, Report
from vochi_agent.store.postgres import PostgresStore

REACH: Final = Reach(at_most=5.0)
NAMES: Final = (
    "inbound-answered", "inbound-noanswer", "inbound-queue-answered", "inbound-queue-abandoned", "inbound-busy",
    "inbound-ringgroup-one-answers", "inbound-caller-hangup-while-ringing", "outbound-answered", "outbound-noanswer",
    "blind-transfer", "attended-transfer", "internal-answered",
)  # fmt: skip
# The numbers of everybody outside begin so; what follows says whose they are. An agent's own mobile stays what it is.
CUSTOMER: Final = re.compile(r"29000(?!0077)(?=\d{4})")
EMPTY: Final = "TRUNCATE calls, customers, cards, call_backs, outbox, cel"


async def main(rows: int, rounds: int) -> None:
    """Measure and print the row."""
    with durable_server() as (server, folder):
        await server.make_template()
        path = folder / "vochi.csv"
        print(f"writing {rows:,} rows", file=sys.stderr)
        since, until = _write(path, rows)
        async with server.database() as dsn, PostgresStore(dsn) as store:
            connection = await asyncpg.connect(dsn)
            columns = ", ".join(f'"{name}" text' for name in COLUMNS)
            await connection.execute(f"CREATE TABLE cel ({columns})")
            times: list[tuple[float, float]] = []
            for turn in range(rounds):
                print(f"round {turn + 1} of {rounds}", file=sys.stderr)
                await connection.execute(EMPTY)
                await connection.execute("CHECKPOINT")
                began = time.perf_counter()
                await connection.copy_to_table("cel", source=path, format="csv")
                copied = time.perf_counter()
                report = await _recovery(path, store, until).recover(since, until, alive=set())
                times.append((time.perf_counter() - copied, copied - began))
            stored = await connection.fetchval("SELECT count(*) FROM calls")
            await connection.close()
    if report.stored != stored:
        raise RuntimeError(f"{stored} calls are there of {report}")
    print(_row(times, report, rows).to_json(), flush=True)


def _row(times: Sequence[tuple[float, float]], report: Report, rows: int) -> Row:
    ours, theirs = zip(*times, strict=True)
    ratios = [own / other for own, other in times]
    return Row(
        work=f"recovery of {rows:,} CEL rows",
        ours=f"{statistics.median(ours):.2f} s",
        against="COPY of the same file into a table",
        theirs=f"{statistics.median(theirs):.2f} s",
        figure=round(statistics.median(ratios), 2),
        unit="×",
        reach=REACH,
        details={"recovery_s": ours, "copy_s": theirs, "ratios": ratios, "calls": report.stored},
    )


def _recovery(path: Path, store: PostgresStore, now: datetime) -> Recovery:
    return Recovery(
        lambda: LAYOUT,
        CelFile(path, UTC),
        store.calls,
        store.watched,
        render=no_cards,
        clock=lambda: now,
        announce=partial(tell_recovered, ENTERPRISE, store),
    )


def _write(path: Path, rows: int) -> tuple[datetime, datetime]:
    """Write the file; from when to when its calls were."""
    recorded = [(place, row) for place, name in enumerate(NAMES) for row in csv.reader(cel_lines(name))]
    recorded.sort(key=lambda row: float(row[1][1]))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        table.writerows(itertools.islice(_repeated(recorded), rows))
    first, last = float(recorded[0][1][1]), float(recorded[-1][1][1]) + rows // len(recorded) * ROUND_S
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC) + timedelta(minutes=5)


def _repeated(recorded: Sequence[tuple[int, Sequence[str]]]) -> Iterator[list[str]]:
    """The rows again and again, each time later and by other people, who come back after some days."""
    for turn in itertools.count():
        for scenario, row in recorded:
            customer = f"29{(turn * len(NAMES) + scenario) % 1000:03}"
            yield [
                _later(value, turn) if column in CEL_MOMENTS else CUSTOMER.sub(customer, value)
                for column, value in enumerate(row)
            ]


def _later(moment: str, turn: int) -> str:
    """Epoch seconds, or an id that begins with them."""
    seconds, dot, rest = moment.partition(".")
    return f"{int(seconds) + turn * ROUND_S}{dot}{rest}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.rows, arguments.rounds))
