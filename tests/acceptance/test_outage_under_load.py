"""PostgreSQL gone for a long time while calls come in: nothing is lost, memory stays flat, callers wait no longer.

VOCHI_OUTAGE_S: how long it is gone; 600 is the length that is promised.
"""

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.daemon import DaemonProcess, ask
from tests.support.postgres import PostgresServer
from tests.support.tcp_gate import TcpGate
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.simulator.retailcrm import RetailCrmSandbox

OUTAGE_S = float(os.getenv("VOCHI_OUTAGE_S", "20"))
BEFORE_S, AFTER_S = 10.0, 3.0
CALLS_PER_S = 5
# Questions of our own besides: enough of them for a percentile that one hiccup of the machine does not decide.
ASKED_PER_S = 20
DEADLINE_S = 1.5
# What the machine's own noise may add to one of two measurements.
NOISE_S = 0.25
# A finished call is 2 KB in memory: the calls of the outage, kept there twenty times over, would be seen.
GROWTH_BYTES = 16 << 20

pytestmark = pytest.mark.timeout(OUTAGE_S * 2 + 120)


@dataclass
class Office:
    """A busy office: its PBX, its daemon, and the way to its database.

    Attributes:
        calls: The linkedids of all calls that ended.
    """

    pbx: Pbx
    daemon: DaemonProcess
    database: TcpGate
    dsn: str
    calls: list[str] = field(default_factory=list)
    numbers: Iterable[int] = field(default_factory=itertools.count)

    async def work(self, seconds: float) -> list[float]:
        """Calls and questions for so long; returns the seconds that each question took."""
        async with asyncio.TaskGroup() as tasks:
            end = time.monotonic() + seconds
            tasks.create_task(paced(tasks, end, CALLS_PER_S, self._call), name="calls")
            asked: list[float] = []
            tasks.create_task(paced(tasks, end, ASKED_PER_S, lambda: self._ask(asked)), name="questions")
        return asked

    def memory(self) -> int:
        """What the daemon holds of the machine's memory, bytes."""
        pages = int(Path(f"/proc/{self.daemon.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def _call(self) -> None:
        number = next(iter(self.numbers))
        answer = "101" if number % 3 else ""
        linkedid = await self.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=f"3752900{number % 40:05}", ring=["101"], answer=answer,
            talk_s=2.0, timeout_s=4.0,
        )  # fmt: skip
        self.calls.append(linkedid)

    async def _ask(self, asked: list[float]) -> None:
        number = next(iter(self.numbers))
        variables, seconds = await ask(self.daemon.agi_port, f"3752900{number % 40:05}")
        assert variables["VOCHI_STATUS"]
        asked.append(seconds)


async def paced(
    tasks: asyncio.TaskGroup, end: float, per_second: float, work: Callable[[], "asyncio._CoroutineLike[None]"]
) -> None:
    """Begin the work evenly, whether what was begun before has ended or not."""
    due = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= due:
            tasks.create_task(work())
            due += 1 / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))


@pytest.fixture
async def office(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Office]:
    async with (
        postgres.database() as dsn,
        TcpGate(postgres.port) as gate,
        RetailCrmSandbox(api_key="key") as crm,
        Pbx(phones={"101": ""}, trunks=["PJSIP/gsm1"], users={"vochi": User(secret="s")}, speed=5) as pbx,
    ):
        daemon = DaemonProcess.of(
            tmp_path,
            ami_port=pbx.manager.port,
            secret="s",
            crm_url=crm.url,
            database=dsn.replace(f":{postgres.port}/", f":{gate.port}/"),
        )
        async with daemon:
            await daemon.until_ready()
            yield Office(pbx, daemon, gate, dsn)


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


async def stored(dsn: str, count: int) -> list[tuple[str, object]]:
    """Linkedid and end of all rows, in the order in which they were written, once there are so many."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(30 + count / 20):
            while True:
                rows = await connection.fetch("SELECT linkedid, ended_at FROM calls ORDER BY id")
                if len(rows) >= count:
                    return [(row["linkedid"], row["ended_at"]) for row in rows]
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def test_a_long_outage_costs_no_call_no_memory_and_no_patience(office: Office) -> None:
    before = await office.work(BEFORE_S)
    held = office.memory()

    await office.database.close()
    during = await office.work(OUTAGE_S)
    held_after = office.memory()
    ended = len(office.calls)
    seen = await stored(office.dsn, 0)
    await office.database.open()
    await office.work(AFTER_S)

    rows = await stored(office.dsn, len(office.calls))
    assert len(seen) < ended - CALLS_PER_S * (OUTAGE_S - 2), "the outage was none"
    assert sorted(linkedid for linkedid, _ in rows) == sorted(office.calls)
    ends = [end for _, end in rows]
    assert ends == sorted(ends), "stored in another order than ended"
    assert await audit(office.dsn) == []
    assert held_after - held < GROWTH_BYTES
    assert max(during) < DEADLINE_S
    assert p99(during) < max(2 * p99(before), p99(before) + NOISE_S), (p99(before), p99(during))
