"""How many finished calls a second are committed, beside `pgbench` that runs the same statements on the same server.

    python -m benchmarks.commit [--seconds 3] [--rounds 3]

Ours is what the daemon does with a call that has ended: `call_log` takes it, renders its card, and the ledger stores
call, customer, card and what a CRM is to be told. What the ledger says to PostgreSQL for one call alone is overheard
for each kind of call and becomes a script of pgbench, which thinks nothing, renders nothing and looks at no answer.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from benchmarks.row import Reach, Row
from benchmarks.support.database import durable_server
from benchmarks.support.overheard import Overheard, Script, run_pgbench, script
from tests.support.daemon import configuration
from tests.support.pbx_records import live_calls
from tests.support.polling import until
from vochi_agent.call_log import CallLog
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.config import load
from vochi_agent.metrics import Metrics
from vochi_agent.ports import Renderer
from vochi_agent.store.ledger import CallLedger
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.spool import DiskSpool
from vochi_agent.telegram.drafts import renderer

CONNECTIONS: Final = (1, 4)
ENTERPRISE: Final = "0901"
CRMS: Final = {ENTERPRISE: ["retailcrm"]}
PHONES: Final = range(375290000000, 375290020000)
# As recorded from a real Asterisk; of each as many.
KINDS: Final = tuple(
    live_calls([kind])[-1]
    for kind in ("inbound-answered", "inbound-noanswer", "inbound-queue-answered", "outbound-answered")
)
REACH: Final = Reach(at_least=0.6)
AT_ONCE: Final = 64
WRITE_CUSTOMERS: Final = """
INSERT INTO customers (enterprise_number, phone_e164)
SELECT $1, '+' || phone FROM generate_series($2::bigint, $3::bigint) AS phone
"""


async def main(seconds: float, rounds: int) -> None:
    """Measure and print the rows."""
    with durable_server() as (server, folder):
        await server.make_template()
        async with server.database() as ours, server.database() as theirs:
            render = _renderer(folder)
            scripts = await _scripts(ours, render)
            for dsn in (ours, theirs):
                await _write_customers(dsn)
            for connections in CONNECTIONS:
                rates: list[tuple[float, float]] = []
                for turn in range(rounds):
                    print(f"{connections} connections, round {turn + 1} of {rounds}", file=sys.stderr)
                    own = await _store(ours, render, connections, seconds, folder)
                    said = run_pgbench(server.programs, theirs, folder, scripts, clients=connections, seconds=seconds)
                    rates.append((own, said))
                print(_row(connections, rates, scripts).to_json(), flush=True)


def _row(connections: int, rates: Sequence[tuple[float, float]], scripts: Sequence[Script]) -> Row:
    ours, theirs = zip(*rates, strict=True)
    ratios = [own / other for own, other in rates]
    many = f"{connections} connection{'s' if connections > 1 else ''}"
    return Row(
        work=f"finished call → committed, {many}",
        ours=f"{statistics.median(ours):,.0f} calls/s",
        against=f"pgbench with the same statements, {many}",
        theirs=f"{statistics.median(theirs):,.0f} calls/s",
        figure=round(statistics.median(ratios), 3),
        unit="×",
        reach=REACH,
        details={
            "calls_per_s": ours,
            "pgbench_per_s": theirs,
            "ratios": ratios,
            "customers": len(PHONES),
            "statements_a_call": [len(each.statements) for each in scripts],
        },
    )


# ---------------------------------------------------------------- ours


async def _store(dsn: str, render: Renderer, connections: int, seconds: float, folder: Path) -> float:
    """Calls a second, by as many logs of calls beside each other as there are connections."""
    async with PostgresStore(dsn, pool_size=connections) as store, asyncio.TaskGroup() as tasks:
        store.calls.crms = CRMS
        calls = _ended_calls()
        writers = [
            tasks.create_task(_tell(store, render, calls, seconds, folder / f"spool-{number}"), name=f"log {number}")
            for number in range(connections)
        ]
    return sum(writer.result() for writer in writers)


async def _tell(store: PostgresStore, render: Renderer, calls: Iterator[Call], seconds: float, folder: Path) -> float:
    async with DiskSpool(folder, limit_bytes=1 << 20) as spool, asyncio.TaskGroup() as tasks:
        log = CallLog(
            store.calls,
            store.customers,
            spool,
            renderer=lambda _: render,
            cards_changed=lambda: None,
            metrics=Metrics(),
        )

        async def stored() -> bool:
            return not log.state.waiting

        log.store_ready()
        running = tasks.create_task(log.run(), name="finished calls")
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for call in itertools.islice(calls, AT_ONCE):
                log.tell(CallFinished(call))
            await log.drained()
            done += AT_ONCE
        await until(stored, within=60)  # what went to the disk, because the server was slow, counts when it is stored
        took = time.perf_counter() - began
        running.cancel()
    return done / took


def _ended_calls() -> Iterator[Call]:
    """Calls without end: the kinds in turn, each by somebody, each a moment after the one before."""
    chance, now = random.Random(10), datetime.now(UTC)
    for number, kind in zip(itertools.count(), itertools.cycle(KINDS)):
        phone = f"+{chance.choice(PHONES)}"
        yield _moved(kind, f"{now.timestamp():.6f}.{number}", phone, now + timedelta(milliseconds=number))


def _moved(call: Call, linkedid: str, phone: str, ended_at: datetime) -> Call:
    later = ended_at - call.ended_at
    return replace(
        call,
        linkedid=linkedid,
        phone=phone,
        started_at=call.started_at + later,
        answered_at=call.answered_at + later if call.answered_at else None,
        ended_at=ended_at,
    )


def _renderer(folder: Path) -> Renderer:
    """What the daemon of a company with one chat makes of a call."""
    path = folder / "config.toml"
    ports = {"ami_port": 1, "agi_port": 2, "http_port": 3}  # nobody listens
    text = configuration(state_dir=folder, secret="s", telegram_url="http://127.0.0.1:1", chats=(-1001,), **ports)
    path.write_text(text, encoding="utf-8")
    config = load(path)
    return renderer(config.enterprises[0], config)


async def _write_customers(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(WRITE_CUSTOMERS, ENTERPRISE, PHONES.start, PHONES.stop - 1)
    await connection.execute("VACUUM ANALYZE customers")
    await connection.close()


# ---------------------------------------------------------------- theirs


async def _scripts(dsn: str, render: Renderer) -> list[Script]:
    """What is said for one call of each kind, its customer being known."""
    scripts = []
    connection = await asyncpg.connect(dsn)
    async with Overheard(dsn, pool_size=1) as database:
        ledger = CallLedger(database)
        ledger.crms = CRMS
        for number, kind in enumerate(KINDS):
            linkedid, phone = f"1.{number}", f"+{PHONES.stop + number}"
            earlier = _moved(kind, f"0.{number}", phone, datetime.now(UTC) - timedelta(minutes=10))
            await ledger.record(earlier, render)
            database.said = []
            await ledger.record(_moved(kind, linkedid, phone, datetime.now(UTC)), render)
            scripts.append(
                await script(
                    connection, database.said, linkedid=linkedid, phone=phone, phones=PHONES, prefix=f"kind{number}_"
                )
            )
    await connection.close()
    return scripts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round, each")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.seconds, arguments.rounds))
