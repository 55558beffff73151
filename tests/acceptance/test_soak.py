"""Calls without end at 20 a second: memory stays flat, nothing leaks, the log keeps quiet.

The daemon is a process of its own on a real PostgreSQL; calls, CRM and Telegram are played by `vochi-agent simulate` in
another. `make soak` does it for an hour; here it is short, and memory is only held to a bound while caches fill.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
import pytest

from tests.support.daemon import DaemonProcess
from tests.support.postgres import PostgresServer
from tests.support.simulated import company
from vochi_agent.config import Address, load
from vochi_agent.errors import NotReachable
from vochi_agent.web.client import ask_metrics

SECONDS: Final = float(os.environ.get("VOCHI_SOAK_S", "12"))
# For a machine that others work on too.
RATE: Final = float(os.environ.get("VOCHI_SOAK_RATE", "20"))
LONG: Final = SECONDS >= 240
# Kinds of calls and how many of each a second.
KINDS: Final = {
    "kind = 'in'\nqueue = 'sales'\ntalk_s = 2": 8,
    "kind = 'in'\nqueue = 'sales'\nanswer = 'nobody'\ngives_up_s = 2": 3,
    "kind = 'in'\nring = ['150']\ntransfer_to = '152'\ntalk_s = 2": 2,
    "kind = 'in'\nfar = 'busy'": 1,
    "kind = 'in'\ncallers = ['+375290000022', 'hidden']\ntalk_s = 1": 2,
    "kind = 'out'\ntalk_s = 2": 3,
    "kind = 'internal'\ntalk_s = 1": 1,
}
SHARE: Final = RATE / sum(KINDS.values())
PEOPLE: Final = 500
# Until caches, pools and the allocator's arenas are full.
WARM_UP: Final = 0.4
FLAT: Final = 1.05 if LONG else 1.3
# One line an outage of a part; the rush of cards and the CRM's own limit are such.
LINES_A_MINUTE: Final = 12
QUIET_S: Final = 60.0
# The database's pool, the reader of the chat, work put off while the played CRM is gone. Of one lost a hundred calls,
# four minutes would leave fifty.
SPARE: Final = 10

pytestmark = [pytest.mark.alone, pytest.mark.timeout(SECONDS * 3 + 600)]


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment."""

    mib: float
    descriptors: int
    tasks: int


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
async def daemon(tmp_path: Path, dsn: str) -> AsyncIterator[DaemonProcess]:
    path = tmp_path / "config.toml"
    path.write_text(company(tmp_path, dsn))
    config = load(path)
    process = DaemonProcess(path, agi_port=config.fastagi.listen.port, http_port=config.http.listen.port)
    process.options = ()
    async with process:
        yield process


def placed(rate: int) -> int:
    """How many calls of a kind there are in all."""
    return max(1, round(SECONDS * rate * SHARE))


def scenario() -> str:
    calls = "".join(
        f"[[calls]]\n{kind}\nafter_s = 0.5\ncount = {placed(rate)}\nevery_s = {1 / rate / SHARE}\n"
        for kind, rate in KINDS.items()
    )
    person = '[[customers]]\nphone = "+375290000022"\nlast_name = "Тестов"\n'
    return f'strangers = {PEOPLE}\n[[queues]]\nname = "sales"\n{calls}{person}'


async def test_nothing_grows_at_twenty_calls_a_second(daemon: DaemonProcess, dsn: str, tmp_path: Path) -> None:
    plan = tmp_path / "soak.toml"
    plan.write_text(scenario())
    simulation = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vochi_agent", "-c", str(daemon.config), "simulate", str(plan), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.TaskGroup() as tasks:
            said = tasks.create_task(simulation.communicate(), name="what the simulation says")
            await daemon.until_ready(within=60)
            samples = [before := await sample(daemon)]
            while not said.done():
                await asyncio.wait([said], timeout=max(0.5, SECONDS / 300))
                with suppress(NotReachable):  # a busy machine
                    samples.append(await sample(daemon))
    finally:
        if simulation.returncode is None:
            simulation.kill()
    out, err = said.result()
    assert out, err.decode()
    after = await until_quiet(daemon, before)
    found = json.loads(out)
    report(found, samples, before, after, lines := daemon.log.read_text().splitlines())

    assert await rows_of(dsn) == found["stored"] == found["calls"] == sum(map(placed, KINDS.values()))
    warm = samples[int(len(samples) * WARM_UP) :]
    fifth = max(1, len(warm) // 5)
    first, last = median(each.mib for each in warm[:fifth]), median(each.mib for each in warm[-fifth:])
    assert last <= first * FLAT, f"{first:.1f} MiB grew to {last:.1f}"
    assert after.tasks <= before.tasks + SPARE
    assert after.descriptors <= before.descriptors + SPARE
    assert len(lines) <= 60 + LINES_A_MINUTE * SECONDS / 60, "\n".join(lines[-50:])
    assert not [line for line in lines if "Traceback" in line or " ERROR " in line]


async def rows_of(dsn: str) -> int:
    """How many calls the ledger has."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM calls"))
    finally:
        await connection.close()


async def sample(daemon: DaemonProcess) -> Sample:
    pages = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1])  # noqa: ASYNC240 - no disk stands behind it
    listen = Address("127.0.0.1", daemon.http_port)
    tasks = sum(int(value) for name, _, value in await ask_metrics(listen) if name == "vochi_tasks")
    descriptors = len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208
    return Sample(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), descriptors, tasks)


async def until_quiet(daemon: DaemonProcess, before: Sample) -> Sample:
    """When the last card and the last upload are through, or have had a minute; the simulated PBX is gone by then."""
    now = await sample(daemon)
    try:
        async with asyncio.timeout(QUIET_S):
            while now.tasks > before.tasks + SPARE or now.descriptors > before.descriptors + SPARE:
                await asyncio.sleep(0.5)
                with suppress(NotReachable):
                    now = await sample(daemon)
    except TimeoutError:
        pass
    return now


def report(found: dict[str, object], samples: list[Sample], before: Sample, after: Sample, lines: list[str]) -> None:
    """What `make soak` shows."""
    told = {key: found[key] for key in ("calls", "kinds", "stored", "dialplan", "slowest_s", "cards", "listed")}
    tenths = [f"{samples[min(len(samples) - 1, len(samples) * tenth // 10)].mib:.1f}" for tenth in range(11)]
    print(f"\n{told}\nMiB by tenths of the time: {' '.join(tenths)}\nat first {before}, at last {after}")
    print(
        f"at most {max(each.tasks for each in samples)} tasks, {max(each.descriptors for each in samples)} descriptors"
    )
    print(f"{len(lines)} lines of log in {SECONDS:g} s")
