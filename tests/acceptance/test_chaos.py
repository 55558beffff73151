"""Everything breaks at random moments during mixed traffic; in the end every call is in the books exactly once.

VOCHI_CHAOS_S: seconds of traffic. VOCHI_SEED: the seed of an earlier run, which every run prints.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.support.asterisk import Asterisk
from tests.support.books import SETTLE_S, assert_books_are_right, keep_evidence, settled
from tests.support.postgres import SURVIVES_A_CRASH, PostgresServer
from tests.support.sipp import Sipp
from tests.support.tcp_gate import TcpGate
from tests.support.traffic import Traffic
from tests.support.world import World, world_around
from vochi_agent.store.installations import find_installation

TRAFFIC_S = float(os.getenv("VOCHI_CHAOS_S", "45"))

pytestmark = [pytest.mark.long(90), pytest.mark.asterisk, pytest.mark.timeout(TRAFFIC_S + SETTLE_S + 120)]


@dataclass
class Stage:
    """The company, and what can be broken in it.

    Attributes:
        ami: Between daemon and Asterisk.
        database: Between daemon and PostgreSQL.
        happened: What was broken and when, for whoever reads a failure.
    """

    world: World
    server: PostgresServer
    ami: TcpGate
    database: TcpGate
    happened: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Note it with the time, epoch seconds as in a linkedid."""
        self.happened.append(f"{time.time():.3f} {what}")


@pytest.fixture
async def stage(asterisk: Asterisk, sipp: Sipp, tmp_path: Path) -> AsyncIterator[Stage]:
    """A PostgreSQL of the test's own, which does not forget what it has promised when it crashes."""
    async with AsyncExitStack() as stack:
        server = PostgresServer(find_installation().path / "bin", tmp_path, settings=SURVIVES_A_CRASH)
        stack.enter_context(server)
        await server.make_template()
        ami = await stack.enter_async_context(TcpGate(asterisk.ports.ami))
        database = await stack.enter_async_context(TcpGate(server.port))
        around = world_around(
            asterisk, sipp, server, tmp_path / "daemon", ami_port=ami.port, postgres_port=database.port
        )
        yield Stage(await stack.enter_async_context(around), server, ami, database)


# ---------------------------------------------------------------- what breaks

Break = Callable[[Stage, Random], Awaitable[None]]


async def kill_the_daemon(stage: Stage, dice: Random) -> None:
    await stage.world.daemon.kill()
    await asyncio.sleep(dice.uniform(0.0, 4.0))
    await stage.world.daemon.start()


async def freeze_the_daemon(stage: Stage, dice: Random) -> None:
    stage.world.daemon.freeze()
    await asyncio.sleep(dice.uniform(0.3, 8.0))
    stage.world.daemon.thaw()


async def restart_postgresql(stage: Stage, dice: Random) -> None:
    await asyncio.to_thread(stage.server.stop, dice.choice((signal.SIGINT, signal.SIGQUIT)))
    await asyncio.sleep(dice.uniform(0.0, 4.0))
    await asyncio.to_thread(stage.server.start)


async def cut_postgresql(stage: Stage, dice: Random) -> None:
    await cut(stage.database, dice.uniform(0.0, 5.0))


async def mute_postgresql(stage: Stage, dice: Random) -> None:
    await mute(stage.database, dice.uniform(0.5, 6.0))


async def cut_ami(stage: Stage, dice: Random) -> None:
    await cut(stage.ami, dice.uniform(0.0, 3.0))


async def mute_ami(stage: Stage, dice: Random) -> None:
    await mute(stage.ami, dice.uniform(0.5, 4.0))


async def cut(gate: TcpGate, seconds: float) -> None:
    await gate.close()
    await asyncio.sleep(seconds)
    await gate.open()


async def mute(gate: TcpGate, seconds: float) -> None:
    gate.freeze()
    await asyncio.sleep(seconds)
    gate.thaw()


# Each list is somebody of his own, so that misfortunes meet.
BREAKS: dict[str, tuple[Break, ...]] = {
    "daemon": (kill_the_daemon, freeze_the_daemon),
    "database": (restart_postgresql, cut_postgresql, mute_postgresql),
    "ami": (cut_ami, mute_ami),
}
PAUSE_S = (2.0, 7.0)


async def break_things(stage: Stage, breaks: Sequence[Break], dice: Random, until: float) -> None:
    """Everything of the list in a new order each time; what was begun is mended."""
    while True:
        for what in dice.sample(breaks, len(breaks)):
            await asyncio.sleep(dice.uniform(*PAUSE_S))
            if time.monotonic() > until:
                return
            stage.say(what.__name__)
            await what(stage, dice)
            stage.say(f"{what.__name__}: mended")


async def test_every_call_is_in_the_books_once_whatever_broke(stage: Stage, tmp_path: Path) -> None:
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    print(f"VOCHI_SEED={seed} VOCHI_CHAOS_S={TRAFFIC_S:g}, evidence: {tmp_path}")  # noqa: T201 - a failure shows it
    traffic = Traffic(stage.world.sipp, Random(f"{seed} traffic"))
    until = time.monotonic() + TRAFFIC_S
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic.run(TRAFFIC_S), name="traffic")
        for name, breaks in BREAKS.items():
            tasks.create_task(break_things(stage, breaks, Random(f"{seed} {name}"), until), name=f"breaks {name}")
    await stage.world.asterisk.until_idle()
    stored = await settled(stage.world, traffic)
    keep_evidence(stage.world, stored, stage.happened, tmp_path)

    assert not traffic.broken
    await assert_books_are_right(stage.world, traffic, stored)
