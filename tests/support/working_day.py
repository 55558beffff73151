"""A company at work whose metrics a real Prometheus scrapes: a real daemon, a real database, `vochi-agent simulate`."""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.support.commands import Workplace
from tests.support.fetch import Tool
from tests.support.postgres import PostgresServer
from tests.support.prometheus import Prometheus
from tests.support.simulated import company

__all__ = ["WorkingDay", "working_day"]

DAY: Final = Path(__file__).with_suffix(".toml")
SECRET: Final = "c" * 24
# Seconds of the day between two words of the CRM.
SPEAKS_EVERY_S: Final = 12


@dataclass(frozen=True, slots=True)
class WorkingDay:
    """What is needed to play it and to ask about it."""

    place: Workplace
    prometheus: Prometheus
    http: str

    async def play(self, *, speed: float) -> None:
        """The whole day; meanwhile the CRM tells of changes, and somebody clicks on phones in it."""
        speaking = asyncio.create_task(self._crm_speaks(SPEAKS_EVERY_S / speed), name="the CRM speaks")
        try:
            told = await self.place.vochi("simulate", str(DAY), "--speed", f"{speed:g}", "--quiet", within=600)
        finally:
            speaking.cancel()
        assert told.code == 0, told.out + told.err

    async def _crm_speaks(self, every_s: float) -> None:
        webhooks = f"http://{self.http}/webhooks/0901/retailcrm/{SECRET}"
        click = {"phone": "+375290000022", "userId": "7", "code": "150"}
        async with aiohttp.ClientSession() as client:
            while True:
                await asyncio.sleep(every_s)
                async with client.post(webhooks, data={"id": "1"}):
                    pass
                async with client.get(f"{webhooks}/call", params=click):
                    pass


@asynccontextmanager
async def working_day(
    folder: Path, server: PostgresServer, tool: Tool, *, scraped_every_s: int = 1
) -> AsyncIterator[WorkingDay]:
    """A daemon whose PBX, CRM and chat nobody plays yet, and the Prometheus that looks at it."""
    async with server.database() as dsn:
        place, text = Workplace(folder), company(folder, dsn)
        place.write(text.replace('api_key = "simulated"', f'api_key = "simulated"\n  webhook_secret = "{SECRET}"'))
        http = tomllib.loads(text)["http"]["listen"]
        async with place.daemon(), Prometheus(tool, folder, [http], interval_s=scraped_every_s) as prometheus:
            yield WorkingDay(place, prometheus, http)
