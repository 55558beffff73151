"""The benchmarks of FastAGI run to their end and give rows that can be read; nobody asks how quick."""

import asyncio
import sys

import pytest

from benchmarks.row import Row
from tests.support.required import require

TINY = ("--rounds", "1", "--seconds", "0.1")


async def rows_of(name: str) -> list[Row]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{name}", *TINY,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return [Row.from_json(line) for line in out.decode().splitlines()]


async def test_the_four_servers_say_the_same_and_ours_is_compared_with_the_others() -> None:
    rows = await rows_of("fastagi")

    assert [row.against for row in rows] == ["panoramisk", "bare protocol", "bare protocol"]
    assert all(row.figure > 0 and row.ours and row.theirs for row in rows)
    assert rows[0].details["commands"] == 8
    assert set(rows[0].details["in_flight"]) == {"1", "50", "200"}


@pytest.mark.asterisk
async def test_a_real_asterisk_is_asked_to_place_calls_through_each_server() -> None:
    require("asterisk22")
    (row,) = await rows_of("real_asterisk")

    assert row.against == "constant server"
    assert row.figure > 0
    assert len(row.details["calls_per_second"]) == 4
