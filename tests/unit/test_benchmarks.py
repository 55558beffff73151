"""The benchmarks, with next to nothing to measure: every one gives rows, and the rows become tables and pictures."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from benchmarks import __main__ as bench
from benchmarks.plot import plot
from benchmarks.report import Report, markdown, spread, table, together
from benchmarks.row import Reach, Row
from benchmarks.support.pbx_recordings import busy_pbx, count, recordings
from vochi_agent.protocols.ami import AmiReader

MACHINE = {"cores": 2, "processor": "Abacus", "python": "3.11", "postgresql": "18"}


def row(work: str, figure: float, reach: Reach) -> Row:
    return Row(work=work, ours=f"{figure} s", against="a | pipe", theirs="1 s", figure=figure, unit="×", reach=reach)


def report(*rows: Row, at: str = "2026-11-21T20:00:00+00:00") -> Report:
    return Report(at=at, machine=MACHINE, seconds={"one": 1.5}, failed={}, rows=rows)


QUICK = row("quick", 24.0, Reach(at_least=12))
SLOW = row("slow", 4.0, Reach(at_most=2))


@pytest.mark.parametrize(
    ("module", "rows"),
    [(["ami_events", "--copies", "1", "--rounds", "1"], 2), (["pure_path", "--copies", "1", "--rounds", "1"], 1)],
)
def test_a_benchmark_prints_its_rows_and_nothing_else(module: list[str], rows: int) -> None:
    """How long it took is nobody's business here."""
    name, *arguments = module

    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    found = [Row.from_json(line) for line in done.stdout.splitlines()]
    assert len(found) == rows
    assert all(each.figure > 0 and each.work and each.ours for each in found)


def test_a_benchmark_that_fails_is_named_with_its_last_words() -> None:
    found = bench.measure(["no_such_thing", "row"])

    assert found.rows == ()
    assert "no_such_thing" in found.failed["no_such_thing"]
    assert found.failed["row"] == "it printed no row"
    assert found.machine["python"]


def test_a_benchmark_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "DEADLINE_S", 0.2)

    assert bench.measure(["pure_path"]).failed == {"pure_path": "no end in 0.2 s"}


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = report(QUICK, SLOW)

    written.save(tmp_path / "var" / "bench.json")

    assert written == Report.load(tmp_path / "var" / "bench.json")


def test_the_table_says_what_is_kept_what_is_missed_and_what_was_not_measured() -> None:
    console = Console(width=160, record=True)
    found = report(QUICK, SLOW)
    failed = Report(at=found.at, machine=MACHINE, seconds={}, failed={"cards": "no PostgreSQL"}, rows=found.rows)

    console.print(table(failed))
    lines = console.export_text().splitlines()

    assert [next(line for line in lines if word in line).split()[-2] for word in ("quick", "slow")] == [
        "kept",
        "missed",
    ]
    assert any("cards" in line and "not measured" in line for line in lines)
    assert any("no PostgreSQL" in line for line in lines)


def test_two_runs_are_compared_by_their_works() -> None:
    other = report(row("quick", 30.0, QUICK.reach), row("new", 1.0, Reach(at_least=1)), at="2026-11-21T20:10:00+00:00")
    console = Console(width=160, record=True)

    console.print(spread([report(QUICK, SLOW), other]))

    assert [(each.row.work, each.figure, each.held) for each in together([report(QUICK, SLOW), other])] == [
        ("quick", 27.0, True),
        ("slow", 4.0, False),
        ("new", 1.0, True),
    ]
    text = console.export_text()
    assert "22%" in text
    assert [[cell.strip() for cell in line.split("│")[2:4]] for line in text.splitlines() if "new" in line] == [
        ["–", "1 ×"]
    ]


def test_the_page_gets_its_table_and_its_picture_and_keeps_its_words(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    page = tmp_path / "performance.md"
    page.write_text(f"Before.\n{bench.TABLE_BEGINS}\nold\n{bench.TABLE_ENDS}\nAfter.\n", encoding="utf-8")

    bench.publish([report(QUICK, SLOW)], tmp_path)
    bench.publish([report(QUICK, SLOW)], tmp_path)

    text = page.read_text(encoding="utf-8")
    assert text == f"Before.\n{bench.TABLE_BEGINS}\n{markdown([report(QUICK, SLOW)])}{bench.TABLE_ENDS}\nAfter.\n"
    assert "| quick | 24.0 s | a \\| pipe: 1 s | 24 × | ≥ 12 | kept | – |" in text
    assert (tmp_path / "pictures" / "performance.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_kept_promise_points_to_the_right_and_a_missed_one_to_the_left() -> None:
    """Both are off by two, so their bars are equally long and meet at the promise."""
    drawn = ET.fromstring(plot(together([report(QUICK, SLOW)])))
    (_, quick, slow) = drawn.findall("{http://www.w3.org/2000/svg}rect")

    assert quick.get("width") == slow.get("width")
    assert float(slow.get("x") or 0) + float(slow.get("width") or 0) == pytest.approx(float(quick.get("x") or 0))


def test_the_traffic_of_a_busy_pbx_is_the_recordings_as_calls_of_their_own() -> None:
    once = busy_pbx(1, per_second=10)
    twice = busy_pbx(2, per_second=10)
    channels = [
        message["Uniqueid"]
        for message in AmiReader({"Newchannel"}).receive_data(b"\r\n" + twice)
        if message.event == "Newchannel"
    ]

    assert count(twice) == 2 * count(once)
    assert (
        len(channels)
        == len(set(channels))
        == 2 * sum(stream.count(b"Event: Newchannel\r\n") for stream in recordings())
    )
