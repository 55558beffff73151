"""Many callers while the CRM is slow: everybody is answered before the deadline (`make load` measures how soon)."""

from pathlib import Path

import aiohttp
import pytest

from tests.support.agi_load import ask_at_rate
from tests.support.daemon import DaemonProcess
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox

pytestmark = pytest.mark.alone

CALLERS = [f"+37529000{number:04}" for number in range(1000, 1100)]
HANDSETS = {"102": ("latin", 24), "103": ("ascii", 16)}
DEADLINE = 'vochi_agi_seconds_bucket{le="1.5"}'


async def test_no_caller_waits_longer_than_the_deadline_for_a_slow_crm(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """40 a second for 5 s, a CRM that takes 0.5 s: one answer each, complete, and by the daemon's clock in time."""
    async with postgres.database() as dsn, RetailCrmSandbox(api_key="key", silence_s=0.5, requests_per_s=9999) as crm:
        for number, phone in enumerate(CALLERS):
            crm.add_customer(1000 + number, last_name="Контактова", first_name=f"Анна {number}", phones=[phone])
        crm.fault = Fault.SILENCE
        daemon = DaemonProcess.of(
            tmp_path,
            ami_port=free_port(),
            secret="s",
            crm_url=crm.url,
            database=dsn,
            handsets=HANDSETS,
            of_crm="rps = 1000",
            chats=(),
        )
        async with daemon:
            answers = await ask_at_rate(daemon.agi_port, CALLERS, per_second=40, seconds=5)
            url = f"http://127.0.0.1:{daemon.http_port}/metrics"
            async with aiohttp.ClientSession() as http, http.get(url) as reply:
                metrics = dict(line.rsplit(" ", 1) for line in (await reply.text()).splitlines())

    assert len(answers) == 200
    assert {answer.status for answer in answers} <= {"ok", "timeout", "error"}
    assert sum(answer.named for answer in answers) > 100
    assert float(metrics[DEADLINE]) == float(metrics["vochi_agi_seconds_count"]) == 200
