"""The spool on a real disk: order, crashes, damage, a full spool, a disk that refuses."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.spooling import finished
from vochi_agent.calls.model import CallMerged
from vochi_agent.errors import ConfigError, SpoolUnavailable
from vochi_agent.ports import LedgerEntry
from vochi_agent.store.segments import Position, Segments
from vochi_agent.store.spool import DiskSpool
from vochi_agent.store.spool_format import encode

LIMIT_BYTES = 1 << 20
LINE_BYTES = len(encode(finished(1)))
MERGE = CallMerged(enterprise_number="0901", linkedid="000001", into="000002")


@asynccontextmanager
async def crashing(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[DiskSpool]:
    """A spool of a process that ends without closing anything: the files stay as they are, the lock is let go."""
    spool = DiskSpool(folder, limit_bytes=limit_bytes)
    await spool.__aenter__()
    try:
        yield spool
    finally:
        await asyncio.to_thread(spool._segments.close)


async def taken(spool: DiskSpool, limit: int = 64) -> list[LedgerEntry]:
    """Everything that waits, as the ledger would take it."""
    found: list[LedgerEntry] = []
    while spool.state.calls:
        for entry in await spool.oldest(limit):
            found.append(entry)
            spool.advance()
    await spool.oldest(limit)
    return found


def segments_in(folder: Path) -> list[Path]:
    """The files that calls wait in, oldest first."""
    return sorted(folder.glob("*.lines"))


def modes(folder: Path) -> set[int]:
    """What others may do with the folder and what is in it."""
    return {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}


def fill(file: Path) -> None:
    """Write until the disk has no space left."""
    with file.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def remount(folder: Path, how: str) -> None:
    """Make a disk read-only (`ro`) or writable (`rw`)."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_entries_come_back_in_order_and_leave_nothing_behind(folder: Path) -> None:
    entries = [finished(1), MERGE, *map(finished, range(2, 200))]
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        await spool.append(entries[:3])
        await spool.append(entries[3:])

        assert (spool.state.calls, spool.state.bytes > 0) == (200, True)
        assert await taken(spool, limit=7) == entries
        assert (spool.state.calls, spool.state.bytes) == (0, 0)
    assert segments_in(folder) == []


async def test_what_was_appended_outlives_a_crash(folder: Path) -> None:
    async with crashing(folder) as spool:
        await spool.append([finished(1), finished(2)])
    async with crashing(folder) as spool:
        await spool.append([finished(3)])

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.state.calls == 3
        assert await taken(spool) == [finished(1), finished(2), finished(3)]


async def test_a_crash_repeats_at_most_the_batch_in_hand(folder: Path) -> None:
    async with crashing(folder) as spool:
        await spool.append([finished(number) for number in range(20)])
        for _ in range(2):
            for _ in await spool.oldest(6):
                spool.advance()
        await spool.oldest(6)
        spool.advance()

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(number) for number in range(12, 20)]


async def test_an_orderly_stop_repeats_nothing(folder: Path) -> None:
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        await spool.append([finished(number) for number in range(3)])
        await spool.oldest(64)
        spool.advance()

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(1), finished(2)]


async def test_numbers_of_segments_never_come_again(folder: Path) -> None:
    """A position kept from an earlier segment must not skip lines of a new one."""
    async with crashing(folder) as spool:
        await spool.append([finished(number) for number in range(5)])
        assert len(await taken(spool)) == 5
    async with crashing(folder) as spool:
        await spool.append([finished(number) for number in range(10, 20)])

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(number) for number in range(10, 20)]


async def test_a_torn_last_line_is_passed_over(folder: Path) -> None:
    async with crashing(folder) as spool:
        await spool.append([finished(1), finished(2)])
    (segment,) = segments_in(folder)
    with segment.open("ab") as file:
        file.write(encode(finished(3))[:-20])

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        await spool.append([finished(4)])
        assert await taken(spool) == [finished(1), finished(2), finished(4)]
        assert spool.state.dropped == 0


async def test_a_damaged_line_costs_one_call_and_is_dated(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with crashing(folder) as spool:
        await spool.append([finished(number) for number in range(5)])
    (segment,) = segments_in(folder)
    content = bytearray(segment.read_bytes())
    content[LINE_BYTES * 2 + 30] ^= 1
    segment.write_bytes(content)

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(number) for number in (0, 1, 3, 4)]
        assert (spool.state.calls, spool.state.dropped) == (0, 1)
        assert spool.state.lost_since == finished(0).call.ended_at
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.state.lost_since == finished(0).call.ended_at
        await spool.gap_filled()
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.state.lost_since is None


