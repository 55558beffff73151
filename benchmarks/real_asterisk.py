"""Calls a second through AGI on a real Asterisk until the machine is full: our server beside the constant one.

    python -m benchmarks.real_asterisk

Asterisk 22 is the one of the tests, without records and logs. A call is an Originate to a Local channel: AGI, as before
any telephone rings, one UserEvent that says how it went, Hangup; so many are kept in the air that the machine is full.
By turns the same dialplan asks nobody, the constant server (agi/constant.py), ours without and ours with the query
(agi/ours.py). Nothing is pinned: Asterisk, the server, PostgreSQL and whoever places the calls share the machine, as on
a small PBX. Judged is ours without the query: beside a server of constants PostgreSQL's work would be the figure.
"""

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.agi.callers import configured, customers, environments, numbers
from benchmarks.agi.servers import Server, cpu_s, ratio, serving
from benchmarks.agi.traffic import commands_of
from benchmarks.row import Reach, Row
from tests.support.asterisk import Asterisk
from tests.support.fetch import ToolMissing, fetch
from tests.support.postgres import PostgresServer
from vochi_agent.store.installations import find_installation

NOBODY, CONSTANT, WITHOUT, WITH = "nobody asked", "constant server", "ours", "ours with the query"
IN_THE_AIR: Final = 50
PATIENCE_S: Final = 20.0
EXTENSION: Final = {NOBODY: "nobody", CONSTANT: "constant", WITHOUT: "without", WITH: "with"}
LEAN: Final = {
    "cdr.conf": "[general]\nenable = no\n",
    "cel.conf": "[general]\nenable = no\n",
    "logger.conf": "[general]\n[logfiles]\nfull => warning,error\n",
}
USER: Final = """
[bench]
secret = {secret}
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
read = user
write = originate,call,system
writetimeout = 5000
"""
OVER: Final = b"\r\nUserEvent: Over"
WELL: Final = b"\r\nStatus: ok"


@dataclass(frozen=True, slots=True)
class Seen:
    """One turn.

    Attributes:
        per_second: Calls that ended well.
        asterisk_us: CPU of Asterisk a call, in microseconds.
        server_us: CPU of the server a call; 0 where nobody was asked.
        busy: Share of the machine's time that was spent, by anybody.
    """

    per_second: float
    asterisk_us: float
    server_us: float
    busy: float


async def measure(*, rounds: int, seconds: float) -> list[Row]:
    """Boot, let each have its turns, and judge.

    Args:
        seconds: Of one turn.

    Raises:
        ToolMissing: Asterisk cannot be had here.
        RuntimeError: calls ended otherwise than they should.
    """
    tool = fetch("asterisk22")
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        postgres = stack.enter_context(PostgresServer(find_installation().path / "bin", folder))
        servers = _servers(stack, configured(folder), await customers(postgres))
        async with Asterisk(tool) as pbx:
            await _make_lean(pbx, servers)
            seen: dict[str, list[Seen]] = {who: [] for who in (NOBODY, *servers)}
            async with _Originating(pbx) as calls:
                for turn in range(1, rounds + 1):
                    print(f"round {turn} of {rounds}", file=sys.stderr)
                    for who, turns in seen.items():
                        turns.append(await _turn(calls, who, servers.get(who), pbx.pid, seconds))
                        print(f"  {who:22} {turns[-1]}", file=sys.stderr)
    return [_row(seen)]


def _servers(stack: contextlib.ExitStack, config: Path, dsn: str) -> Mapping[str, Server]:
    def ours(database: str) -> Server:
        return stack.enter_context(serving("ours", {"configuration": str(config), "database": database}))

    without = ours("")
    commands = commands_of(without.port, next(environments()))
    return {CONSTANT: stack.enter_context(serving("constant", commands)), WITHOUT: without, WITH: ours(dsn)}


