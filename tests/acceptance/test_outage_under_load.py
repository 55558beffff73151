"""PostgreSQL gone for long while a real Asterisk is busy: nothing is lost, memory stays flat, nobody waits longer.

VOCHI_OUTAGE_S: how long it is gone; 600 is the length that is promised. VOCHI_SEED: the seed of an earlier run, which
every run prints.
"""

import asyncio
import itertools
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest

from tests.support.asterisk import Asterisk
from tests.support.books import assert_books_are_right, keep_evidence, settled, stored_calls
from tests.support.daemon import ask
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.tcp_gate import TcpGate
from tests.support.traffic import Kind, Traffic
from tests.support.world import World, world_around

OUTAGE_S = float(os.getenv("VOCHI_OUTAGE_S", "20"))
BEFORE_S, AFTER_S = 10.0, 5.0
WORKED_S = BEFORE_S + OUTAGE_S + AFTER_S
CALLS_PER_S = 5
# Questions of our own beside those of the dialplan: enough for a percentile that one hiccup of the machine does not
# decide.
ASKED_PER_S = 20
# About so many strangers: "nobody" is remembered, so the CRM's budget of requests is not what is measured.
STRANGERS = 8
DEADLINE_S = 1.5
# What counts for a question that was given no answer at all.
UNANSWERED_S = 2 * DEADLINE_S
# A daemon is warm when it answers as quickly as this, and is so after a minute on any machine.
WARM_S, WARM_WITHIN_S = 0.3, 60.0
# What the machine's own noise may add to one of two measurements.
NOISE_S = 0.25
# A finished call is 2 KB in memory: the calls of a long outage, kept there, would be seen.
GROWTH_BYTES = 16 << 20
# What waits is stored at some hundred calls a second on an idle machine; a tenth of that is asked for.
STORED_PER_S = 20
SETTLE_S = 30 + CALLS_PER_S * WORKED_S / STORED_PER_S
# A record's end is the customer's, it is told with the last channel of its call, and each channel of Asterisk ends in a
# thread of its own: calls that end this close together may be told in either order.
TEARDOWN_S = 0.2

# All of them short: a hundred pieces of ports go round among the callers' sipps, so each rests for 20 s between two
# calls, and no call lasts that long.
KINDS = (
    Kind("0000101", "hung_up", "answered", hold_s=(1.0, 2.0)),
    Kind("0000101", "hung_up", "answered", hold_s=(1.0, 2.0)),
    Kind("0000103", "gave_up", "missed", patience_s=(0.5, 2.0)),
    Kind("0000105", "refused", "missed"),  # busy
    Kind("80290000110", "hung_up", "answered", hold_s=(1.0, 2.0)),
    Kind("80290000198", "gave_up", "missed", patience_s=(0.5, 2.0)),
)

pytestmark = [pytest.mark.long(60), pytest.mark.asterisk, pytest.mark.timeout(OUTAGE_S + SETTLE_S + 120)]


