"""The benchmarks of what is written into PostgreSQL, with next to nothing to do: that they run, not how fast."""

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.row import Row

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)


async def rows_of(*command: str) -> list[Row]:
    """What one of them prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return [Row.from_json(line) for line in out.decode().splitlines()]


async def test_each_measures_and_tells_it_in_rows() -> None:
    commit, recovery, backfill, cards = await asyncio.gather(
        rows_of("benchmarks.commit", "--rounds", "1", "--seconds", "0.3"),
        rows_of("benchmarks.recovery", "--rounds", "1", "--rows", "400"),
        rows_of("benchmarks.backfill", "--rounds", "1", "--calls", "500"),
        rows_of("benchmarks.cards", "--seconds", "0.3"),
    )

    assert [row.unit for row in (*commit, *recovery, *backfill, *cards)] == ["×", "×", "×", "×", "ms", "ms"]
    assert all(row.figure > 0 and row.work and row.ours for row in (*commit, *recovery, *backfill, *cards))
    assert all(row.against and row.theirs for row in (*commit, *recovery, *backfill))
    assert recovery[0].details["calls"] > 10
    assert cards[0].details["calls"] == 6
