"""Logs that grow and are rotated: everything from a moment on is read, in order, once."""

import bz2
import gzip
import lzma
import os
from collections import Counter
from pathlib import Path

import pytest

from vochi_agent.asterisk import record_files
from vochi_agent.asterisk.record_files import lines_since

START = 1_795_000_000


def moment(line: str) -> float | None:
    try:
        return float(line.split(",", maxsplit=1)[0])
    except ValueError:
        return None


def written(first: int, count: int, *, step: int = 1) -> bytes:
    return b"".join(f"{START + second},row\n".encode() for second in range(first, first + count * step, step))


def seconds(path: Path, since: float, problems: Counter[str] | None = None) -> list[float]:
    lines = lines_since(path, START + since, moment, Counter() if problems is None else problems)
    return [at - START for line in lines if (at := moment(line)) is not None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five days of rotation, each by another habit."""
    (tmp_path / "vochi.csv-20261116.xz").write_bytes(lzma.compress(written(0, 10)))
    (tmp_path / "vochi.csv.3.bz2").write_bytes(bz2.compress(written(10, 10)))
    (tmp_path / "vochi.csv.2.gz").write_bytes(gzip.compress(written(20, 10)))
    (tmp_path / "vochi.csv.1").write_bytes(written(30, 10))
    (tmp_path / "vochi.csv").write_bytes(written(40, 10))
    (tmp_path / "other.csv").write_bytes(written(0, 99))
    return tmp_path / "vochi.csv"


@pytest.mark.parametrize("since", [-5, 0, 9, 10, 15, 29, 30, 41, 49, 60])
def test_rotated_files_are_read_as_one(log, since):
    found = seconds(log, since)

    assert found == list(map(float, range(round(found[0]) if found else 50, 50)))
    assert not found or found[0] <= max(since, 0)
    assert [at for at in found if at >= since] == [at for at in range(50) if at >= since]


def test_only_the_files_that_are_needed_are_read(log):
    assert seconds(log, 41)[0] == 40
    assert seconds(log, 25)[0] == 20


def test_a_name_that_was_just_rotated_away_is_no_failure(log):
    log.unlink()

    assert seconds(log, 35)[-1] == 39


def test_a_file_under_two_names_is_read_once(log):
    os.link(log, log.parent / "vochi.csv-copy")

    assert seconds(log, 45) == list(map(float, range(40, 50)))


def test_nothing_at_all_is_a_failure(tmp_path):
    with pytest.raises(OSError, match=r"vochi\.csv"):
        list(lines_since(tmp_path / "vochi.csv", 0, moment, Counter()))


def test_of_a_long_file_only_the_end_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "BLOCK", 4096)
    path = tmp_path / "vochi.csv"
    path.write_bytes(written(0, 20_000))

    found = seconds(path, 19_900)

    assert found[-1] == 19_999
    assert 19_000 < found[0] <= 19_900


@pytest.mark.parametrize("since", [0, 5_000, 9_990, 10_000, 10_010, 19_000])
def test_a_clock_that_was_in_1970_hides_nothing_before_it(tmp_path, monkeypatch, since):
    """The stretch without a clock is longer than a block, so whole blocks do not say where they are."""
    monkeypatch.setattr(record_files, "BLOCK", 4096)
    path = tmp_path / "vochi.csv"
    lost = b"".join(f"{second},row\n".encode() for second in range(3000))
    path.write_bytes(written(0, 10_000) + lost + written(10_000, 10_000))

    found = [at for at in seconds(path, since) if at >= since]

    assert found == list(map(float, range(since, 20_000)))


def test_an_endless_line_costs_itself(tmp_path):
    problems: Counter[str] = Counter()
    path = tmp_path / "vochi.csv"
    path.write_bytes(written(0, 5) + b"x" * 1_000_000 + b"\n" + written(5, 5))

    assert seconds(path, 0, problems) == list(map(float, range(10)))
    assert problems == {"endless line": 1}


def test_a_torn_archive_gives_what_it_has(log):
    archive = log.parent / "vochi.csv.2.gz"
    archive.write_bytes(archive.read_bytes()[:-6])
    problems: Counter[str] = Counter()

    assert seconds(log, 20, problems) == list(map(float, range(20, 50)))
    assert problems["torn archive"]
