"""How soon a daemon answers callers, and how much memory it takes: idle, with a bot, and while thousands of calls live.

The daemon is a process of its own, as systemd would run it, with a real PostgreSQL; PBX and Telegram are played here.
A start is timed from before its process exists to the last variable of the first FastAGI answer. Live calls are
recorded ones, cut while they ring or talk: what a call costs is what the process has grown by between fewer and more of
them, with everything that follows them (the call machine, live cards, the customers that are remembered).
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.row import Reach, Row
from benchmarks.support.offices import CHAT, PATIENCE_S, Offices, cpu_seconds, postgres
from benchmarks.support.recorded import MIX, Recording, Until
from tests.support.daemon import ask
from tests.support.polling import until
from vochi_agent.config import Address
from vochi_agent.errors import NotReachable
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.web.client import ask_metrics

SOON: Final = Reach(at_most=1.5)
IDLE: Final = {False: Reach(at_most=90), True: Reach(at_most=200)}
A_CALL: Final = Reach(at_most=8)
PER_SECOND: Final = 1000.0
KNOCK_EVERY_S: Final = 0.002
# Memory is told when it has stood still for a second, or has not for so long.
STILL_S: Final = 1.0
STILL_BYTES: Final = 256 * 1024
RESTLESS_S: Final = 15.0
MB: Final = 1e6
KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process, in bytes.

    Attributes:
        rss: What is in RAM of all that it has mapped.
        pss: The same, with what it shares counted by shares.
        uss: What nobody else has: what its end would give back.
    """

    rss: int
    pss: int
    uss: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Now, from /proc/PID/smaps_rollup (proc(5))."""
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        found = kib["Rss"], kib["Pss"], kib["Private_Clean"] + kib["Private_Dirty"]
        return cls(*(each * 1024 for each in found))


async def starts(office: Offices, times: int) -> list[tuple[float, float]]:
    """Seconds to the first answer of so many starts, and the CPU's of them; the last one's daemon goes on running."""
    seconds = []
    for turn in range(times):
        if turn:
            await office.daemon.stop()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(office.daemon.start())
            await _first_answer(office.daemon.agi_port)
            seconds.append((time.perf_counter() - began, cpu_seconds(office.daemon.pid)))
    # The first one compiles what has changed, and reads files that the others find in memory.
    return seconds[1:] or seconds


async def _first_answer(port: int) -> None:
    while True:
        try:
            if (await ask(port, "+375290000022"))[0]:
                return
        except OSError:
            pass
        await asyncio.sleep(KNOCK_EVERY_S)


async def settled(pid: int) -> Memory:
    """Its memory once that stands still."""
    before = Memory.of(pid)
    for _ in range(round(RESTLESS_S / STILL_S)):
        await asyncio.sleep(STILL_S)
        now = Memory.of(pid)
        if abs(now.rss - before.rss) <= STILL_BYTES:
            return now
        before = now
    return before


async def living(office: Offices, counts: Sequence[int]) -> Mapping[int, Memory]:
    """Memory by calls alive, from none to ever more of them."""
    # A third still rings, where the recording comes further.
    recordings = [Recording(name, until) for until in (Until.TALKING, Until.TALKING, Until.RINGING) for name in MIX]
    found, alive = {0: await settled(office.daemon.pid)}, 0
    for count in counts:
        print(f"{count:,} live calls", file=sys.stderr)
        await office.play(recordings, count - alive, per_second=PER_SECOND)
        alive = count

        async def all_alive(wanted: int = count) -> bool:
            return await _alive(office) == wanted

        await until(all_alive, within=PATIENCE_S)
        found[count] = await settled(office.daemon.pid)
    return found


async def _alive(office: Offices) -> int:
    try:
        metrics = await ask_metrics(Address("127.0.0.1", office.daemon.http_port))
    except NotReachable:
        return 0  # it is busy
    return int(sum(value for name, _, value in metrics if name == "vochi_calls_live"))


async def measure(*, times: int, calls: Sequence[int]) -> list[Row]:
    """All rows."""
    rows, memories = [], []
    async with postgres() as (server, folder), TelegramSandbox() as telegram:
        telegram.add_chat(CHAT)
        for bot in (False, True):
            async with (
                server.database() as database,
                Offices(1, database, folder / f"with-bot-{bot}", telegram=telegram.url if bot else "") as office,
            ):
                print(f"{times} starts {_with(bot=bot)}", file=sys.stderr)
                rows.append(row_of_starts(await starts(office, times), bot=bot))
                await office.until_followed()
                if bot:
                    await telegram.until(lambda: bool(telegram.requests), within=PATIENCE_S)
                memories.append(row_of_memory(await settled(office.daemon.pid), bot=bot))
                if bot:
                    memories.append(row_of_calls(await living(office, calls)))
    return [*rows, *memories]


def row_of_starts(seconds: Sequence[tuple[float, float]], *, bot: bool) -> Row:
    """The median of several starts; on a busy machine the CPU's part says what it would be on a quiet one."""
    wall, cpu = ([round(each, 3) for each in sorted(column)] for column in zip(*seconds, strict=True))
    figure = statistics.median(wall)
    return Row(
        work=f"start to the first FastAGI answer, {_with(bot=bot)}",
        ours=f"{figure:.2f} s",
        figure=figure,
        unit="s",
        reach=SOON,
        details={"seconds": wall, "cpu_seconds": cpu},
    )


def row_of_memory(memory: Memory, *, bot: bool) -> Row:
    """What one process takes while nothing happens."""
    return Row(
        work=f"memory idle, {_with(bot=bot)}",
        ours=f"{memory.rss / MB:.0f} MB",
        figure=memory.rss / MB,
        unit="MB",
        reach=IDLE[bot],
        details={f"{name}_mb": round(size / MB, 1) for name, size in asdict(memory).items()},
    )


def row_of_calls(memories: Mapping[int, Memory]) -> Row:
    """By how much each call beyond the fewer has made the process grow."""
    none, few, many = sorted(memories)
    kib = {name: _slope(memories, few, many, name) for name in ("rss", "pss", "uss")}
    return Row(
        work=f"memory of a live call, {few:,} to {many:,} of them",
        ours=f"{kib['rss']:.2f} KiB a call",
        figure=kib["rss"],
        unit="KiB a call",
        reach=A_CALL,
        details={
            **{f"{name}_kib": round(each, 2) for name, each in kib.items()},
            "kib_of_the_fewer": round(_slope(memories, none, few, "rss"), 2),
            "rss_mb": {str(count): round(memory.rss / MB, 1) for count, memory in memories.items()},
        },
    )


def _slope(memories: Mapping[int, Memory], few: int, many: int, name: str) -> float:
    grown = asdict(memories[many])[name] - asdict(memories[few])[name]
    return float(grown / (many - few) / KIB)


def _with(*, bot: bool) -> str:
    return "with a bot" if bot else "without a bot"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=6, help="the first of several does not count")
    parser.add_argument("--calls", type=int, nargs=2, default=[1_000, 10_000])
    given = parser.parse_args()
    for row in asyncio.run(measure(times=given.starts, calls=given.calls)):
        print(row.to_json())


if __name__ == "__main__":
    main()
