"""One, ten and a hundred PBXs with the same calls in all: what an enterprise costs that is not a call.

Judged by the CPU time that a daemon uses for a fixed set of calls at a fixed rate, with everything that it does
meanwhile for PBXs on which nothing happens: heartbeats, pings, the ledger of watched time, the database's locks. Time
on the wall would say how busy PostgreSQL and the machine are; CPU time is the same to a few percent in every round.
The daemons live beside each other and have their rounds by turns, so that all of them see the same machine.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from benchmarks.row import Reach, Row
from benchmarks.support.offices import DAEMON_CORE, OUR_CORE, Offices, cpu_seconds, pin, postgres
from benchmarks.support.recorded import MIX, Recording

REACH: Final = Reach(at_least=0.85)


@dataclass
class Measured:
    """What one daemon has used.

    Attributes:
        busy: CPU microseconds a call, by rounds.
        idle: CPU milliseconds a second while another daemon had its round.
    """

    busy: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)

    def add(self, cpu_s: float, wall_s: float, calls: int) -> None:
        """A round; without calls it was another daemon's."""
        if calls:
            self.busy.append(cpu_s / calls * 1e6)
        else:
            self.idle.append(cpu_s / wall_s * 1e3)


async def measure(sizes: Sequence[int], *, calls: int, per_second: float, rounds: int) -> Mapping[int, Measured]:
    """The rounds of daemons with so many PBXs each, by turns."""
    recordings = [Recording(name) for name in MIX]
    measured = {size: Measured() for size in sizes}
    async with postgres() as (server, folder), AsyncExitStack() as stack:
        offices = {}
        for size in sizes:
            database = await stack.enter_async_context(server.database())
            offices[size] = await stack.enter_async_context(Offices(size, database, folder / f"of-{size}"))
            await offices[size].daemon.start()
        for office in offices.values():
            await office.until_followed()
            pin(office.daemon.pid, DAEMON_CORE)
            # The first calls prepare statements and fill caches.
            await office.play(recordings, len(recordings), per_second=per_second)
            await office.stored()
        for turn in range(rounds):
            for size, office in offices.items():
                print(f"round {turn + 1} of {rounds}: {size} PBXs", file=sys.stderr)
                began, before = time.perf_counter(), _used(offices)
                await office.play(recordings, calls, per_second=per_second)
                await office.stored()
                seconds = time.perf_counter() - began
                for other, used in _used(offices).items():
                    measured[other].add(used - before[other], seconds, calls if other == size else 0)
    return measured


def _used(offices: Mapping[int, Offices]) -> Mapping[int, float]:
    """CPU seconds of every daemon so far."""
    return {size: cpu_seconds(office.daemon.pid) for size, office in offices.items()}


def row(measured: Mapping[int, Measured], *, calls: int, per_second: float) -> Row:
    """The fewest PBXs beside the most."""
    few, many = min(measured), max(measured)
    cost = {size: statistics.median(each.busy) for size, each in measured.items()}
    return Row(
        work=f"the same calls of {many} PBXs",
        ours=f"{cost[many]:,.0f} µs of CPU a call",
        against=f"of {few} PBX",
        theirs=f"{cost[few]:,.0f} µs of CPU a call",
        figure=cost[few] / cost[many],
        unit="×",
        reach=REACH,
        details={
            "calls_a_round": calls,
            "calls_a_second": per_second,
            "us_a_call": {str(size): round(each) for size, each in cost.items()},
            "us_a_call_by_rounds": {str(size): [round(us) for us in each.busy] for size, each in measured.items()},
            "idle_ms_a_second": {
                str(size): round(statistics.median(each.idle), 2) for size, each in measured.items() if each.idle
            },
        },
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pbxs", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--calls", type=int, default=400, help="in a round of one daemon")
    parser.add_argument("--per-second", type=float, default=200.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    pin(os.getpid(), OUR_CORE)
    measured = asyncio.run(measure(given.pbxs, calls=given.calls, per_second=given.per_second, rounds=given.rounds))
    print(row(measured, calls=given.calls, per_second=given.per_second).to_json())


if __name__ == "__main__":
    main()
