"""Finished calls while PostgreSQL is away, silent or slow, with real files and a real server behind a gate."""

import asyncio
import contextlib
import secrets
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.calls import answered
from tests.support.spooling import LIMIT_BYTES, finished, one_card, until_stored
from tests.support.tcp_gate import TcpGate
from vochi_agent.call_log import CallLog
from vochi_agent.calls.model import Call, CallFinished, CallMerged
from vochi_agent.customers.model import Customer, History
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft, Renderer
from vochi_agent.rendering import Rendering
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.spool import DiskSpool

ROOT = Path(__file__).parents[2]
WITHIN_S = 20.0


@pytest.fixture
def behind_gate(gate: TcpGate, dsn: str) -> str:
    """The DSN through the gate."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{gate.port}").geturl()


@asynccontextmanager
async def logging(
    dsn: str,
    folder: Path,
    *,
    render: Renderer = one_card,
    limit_bytes: int = LIMIT_BYTES,
    ready: bool = True,
    answers_lost: int = 0,
) -> AsyncIterator[tuple[CallLog, Metrics]]:
    """A call log at work."""
    metrics = Metrics()
    async with (
        PostgresStore(dsn, pool_size=2) as store,
        DiskSpool(folder / "spool", limit_bytes=limit_bytes) as spool,
        asyncio.TaskGroup() as tasks,
    ):
        if answers_lost:
            store.calls.record_some = answers_are_lost(store.calls.record_some, answers_lost)
        call_log = CallLog(
            store.calls,
            store.customers,
            spool,
            renderer=Rendering({"0901": render}).of,
            cards_changed=lambda: None,
            metrics=metrics,
        )
        if ready:
            call_log.store_ready()
        running = tasks.create_task(call_log.run(), name="call log")
        try:
            yield call_log, metrics
        finally:
            running.cancel()


def answers_are_lost(record: Callable[..., Awaitable[Any]], times: int) -> Callable[..., Awaitable[Any]]:
    """The ledger behind a connection that breaks just after each of the first commits."""
    left = times

    async def recorded(*arguments: Any) -> Any:
        nonlocal left
        done = await record(*arguments)
        if left:
            left -= 1
            raise StoreUnavailable("the connection was cut")
        return done

    return recorded


async def stored(dsn: str) -> list[str]:
    """The linkedids in the order they were stored."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT linkedid FROM calls ORDER BY id")
    await connection.close()
    return [row["linkedid"] for row in rows]


async def counted(dsn: str) -> int:
    """The calls that the customers' counters know of."""
    connection = await asyncpg.connect(dsn)
    total = await connection.fetchval("SELECT sum(calls_total_in) FROM customers")
    await connection.close()
    return int(total or 0)


def numbered(numbers: Sequence[int]) -> list[str]:
    return [f"{number:06d}" for number in numbers]


async def tell_many(call_log: CallLog, numbers: Sequence[int]) -> None:
    """Calls that end one after the other, each kept before the next one ends."""
    for number in numbers:
        call_log.tell(finished(number))
        await call_log.drained()


async def test_while_the_database_works_nothing_touches_the_disk(dsn: str, tmp_path: Path) -> None:
    async with logging(dsn, tmp_path) as (call_log, _):
        await tell_many(call_log, range(3))

        assert call_log.state.spool.bytes == 0
    assert await stored(dsn) == numbered(range(3))


async def test_a_call_whose_commit_nobody_heard_of_is_stored_and_counted_once(dsn: str, tmp_path: Path) -> None:
    async with logging(dsn, tmp_path, answers_lost=2) as (call_log, metrics):
        await tell_many(call_log, range(3))
        await until_stored(call_log, within=WITHIN_S)

        told = [sample.value for each in metrics.calls.collect() for sample in each.samples if "total" in sample.name]
        assert sum(told) == 3
    assert await stored(dsn) == numbered(range(3))
    assert await counted(dsn) == 3


