"""More callers than the CRM's rate: that is said once in a while, and no outage of the CRM."""

import asyncio
import time

import aiohttp
import pytest

from vochi_agent.crm.http import CrmHttp, json_object
from vochi_agent.errors import CrmUnavailable
from vochi_agent.simulator.retailcrm import RetailCrmSandbox


async def test_a_busy_hour_makes_one_line_and_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Found by a soak at twenty calls a second: two lines for every second in which one request found no room."""
    caplog.set_level("INFO")
    async with RetailCrmSandbox(api_key="k") as crm, aiohttp.ClientSession() as session:
        http = CrmHttp(
            session,
            name="retailcrm of 0901",
            base_url=f"{crm.url}/api/v5",
            headers={"X-API-KEY": "k"},
            secrets=[],
            rps=5.0,
            clock=time.monotonic,
            on_state=lambda _: None,
            budget_s=0.4,
        )

        async def ask() -> bool:
            try:
                await http.get("/customers", [], json_object, deadline=http.deadline())
            except CrmUnavailable:
                return False
            return True

        answered = [answer for _ in range(3) for answer in await asyncio.gather(*(ask() for _ in range(6)))]

    assert 3 <= sum(answered) < len(answered)
    assert [record.getMessage() for record in caplog.records if record.name == "vochi_agent.crm.http"] == [
        "CRM retailcrm of 0901 is not asked as often as needed: too many requests of our own are waiting"
    ]
