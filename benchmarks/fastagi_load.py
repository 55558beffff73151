"""How long FastAGI answers take: `make load` asks 200 times a second for 60 s, with a CRM that takes 0.5 s.

The daemon, the CRM and the callers are processes of their own, PostgreSQL is real. Our own part of an answer is all of
it but the CRM's half second, where the name came from there; the CRM's own work is counted as ours. A CRM is asked 32
times at once at most, so with this CRM 64 callers a second get a fresh name, the others at once what is known.
Prints a table; exits 1 when an answer took longer than the deadline or p99 of our part is above 20 ms.
"""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.agi_load import Answered, ask_at_rate, percentile
from tests.support.daemon import DaemonProcess
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox
from vochi_agent.store.installations import find_installation

PER_SECOND = 200.0
SECONDS = float(os.environ.get("VOCHI_LOAD_S", "60"))
CRM_S = 0.5
DEADLINE_S = 1.5
OWN_P99_S = 0.02
CALLERS = [f"+37529000{number:04}" for number in range(1000, 1200)]
# Three kinds of telephones: two names more in every answer.
HANDSETS = {"102": ("latin", 24), "103": ("ascii", 16)}


async def serve_crm() -> None:
    """A RetailCRM that knows everybody and takes its time, until its input ends."""
    async with RetailCrmSandbox(api_key="key", silence_s=CRM_S, requests_per_s=100_000) as crm:
        for number, phone in enumerate(CALLERS):
            crm.add_customer(1000 + number, last_name="Контактова", first_name=f"Анна {number}", phones=[phone])
        crm.fault = Fault.SILENCE
        print(crm.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measure(server: PostgresServer, folder: Path) -> list[Answered]:
    """Start everything, warm up for two seconds, and ask."""
    crm = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.fastagi_load", "crm",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert crm.stdout is not None
    url = (await crm.stdout.readline()).decode().strip()
    async with server.database() as dsn:
        daemon = DaemonProcess.of(
            folder, ami_port=free_port(), secret="s", crm_url=url, database=dsn, handsets=HANDSETS, of_crm="rps = 1000"
        )
        daemon.options = ()
        async with daemon:
            await ask_at_rate(daemon.agi_port, CALLERS, per_second=PER_SECOND, seconds=2)
            answers = await ask_at_rate(daemon.agi_port, CALLERS, per_second=PER_SECOND, seconds=SECONDS)
    crm.terminate()
    await crm.wait()
    return answers


def report(answers: Sequence[Answered]) -> bool:
    """Print what was seen; whether it is good enough."""
    fresh = [each.seconds - CRM_S for each in answers if each.seconds >= CRM_S]
    at_once = [each.seconds for each in answers if each.seconds < CRM_S]
    own = [*fresh, *at_once]
    print(f"{len(answers)} answers, {PER_SECOND:.0f} a second; {dict(Counter(each.status for each in answers))}")
    print(f"variables an answer: {dict(Counter(each.commands for each in answers))}")
    for what, times in (("waited for the CRM, without its 500 ms", fresh), ("at once", at_once), ("all", own)):
        if times:
            shares = "  ".join(f"p{share * 100:g} {percentile(times, share) * 1000:6.1f}" for share in (0.5, 0.9, 0.99))
            print(f"  {what:40} {len(times):6}  {shares}  max {max(times) * 1000:6.1f} ms")
    slowest = max(each.seconds for each in answers)
    print(f"slowest answer: {slowest * 1000:.0f} ms of {DEADLINE_S * 1000:.0f}")
    return slowest <= DEADLINE_S and percentile(own, 0.99) <= OWN_P99_S


def main() -> int:
    """0 when it is quick enough."""
    if sys.argv[1:] == ["crm"]:
        asyncio.run(serve_crm())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        binaries = find_installation().path / "bin"
        with PostgresServer(binaries, Path(folder)) as server:
            asyncio.run(server.make_template())
            return 0 if report(asyncio.run(measure(server, Path(folder) / "daemon"))) else 1


if __name__ == "__main__":
    sys.exit(main())