async def test_calls_of_an_outage_are_stored_in_order_and_those_after_it_behind_them(
    gate: TcpGate, behind_gate: str, dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vochi_agent.backlog")
    async with logging(behind_gate, tmp_path) as (call_log, metrics):
        await tell_many(call_log, range(2))
        await gate.close()
        await tell_many(call_log, range(2, 40))
        assert (call_log.state.in_memory, call_log.state.spool.calls) == (0, 38)
        assert metrics.registry.get_sample_value("vochi_calls_waiting") == 38
        assert metrics.registry.get_sample_value("vochi_spool_calls") == 38
        assert metrics.registry.get_sample_value("vochi_spool_bytes") == call_log.state.spool.bytes > 0
        await gate.open()
        await tell_many(call_log, range(40, 60))
        await until_stored(call_log, within=WITHIN_S)
        await tell_many(call_log, range(60, 62))
        assert metrics.registry.get_sample_value("vochi_calls_waiting") == 0

    assert await stored(dsn) == numbered(range(62))
    assert await counted(dsn) == 62
    actions = [record.action for record in caplog.records if record.name == "vochi_agent.backlog"]
    assert actions == ["spool_begins", "spool_empty"]


async def test_a_silent_database_leaves_no_call_in_memory_for_long(
    gate: TcpGate, behind_gate: str, dsn: str, tmp_path: Path
) -> None:
    async with logging(behind_gate, tmp_path) as (call_log, _):
        await tell_many(call_log, range(1))
        gate.freeze()
        async with asyncio.timeout(2.5):
            await tell_many(call_log, range(1, 10))
        assert call_log.state.spool.calls == 9
        gate.thaw()
        await until_stored(call_log, within=WITHIN_S)

    assert await stored(dsn) == numbered(range(10))
    assert await counted(dsn) == 10


async def test_killed_in_the_outage_and_in_the_catching_up_nothing_is_lost_or_counted_twice(
    gate: TcpGate, behind_gate: str, dsn: str, tmp_path: Path
) -> None:
    """Three lives: killed while PostgreSQL is away, killed while it stores what waited, and one that finishes."""

    async def many(said: list[str]) -> bool:
        return len(said) >= 300

    async def some_stored(said: list[str]) -> bool:
        return len(await stored(dsn)) >= 20

    async def all_stored(said: list[str]) -> bool:
        return said[-1] == "stored"

    await gate.close()
    kept = await life(behind_gate, tmp_path, range(100_000), until=many)
    await gate.open()
    kept += await life(behind_gate, tmp_path, range(len(kept), 100_000), until=some_stored)
    at_the_kill = await stored(dsn)
    kept += await life(behind_gate, tmp_path, range(len(kept), len(kept) + 10), until=all_stored)

    assert 20 <= len(at_the_kill) < 300
    assert kept == [*numbered(range(len(kept) - 1)), "stored"]
    assert await stored(dsn) == kept[:-1]
    assert await counted(dsn) == len(kept) - 1


async def life(dsn: str, folder: Path, numbers: range, *, until: Callable[[list[str]], Awaitable[bool]]) -> list[str]:
    """Run a call log in a process and kill it hard when `until` is true of what it has said; all that it said."""
    arguments = [dsn, str(folder / "spool"), str(numbers.start), str(len(numbers)), "0.002"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.spooling", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            async for line in process.stdout:
                said.append(line.decode().strip())
                if await until(said):
                    break
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    said += [line.decode().strip() async for line in process.stdout if line.endswith(b"\n")]
    await process.wait()
    return said


async def test_calls_of_an_earlier_life_wait_for_the_schema(dsn: str, tmp_path: Path) -> None:
    async with logging(dsn, tmp_path, ready=False) as (call_log, _):
        await tell_many(call_log, range(5))
        assert call_log.state.spool.calls == 5
        assert await stored(dsn) == []
    async with logging(dsn, tmp_path, ready=False) as (call_log, _):
        assert call_log.state.spool.calls == 5
        call_log.store_ready()
        await until_stored(call_log, within=WITHIN_S)

    assert await stored(dsn) == numbered(range(5))


async def test_what_is_in_memory_at_the_end_goes_to_the_disk(gate: TcpGate, behind_gate: str, tmp_path: Path) -> None:
    gate.freeze()
    async with logging(behind_gate, tmp_path) as (call_log, _):
        await asyncio.sleep(0)
        for number in range(200):
            call_log.tell(finished(number))

    async with DiskSpool(tmp_path / "spool", limit_bytes=LIMIT_BYTES) as spool:
        assert spool.state.calls == 200


async def test_a_merge_in_the_outage_follows_its_call(
    gate: TcpGate, behind_gate: str, dsn: str, tmp_path: Path
) -> None:
    async with logging(behind_gate, tmp_path) as (call_log, _):
        await gate.close()
        await tell_many(call_log, range(2))
        call_log.tell(CallMerged(enterprise_number="0901", linkedid="000000", into="000001"))
        await call_log.drained()
        await gate.open()
        await until_stored(call_log, within=WITHIN_S)

    assert await counted(dsn) == 1


async def test_without_a_disk_calls_wait_in_memory_and_nothing_is_raised(
    gate: TcpGate, behind_gate: str, dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state_dir = tmp_path / "state"
    state_dir.write_text("a file where a folder should be")
    async with logging(behind_gate, state_dir) as (call_log, metrics):
        await gate.close()
        for number in range(30):
            call_log.tell(finished(number))
        assert metrics.registry.get_sample_value("vochi_spool_up") == 0
        await gate.open()
        await until_stored(call_log, within=WITHIN_S)

    assert await stored(dsn) == numbered(range(30))
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]


async def test_memory_stays_flat_when_the_spool_is_full(gate: TcpGate, behind_gate: str, tmp_path: Path) -> None:
    await gate.close()
    async with logging(behind_gate, tmp_path, limit_bytes=100_000) as (call_log, metrics):
        await fill(call_log, range(2_000))
        tracemalloc.start()
        await fill(call_log, range(2_000, 12_000))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        state = call_log.state
        assert metrics.registry.get_sample_value("vochi_calls_dropped_total") == state.spool.dropped

    assert state.in_memory == 0
    assert state.spool.calls + state.spool.dropped == 12_000
    assert state.spool.bytes <= 100_000
    first_lost = finished(state.spool.calls).call
    assert state.spool.lost_since == first_lost.ended_at
    assert grown < 500_000


async def fill(call_log: CallLog, numbers: range) -> None:
    """Many calls at once, in portions that memory may hold."""
    for first in range(numbers.start, numbers.stop, 500):
        for number in range(first, first + 500):
            call_log.tell(finished(number))
        await call_log.drained()


@pytest.mark.parametrize(
    "fault", [{"linkedid": secrets.token_hex(5000)}, {"wait_seconds": "long"}], ids=["by the server", "by the driver"]
)
async def test_a_call_that_can_never_be_stored_holds_up_nobody(
    fault: dict[str, str],
    gate: TcpGate,
    behind_gate: str,
    dsn: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    impossible = CallFinished(answered(**{"linkedid": "000000", **fault}))
    async with logging(behind_gate, tmp_path) as (call_log, _):
        call_log.tell(impossible)
        await call_log.drained()
        await gate.close()
        call_log.tell(finished(1))
        call_log.tell(impossible)
        call_log.tell(finished(2))
        await call_log.drained()
        await gate.open()
        await until_stored(call_log, within=WITHIN_S)
        assert call_log.state.spool.dropped == 2

    assert await stored(dsn) == numbered([1, 2])
    assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["call_refused"] * 2


async def test_a_bug_in_the_cards_costs_the_cards_only(
    dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
        raise KeyError("a bug on purpose")

    async with logging(dsn, tmp_path, render=broken) as (call_log, _):
        await tell_many(call_log, range(2))

    assert await stored(dsn) == numbered(range(2))
    assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["card_bug"] * 2


async def test_a_call_of_an_enterprise_that_is_no_longer_configured_is_stored(dsn: str, tmp_path: Path) -> None:
    async with logging(dsn, tmp_path) as (call_log, _):
        call_log.tell(CallFinished(answered(enterprise_number="0999", linkedid="000009")))
        await call_log.drained()

    assert await stored(dsn) == numbered([9])
