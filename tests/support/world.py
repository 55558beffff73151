"""A company at work: a real Asterisk with its phones, a daemon, sandboxes for the CRM and Telegram, a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.asterisk import Asterisk
from tests.support.daemon import DaemonProcess
from tests.support.finals import until_finals
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from vochi_agent.calls.model import Call
from vochi_agent.customers.model import Customer
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

__all__ = ["CHAT", "World", "world_around"]

CHAT = -1001000000001
HEARTBEAT = "VOCHI_ALIVE_a"


@dataclass
class World:
    """A company at work: its PBX and phones, its CRM, its chat, its daemon.

    Attributes:
        dsn: The daemon's database, by the direct way.
    """

    asterisk: Asterisk
    sipp: Sipp
    crm: RetailCrmSandbox
    telegram: TelegramSandbox
    daemon: DaemonProcess
    store: PostgresStore
    dsn: str

    async def cards(self, count: int) -> list[str]:
        """The chat's final cards, once there are so many."""
        return await until_finals(self.telegram, CHAT, count, within=10)

    async def calls(self) -> list[Call]:
        """The ledger, newest first."""
        return await self.store.reports.calls(CallFilter(limit=50))

    async def customer(self, phone: str) -> Customer | None:
        """The row of a number."""
        return await self.store.customers.customer("0901", phone)

    async def until_alive(self) -> None:
        """Wait for the first heartbeat on the PBX."""
        async with asyncio.timeout(15):
            while not await self.asterisk.get_global(HEARTBEAT):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def world_around(
    asterisk: Asterisk,
    sipp: Sipp,
    server: PostgresServer,
    folder: Path,
    *,
    ami_port: int | None = None,
    postgres_port: int | None = None,
    **facts: object,
) -> AsyncIterator[World]:
    """The company, its daemon ready and known to the PBX; the ports are where the daemon finds them if not directly.

    `facts` go to `tests.support.daemon.configuration`.
    """
    async with (
        server.database() as dsn,
        RetailCrmSandbox(api_key="key") as crm,
        TelegramSandbox() as telegram,
        PostgresStore(dsn, pool_size=2) as store,
    ):
        crm.add_customer(2002, first_name="Тест", last_name="Тестов", phones=["+375290000022"])
        crm.add_customer(2003, first_name="Анна", last_name="Контактова", phones=["+375 29 000-00-33"])
        crm.add_company(77, nick_name="Ромашка", contacts=[2003])
        telegram.add_chat(CHAT)
        daemon = DaemonProcess.of(
            folder,
            ami_port=ami_port or asterisk.ports.ami,
            secret=asterisk.secret,
            agi_port=asterisk.ports.fastagi,
            crm_url=crm.url,
            telegram_url=telegram.url,
            database=dsn.replace(f":{server.port}/", f":{postgres_port or server.port}/"),
            cel=asterisk.cel,
            **facts,
        )
        async with daemon:
            world = World(asterisk, sipp, crm, telegram, daemon, store, dsn)
            await daemon.until_ready()
            await world.until_alive()
            yield world
