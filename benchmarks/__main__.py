"""Measures everything that docs/performance.md promises, prints one table, and keeps it as JSON.

    python -m benchmarks [--only NAME…] [--output FILE] [--strict]
    python -m benchmarks --spread A.json B.json
    python -m benchmarks --plot FILE.svg A.json…
    python -m benchmarks --publish A.json…

Exit codes: 0 everything was measured, 1 something could not be, 2 with `--strict` when a promise is missed.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.plot import plot
from benchmarks.report import Report, markdown, spread, table, together
from benchmarks.row import Row
from vochi_agent.store.installations import find_installation

# One after the other: each wants the whole machine.
BENCHMARKS: Final = (
    "ami_events",
    "pure_path",
    "fastagi",
    "real_asterisk",
    "commit",
    "cards",
    "backfill",
    "recovery",
    "starting",
    "many_pbxs",
)
DEADLINE_S: Final = 300.0
# To put its servers away.
GRACE_S: Final = 20.0
OUTPUT: Final = Path("var/bench.json")
DOCS: Final = Path(__file__).parents[1] / "docs"
TABLE_BEGINS: Final = "<!-- the table: python -m benchmarks --publish var/bench.json -->"
TABLE_ENDS: Final = "<!-- end of the table -->"


class NotMeasured(Exception):
    """A benchmark ended without its rows."""


def main() -> int:
    """As the arguments say; the exit code."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if arguments.spread:
        console.print(spread([Report.load(path) for path in arguments.spread]))
        return 0
    if arguments.plot:
        picture, *sources = arguments.plot
        picture.write_text(plot(together([Report.load(path) for path in sources])), encoding="utf-8")
        return 0
    if arguments.publish:
        publish([Report.load(path) for path in arguments.publish], DOCS)
        return 0
    report = measure(arguments.only or BENCHMARKS)
    report.save(arguments.output)
    console.print(table(report))
    minutes, seconds = divmod(round(sum(report.seconds.values())), 60)
    console.print(f"{minutes} min {seconds} s; written to {arguments.output}")
    if report.failed:
        return 1
    return 2 if arguments.strict and not all(row.held for row in report.rows) else 0


def measure(names: Sequence[str]) -> Report:
    """Run benchmarks one after the other, each in a process of its own."""
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    for name in names:
        began = time.monotonic()
        try:
            rows += run(name)
        except NotMeasured as exc:
            failed[name] = str(exc)
        seconds[name] = round(time.monotonic() - began, 1)
        print(f"{name}: {seconds[name]} s", file=sys.stderr)
    return Report(at=at, machine=machine(), seconds=seconds, failed=failed, rows=tuple(rows))


def run(name: str) -> list[Row]:
    """The rows of one benchmark; what it says of its progress is passed on.

    Raises:
        NotMeasured: it failed, took too long, or said nothing.
    """
    print(f"== {name}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + DEADLINE_S
    with tempfile.TemporaryFile("w+", encoding="utf-8") as found:
        # A group of its own: it may have servers, which end with it.
        with subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}"],
            stdout=found,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=_interruptible,  # noqa: PLW1509 - no thread runs yet
        ) as process:
            last = _passed_on(process)
        found.seek(0)
        said = found.read().splitlines()
    if process.returncode != 0:
        late = time.monotonic() >= deadline
        raise NotMeasured(f"no end in {DEADLINE_S:g} s" if late else last or f"exit code {process.returncode}")
    # A server that it started may say something there, too.
    rows = [Row.from_json(line) for line in said if line.startswith('{"work": ')]
    if not rows:
        raise NotMeasured("it printed no row")
    return rows


def _passed_on(process: subprocess.Popen[str]) -> str:
    """Show what a benchmark says until it ends, or until its time is over; the last line of it."""
    assert process.stderr is not None
    ends = [
        threading.Timer(seconds, _signal, (process, how))
        for seconds, how in ((DEADLINE_S, signal.SIGINT), (DEADLINE_S + GRACE_S, signal.SIGKILL))
    ]
    for end in ends:
        end.start()
    last = ""
    try:
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
        process.wait()
    except KeyboardInterrupt:
        _signal(process, signal.SIGINT)
        process.wait()
        raise
    finally:
        for end in ends:
            end.cancel()
    return last


def _interruptible() -> None:
    """What a shell started in the background ignores SIGINT, and so would all that we start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _signal(process: subprocess.Popen[str], how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)


def machine() -> dict[str, object]:
    """What figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": _postgresql(),
    }


def publish(reports: Sequence[Report], docs: Path) -> None:
    """Put the figures into docs/performance.md and draw its picture."""
    page = docs / "performance.md"
    before, begins, rest = page.read_text(encoding="utf-8").partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not begins or not ends:
        raise SystemExit(f"{page} has no place for the table")
    page.write_text(f"{before}{begins}\n{markdown(reports)}{ends}{after}", encoding="utf-8")
    (docs / "pictures" / "performance.svg").write_text(plot(together(reports)), encoding="utf-8")


def _processor() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def _postgresql() -> str:
    program = find_installation().program("postgres")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default {OUTPUT}")
    parser.add_argument("--strict", action="store_true", help="exit 2 when a promise is missed")
    parser.add_argument("--spread", nargs="+", type=Path, metavar="JSON", help="runs side by side")
    parser.add_argument("--plot", nargs="+", type=Path, metavar="FILE", help="draw runs: FILE.svg A.json…")
    parser.add_argument("--publish", nargs="+", type=Path, metavar="JSON", help="the page and picture of docs/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
