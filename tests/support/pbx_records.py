"""What a PBX wrote about its calls, for tests of recovery: the CEL of real scenarios as one day's file."""

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vochi_agent.asterisk.replay import replay_ami
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.config import load

__all__ = ["ENTERPRISE", "LAYOUT", "SCENARIOS", "cel_lines", "live_calls", "moment_of", "utc"]

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
ENTERPRISE = load(SCENARIOS / "lab.toml").enterprises[0]
LAYOUT = Layout(ENTERPRISE)


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
