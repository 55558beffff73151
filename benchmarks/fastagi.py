"""One FastAGI answer with the name and all variables: ours beside panoramisk's and beside a bare uvloop protocol.

    python -m benchmarks.fastagi

Ours is the server and the script of the daemon with two lines and no CRM, once with everybody's row at hand ("without
the query"), once with the row read from PostgreSQL for each call. The other two say, as constants, the very commands
that ours was heard to say. Every server has one core; the callers, and PostgreSQL, have the other. The four run by
turns; the middle ratio of the rounds counts. Callers follow one another through a table of a thousand customers, and
afterwards PostgreSQL's own counter of index scans has to show that each answer read its row. What is not measured is
how a number that was never seen before is read: in the daemon that happened when the channel appeared.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.agi.callers import configured, customers, environments
from benchmarks.agi.servers import Server, apart, ratio, serving
from benchmarks.agi.traffic import Traffic, commands_of, traffic
from benchmarks.row import Reach, Row
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from vochi_agent.store.installations import find_installation

IN_FLIGHT: Final = 50
CROWDS: Final = (1, 50, 200)
WITHOUT, WITH, PANORAMISK, LIMIT = "ours", "ours with the query", "panoramisk", "bare protocol"

PATIENCE_S: Final = 10.0
SCANS: Final = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'customers'"

Measured = dict[int, dict[str, list[Traffic]]]
"""By sessions in flight and by server: its rounds."""


def measure(*, rounds: int, seconds: float) -> list[Row]:
    """Start the four servers, let them answer by turns, and judge.

    Args:
        rounds: With 50 in flight; with 1 and with 200 there is one.
        seconds: Of one server's turn.

    Raises:
        RuntimeError: a server did not answer as it should, or ours without asking PostgreSQL.
    """
    core, _ = apart()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with PostgresServer(find_installation().path / "bin", folder) as postgres:
            dsn = asyncio.run(customers(postgres))
            with _servers(configured(folder), dsn, core) as (servers, commands):
                seen = _by_turns(servers, len(commands), rounds=rounds, seconds=seconds)
            asked = sum(each.sessions for crowd in seen.values() for each in crowd[WITH])
            asyncio.run(_check(dsn, asked))
    return _rows(seen, commands)


@contextlib.contextmanager
def _servers(config: Path, dsn: str, core: int) -> Iterator[tuple[Mapping[str, Server], Sequence[str]]]:
    """The four, and the commands that all of them say."""
    with contextlib.ExitStack() as stack:

        def start(module: str, facts: object, *, peer: bool = False) -> Server:
            return stack.enter_context(serving(module, facts, core=core, peer=peer))

        ours = start("ours", {"configuration": str(config), "database": ""})
        commands = commands_of(ours.port, next(environments()))
        yield (
            {
                WITHOUT: ours,
                WITH: start("ours", {"configuration": str(config), "database": dsn}),
                PANORAMISK: start("panoramisk", commands, peer=True),
                LIMIT: start("constant", commands),
            },
            commands,
        )


def _by_turns(servers: Mapping[str, Server], commands: int, *, rounds: int, seconds: float) -> Measured:
    callers = {name: environments() for name in servers}
    seen: Measured = {crowd: {name: [] for name in servers} for crowd in CROWDS}
    print("warming up", file=sys.stderr)
    for name, server in servers.items():
        traffic(server, callers[name], in_flight=IN_FLIGHT, seconds=seconds, commands=commands)
    for turn, crowd in enumerate([*CROWDS, *[IN_FLIGHT] * (rounds - 1)], 1):
        print(f"round {turn} of {rounds + len(CROWDS) - 1}: {crowd} in flight", file=sys.stderr)
        for name, server in servers.items():
            told = traffic(server, callers[name], in_flight=crowd, seconds=seconds, commands=commands)
            print(f"  {name:20} {_line(told)}", file=sys.stderr)
            seen[crowd][name].append(told)
    return seen


def _line(told: Traffic) -> str:
    return (
        f"{told.per_second:7,.0f} sessions/s  {told.server_us:5.0f} CPU µs"
        f"  p50 {told.p50_ms:6.2f} p99 {told.p99_ms:6.2f} ms"
        f"  busy: server {told.server_busy:.0%}, asker {told.asker_busy:.0%}"
    )


async def _check(dsn: str, answers: int) -> None:
    """Whether the table was read so often; PostgreSQL knows when it has ended the connections of our server."""
    connection = await asyncpg.connect(dsn)

    async def so_often() -> bool:
        return bool(await connection.fetchval(SCANS) >= answers)

    try:
        await until(so_often, within=PATIENCE_S)
    except TimeoutError as exc:
        found = await connection.fetchval(SCANS)
        raise RuntimeError(f"{answers} answers came from {found} readings of the table") from exc
    finally:
        await connection.close()


def _rows(seen: Measured, commands: Sequence[str]) -> list[Row]:
    cpus = {name: [each.server_us for each in told] for name, told in seen[IN_FLIGHT].items()}
    speeds = {name: [each.per_second for each in told] for name, told in seen[IN_FLIGHT].items()}
    cpu = {name: statistics.median(rounds) for name, rounds in cpus.items()}
    speed = {name: statistics.median(rounds) for name, rounds in speeds.items()}
    details = {
        "commands": len(commands),
        # Where the callers' core is full before the limit's, or others use the machine, this is the stricter figure.
        "cpu_of_the_limit": {name: ratio(cpus[LIMIT], rounds) for name, rounds in cpus.items()},
        "in_flight": {
            str(crowd): {name: [asdict(each) for each in told] for name, told in by_server.items()}
            for crowd, by_server in seen.items()
        },
    }
    return [
        Row(
            work="FastAGI: CPU a session, without the query",
            ours=f"{cpu[WITHOUT]:.0f} µs",
            against=PANORAMISK,
            theirs=f"{cpu[PANORAMISK]:.0f} µs",
            figure=ratio(cpus[WITHOUT], cpus[PANORAMISK]),
            unit="×",
            reach=Reach(at_most=1 / 3),
            details=details,
        ),
        *(
            Row(
                work=f"FastAGI: sessions, {what} the query",
                ours=f"{speed[name]:,.0f} sessions/s",
                against=LIMIT,
                theirs=f"{speed[LIMIT]:,.0f} sessions/s",
                figure=ratio(speeds[name], speeds[LIMIT]),
                unit="×",
                reach=Reach(at_least=reach),
            )
            for what, name, reach in (("without", WITHOUT, 0.7), ("with", WITH, 0.4))
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    arguments = parser.parse_args()
    try:
        rows = measure(rounds=arguments.rounds, seconds=arguments.seconds)
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
    for row in rows:
        print(row.to_json())