@dataclass
class Office:
    """A busy office, and the way from its daemon to its database.

    Attributes:
        dice: Choose the kinds of calls; how each of them goes is the traffic's.
    """

    world: World
    database: TcpGate
    traffic: Traffic
    dice: Random
    questions: Iterator[int] = field(default_factory=itertools.count)

    async def warm_up(self) -> None:
        """Ask until a round about every stranger is quick.

        A new daemon still imports the Telegram library, which may cost an answer its deadline, and its CRM has not told
        yet that it knows none of them.
        """
        async with asyncio.timeout(WARM_WITHIN_S):
            seconds = [DEADLINE_S]
            while max(seconds) > WARM_S:
                seconds = [DEADLINE_S]
                with suppress(ConnectionError):
                    seconds = [(await self._asked())[1] for _ in range(STRANGERS)]

    async def work(self, seconds: float) -> list[float]:
        """Calls and questions for so long, and to the end of each; returns the seconds that each question took."""
        asked: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            end = time.monotonic() + seconds
            tasks.create_task(paced(tasks, end, CALLS_PER_S, self._call), name="calls")
            tasks.create_task(paced(tasks, end, ASKED_PER_S, lambda: self._ask(asked)), name="questions")
        await self.world.asterisk.until_idle()
        return asked

    def memory(self) -> int:
        """What the daemon holds of the machine's memory, bytes."""
        pages = int(Path(f"/proc/{self.world.daemon.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def _call(self) -> None:
        await self.traffic.place(self.dice.choice(KINDS))

    async def _ask(self, asked: list[float]) -> None:
        try:
            variables, seconds = await self._asked()
        except ConnectionError:
            asked.append(UNANSWERED_S)  # the daemon leaves a question whose deadline is over
            return
        assert variables["VOCHI_STATUS"]
        asked.append(seconds)

    async def _asked(self) -> tuple[dict[str, str], float]:
        return await ask(self.world.daemon.agi_port, f"3752900{next(self.questions) % STRANGERS:05}")


async def paced(tasks: asyncio.TaskGroup, end: float, per_second: float, work: Callable[[], Awaitable[None]]) -> None:
    """Begin the work evenly, whether what was begun before has ended or not."""

    async def one() -> None:
        await work()

    due = time.monotonic()
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        tasks.create_task(one(), name="paced")
        due += 1 / per_second


@pytest.fixture
async def office(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Office]:
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    print(f"VOCHI_SEED={seed} VOCHI_OUTAGE_S={OUTAGE_S:g}, evidence: {tmp_path}")  # noqa: T201 - a failure shows it
    async with (
        TcpGate(postgres.port) as gate,
        world_around(asterisk, sipp, postgres, tmp_path / "daemon", postgres_port=gate.port) as world,
    ):
        yield Office(world, gate, Traffic(sipp, Random(f"{seed} traffic")), Random(f"{seed} kinds"))


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


def out_of_order_s(ends: Sequence[datetime]) -> float:
    """By how much at most an end lies before one that stands ahead of it, seconds."""
    latest = accumulate(ends, max)
    return max((before - end).total_seconds() for before, end in zip(latest, ends, strict=True))


async def test_a_long_outage_costs_no_call_no_memory_and_no_patience(office: Office, tmp_path: Path) -> None:
    world, traffic = office.world, office.traffic
    await office.warm_up()
    before = await office.work(BEFORE_S)
    stored_before = await settled(world, traffic)
    held = office.memory()

    await office.database.close()
    during = await office.work(OUTAGE_S)
    growth = office.memory() - held
    stored_meanwhile = await stored_calls(world.dsn)
    await office.database.open()
    after = await office.work(AFTER_S)

    stored = await settled(world, traffic, within=SETTLE_S)
    keep_evidence(world, stored, [], tmp_path)
    written = [row["ended_at"] for row in sorted(stored, key=lambda row: row["id"])]
    print(  # noqa: T201 - the figures of the proof
        f"{len(stored)} calls, {len(stored) - len(stored_meanwhile)} of them spooled or after; p99 of"
        f" {len(before)}/{len(during)}/{len(after)} questions before, during, after:"
        f" {p99(before):.3f}/{p99(during):.3f}/{p99(after):.3f} s, longest {max(during):.3f} s; memory"
        f" {held >> 10} KiB + {growth >> 10} KiB; out of order by at most {out_of_order_s(written):.3f} s"
    )
    assert len(stored_meanwhile) == len(stored_before), "the outage was none"
    assert len(stored) >= CALLS_PER_S * WORKED_S * 0.95, "fewer calls than were asked for"
    assert not traffic.broken
    await assert_books_are_right(world, traffic, stored)
    assert {row["source"] for row in stored} == {"live"}, "not from the spool"
    assert out_of_order_s(written) <= TEARDOWN_S, "stored in another order than ended"
    assert growth < GROWTH_BYTES
    assert p99(during) < DEADLINE_S
    assert p99(during) < max(2 * p99(before), p99(before) + NOISE_S), (p99(before), p99(during))