async def _make_lean(pbx: Asterisk, servers: Mapping[str, Server]) -> None:
    """Start again with the dialplan of the benchmark, and without what costs a call and is not measured."""
    etc = pbx.home / "etc"
    await pbx.stop()
    for name, text in LEAN.items():
        (etc / name).write_text(text)
    with (etc / "manager.conf").open("a") as file:
        file.write(USER.format(secret=pbx.secret))
    lines = ["[bench]"]
    for name, extension in EXTENSION.items():
        asked = [f"AGI(agi://127.0.0.1:{servers[name].port}/callerid,0901,0001701)"] if name in servers else []
        status = "${VOCHI_STATUS}" if asked else "ok"
        steps = [*asked, f"UserEvent(Over,Status: {status})", "Hangup()"]
        lines += [f"exten => {extension},{place},{step}" for place, step in enumerate(steps, 1)]
    (etc / "extensions.conf").write_text("\n".join([*lines, ""]))
    await pbx.start()


class _Originating:
    """An AMI connection that keeps so many calls in the air and counts those that are over."""

    def __init__(self, pbx: Asterisk) -> None:
        self._port, self._secret = pbx.ports.ami, pbx.secret
        self._callers = itertools.cycle(numbers())
        self._kept = b""

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        self._send(Action="Login", Username="bench", Secret=self._secret)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def place(self, extension: str) -> None:
        """Place one call; the other half of the Local channel waits until this one hangs up."""
        caller = next(self._callers)
        self._send(
            Action="Originate", Channel=f"Local/{extension}@bench/n", Application="Wait", Data="20", CallerID=caller,
            Async="true",
        )  # fmt: skip

    async def ended(self) -> tuple[int, int]:
        """Wait until calls are over: how many, and how many of them ended well."""
        over = well = 0
        while not over:
            async with asyncio.timeout(PATIENCE_S):
                data = await self._reader.read(65536)
            if not data:
                raise RuntimeError("Asterisk closed the connection")
            whole, _, self._kept = (self._kept + data).rpartition(b"\r\n\r\n")
            over, well = whole.count(OVER), whole.count(WELL)
        return over, well

    def _send(self, **headers: str) -> None:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._writer.write("".join([*lines, "\r\n"]).encode())


async def _turn(calls: _Originating, name: str, server: Server | None, asterisk: int, seconds: float) -> Seen:
    extension, done = EXTENSION[name], 0
    began, pbx_s, server_s, machine = time.perf_counter(), cpu_s(asterisk), server.cpu_s() if server else 0.0, _idle()
    in_the_air = IN_THE_AIR
    for _ in range(IN_THE_AIR):
        calls.place(extension)
    while in_the_air:
        over, well = await calls.ended()
        if well != over:
            raise RuntimeError(f"{over - well} of {over} calls with {name} ended badly")
        done += over
        in_the_air -= over
        if time.perf_counter() < began + seconds:
            in_the_air += over
            for _ in range(over):
                calls.place(extension)
    lasted = time.perf_counter() - began
    spent = [now - before for now, before in zip(_idle(), machine, strict=True)]
    return Seen(
        per_second=done / lasted,
        asterisk_us=(cpu_s(asterisk) - pbx_s) / done * 1e6,
        server_us=(server.cpu_s() - server_s) / done * 1e6 if server else 0.0,
        busy=1 - spent[0] / spent[1],
    )


def _idle() -> tuple[int, int]:
    """Ticks of all cores since boot: idle, and all of them; see proc_stat(5)."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _row(seen: Mapping[str, list[Seen]]) -> Row:
    speeds = {name: [each.per_second for each in turns] for name, turns in seen.items()}
    speed = {name: statistics.median(turns) for name, turns in speeds.items()}
    return Row(
        work="real Asterisk: calls through AGI, without the query",
        ours=f"{speed[WITHOUT]:,.0f} calls/s",
        against=CONSTANT,
        theirs=f"{speed[CONSTANT]:,.0f} calls/s",
        figure=ratio(speeds[WITHOUT], speeds[CONSTANT]),
        unit="×",
        reach=Reach(at_least=0.9),
        details={
            "in_the_air": IN_THE_AIR,
            "calls_per_second": speed,
            "rounds": {name: [asdict(each) for each in turns] for name, turns in seen.items()},
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    try:
        rows = asyncio.run(measure(rounds=arguments.rounds, seconds=arguments.seconds))
    except ToolMissing as missing:
        sys.exit(f"Asterisk 22 cannot be had here: {missing}")
    except (RuntimeError, TimeoutError) as error:
        sys.exit(f"The calls could not be measured: {error}")
    for row in rows:
        print(row.to_json())