async def test_a_segment_that_is_gone_costs_its_calls_only(folder: Path) -> None:
    for first in (0, 5, 10):
        async with crashing(folder) as spool:
            await spool.append([finished(number) for number in range(first, first + 5)])
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        segments_in(folder)[1].unlink()

        assert await taken(spool, limit=3) == [finished(number) for number in (*range(5), *range(10, 15))]
        assert spool.state.dropped == 5
        assert spool.state.lost_since == finished(5).call.ended_at


async def test_a_broken_position_only_repeats(folder: Path) -> None:
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        await spool.append([finished(1), finished(2)])
        await spool.oldest(64)
        spool.advance()
    (folder / "position").write_bytes(b"")

    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(1), finished(2)]


async def test_a_full_spool_drops_the_rest_says_so_once_and_takes_again_when_there_is_room(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit_bytes = LINE_BYTES * 100
    async with DiskSpool(folder, limit_bytes=limit_bytes) as spool:
        for first in range(0, 200, 10):
            await spool.append([finished(number) for number in range(first, first + 10)])

        assert (spool.state.calls, spool.state.dropped) == (100, 100)
        assert spool.state.bytes <= limit_bytes
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert spool.state.lost_since == finished(100).call.ended_at
        for _ in await spool.oldest(50):
            spool.advance()
        await spool.oldest(1)
        await spool.append([finished(200)])
        assert await taken(spool) == [*map(finished, range(50, 100)), finished(200)]
    async with DiskSpool(folder, limit_bytes=limit_bytes) as spool:
        assert spool.state.lost_since == finished(100).call.ended_at


async def test_a_merge_that_is_lost_is_dated_by_the_clock(folder: Path) -> None:
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES, clock=lambda: 1795165024.5) as spool:
        spool.lose([MERGE])

        assert spool.state.lost_since == datetime.fromtimestamp(1795165024.5, UTC)


async def test_a_second_daemon_on_the_folder_is_refused(folder: Path) -> None:
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES):
        with pytest.raises(ConfigError, match=rf"daemon\.state_dir: .* is used by process {os.getpid()}"):
            await DiskSpool(folder, limit_bytes=LIMIT_BYTES).__aenter__()
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.state.problem == ""


async def test_others_cannot_read_what_waits(folder: Path) -> None:
    async with DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool:
        await spool.append([finished(1)])

        assert len(segments_in(folder)) == 1
        assert modes(folder) == {0}


async def test_a_disk_without_space_keeps_what_it_has_and_is_used_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with crashing(small_disk / "spool") as spool:
        await spool.append([finished(1)])
        ballast = small_disk / "ballast"
        fill(ballast)
        many = [finished(number) for number in range(2, 66)]
        for _ in range(3):
            with pytest.raises(SpoolUnavailable, match="No space"):
                await spool.append(many)
        assert (spool.state.calls, "No space" in spool.state.problem) == (1, True)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        ballast.unlink()
        await spool.append(many)
        assert (spool.state.calls, spool.state.problem) == (65, "")

    async with DiskSpool(small_disk / "spool", limit_bytes=LIMIT_BYTES) as spool:
        assert await taken(spool) == [finished(1), *many]


async def test_a_folder_that_cannot_be_made_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state_dir = tmp_path / "state"
    state_dir.write_text("a file where a folder should be")
    async with DiskSpool(state_dir / "spool", limit_bytes=LIMIT_BYTES) as spool:
        for _ in range(2):
            with pytest.raises(SpoolUnavailable):
                await spool.append([finished(1)])
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        state_dir.unlink()

        await spool.append([finished(1)])
        assert await taken(spool) == [finished(1)]


async def test_a_read_only_disk_is_said_once_and_tried_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remount(small_disk, "ro")
    async with DiskSpool(small_disk / "spool", limit_bytes=LIMIT_BYTES) as spool:
        assert "Read-only" in spool.state.problem
        with pytest.raises(SpoolUnavailable, match="Read-only"):
            await spool.append([finished(1)])
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        remount(small_disk, "rw")

        await spool.append([finished(1)])
        assert await taken(spool) == [finished(1)]


def test_positions_advance_over_segments(tmp_path: Path) -> None:
    segments = Segments(tmp_path, limit_bytes=80)
    done, waiting = segments.open()
    begun = datetime(2026, 11, 20, tzinfo=UTC)
    for text in (b"0123456789\n", b"a\n", b"b\n"):
        assert segments.append([text], begun) == 1

    assert waiting == 0
    lines = segments.read(done, 10)
    assert [line.text for line in lines] == [b"0123456789\n", b"a\n", b"b\n"]
    assert [line.behind for line in lines] == [Position(1, 11, 1), Position(2, 2, 1), Position(2, 4, 2)]
    segments.forget(lines[0].behind)
    assert segments.size == 4
    segments.close()
