"""What each far end's death costs: the daemon as a process, between the shipped simulator and the sandboxes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import DaemonProcess, ask
from tests.support.finals import finals, until_finals
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.tcp_gate import TcpGate
from vochi_agent.simulator.pbx import CallerIdSubroutine, Pbx, User
from vochi_agent.simulator.retailcrm import Fault as CrmFault
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import Fault as TelegramFault
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.store.postgres import PostgresStore

CHAT = -1001000000001
DEADLINE_S = 1.5
SLACK_S = 0.3  # the test's own sockets and a busy machine


@dataclass
class World:
    """The daemon and everything it talks to."""

    pbx: Pbx
    crm: RetailCrmSandbox
    telegram: TelegramSandbox
    postgres: TcpGate
    store: PostgresStore
    daemon: DaemonProcess

    async def until_named(self, phone: str) -> None:
        """Wait until the customer's row has the name that the CRM gave."""
        async with asyncio.timeout(5):
            while not ((row := await self.store.customers.customer("0901", phone)) and row.names):
                await asyncio.sleep(0.02)

    async def ask(self, caller: str) -> tuple[dict[str, str], float]:
        """One FastAGI request: the variables set and the seconds it took."""
        return await ask(self.daemon.agi_port, caller)

    async def call(self, caller: str) -> str:
        """An answered call from outside."""
        return await self.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=caller, ring=["101"], answer="101", talk_s=1.0
        )

    async def cards(self, count: int, *, within: float = 15.0) -> list[str]:
        """The chat's final cards, once there are so many."""
        return await until_finals(self.telegram, CHAT, count, within=within)


@pytest.fixture
async def world(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    phones = {"101": "Первый Агент"}
    async with (
        postgres.database() as dsn,
        TcpGate(postgres.port) as gate,
        PostgresStore(dsn, pool_size=1) as store,
        RetailCrmSandbox(api_key="key", silence_s=30) as crm,
        TelegramSandbox() as telegram,
        Pbx(phones=phones, trunks=["PJSIP/gsm1"], users={"vochi": User(secret="s")}, speed=5) as pbx,
    ):
        crm.add_customer(2002, first_name="Тест", last_name="Тестов", phones=["+375290000022"])
        telegram.add_chat(CHAT)
        daemon = DaemonProcess.of(
            tmp_path,
            ami_port=pbx.manager.port,
            secret="s",
            crm_url=crm.url,
            telegram_url=telegram.url,
            database=dsn.replace(f":{postgres.port}/", f":{gate.port}/"),
        )
        async with daemon:
            pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=daemon.agi_port)
            await daemon.until_ready()
            async with asyncio.timeout(10):
                while "VOCHI_ALIVE_a" not in pbx.switch.variables:
                    await asyncio.sleep(0.02)
            yield World(pbx, crm, telegram, gate, store, daemon)


@pytest.mark.alone
async def test_the_answer_comes_in_time_whatever_is_dead(world: World) -> None:
    """CRM, Telegram and PostgreSQL stopped one after the other; what is still known is said."""
    variables, _ = await world.ask("375290000022")
    assert variables["VOCHI_STATUS"] == "ok"
    assert variables["CALLERID(name)"] == "Тестов Тест | МТС Центр | Салон 1"

    await world.until_named("+375290000022")
    world.crm.fault = CrmFault.SILENCE
    variables, seconds = await world.ask("375290000022")
    assert seconds < DEADLINE_S + SLACK_S
    assert variables["VOCHI_STATUS"] == "timeout"
    assert variables["CALLERID(name)"] == "Тестов Тест | МТС Центр | Салон 1"

    world.telegram.break_next(TelegramFault.SILENCE, times=1000)
    await world.call("375290000022")
    variables, seconds = await world.ask("375290000022")
    assert seconds < DEADLINE_S + SLACK_S
    assert variables["CALLERID(name)"] == "Тестов Тест | МТС Центр | Салон 1"

    world.postgres.freeze()
    variables, seconds = await world.ask("375290000011")
    assert seconds < DEADLINE_S + SLACK_S
    assert variables["CALLERID(name)"] == "МТС Центр | Салон 1"

    await world.postgres.close()
    variables, seconds = await world.ask("375290000011")
    assert seconds < DEADLINE_S + SLACK_S
    assert variables["CALLERID(name)"] == "МТС Центр | Салон 1"


async def test_calls_wait_for_postgresql_and_are_stored_in_order(world: World) -> None:
    """Two calls end while the database is away; both cards come when it is back, in the order of the calls."""
    await world.postgres.close()
    await world.call("375290000011")
    await world.call("375290000012")
    assert finals(world.telegram, CHAT) == []

    await world.postgres.open()

    first, second = await world.cards(2)
    assert "000-00-11" in first
    assert "000-00-12" in second


async def test_a_dead_crm_delays_neither_card_nor_call(world: World) -> None:
    """The card comes at once without a name, and gets it when the CRM is asked again at the end of a later call."""
    world.crm.fault = CrmFault.REFUSE
    await world.call("375290000022")
    (card,) = await world.cards(1)
    assert "👤" not in card


async def test_a_wrong_password_and_a_dead_pbx_are_waited_for(tmp_path: Path) -> None:
    """`run` stays up, says so once, answers FastAGI, and stops in order."""
    async with Pbx(phones={}, trunks=[], users={"vochi": User(secret="right")}) as pbx:
        daemon = DaemonProcess.of(tmp_path, ami_port=pbx.manager.port, secret="wrong")
        async with daemon:
            await says(daemon, "refuses us")
            await asyncio.sleep(2.0)  # it tries again meanwhile
            assert await daemon.answers("/health/live")
            assert not await daemon.answers("/health/ready")
            assert daemon.log.read_text().count("refuses us") == 1
            assert "wrong" not in daemon.log.read_text()
            assert await daemon.stop() == 0

    daemon = DaemonProcess.of(tmp_path / "dead", ami_port=free_port(), secret="s")
    async with daemon:
        await says(daemon, "is away, trying again")
        await asyncio.sleep(1.0)
        assert daemon.log.read_text().count("is away, trying again") == 1
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log.read_text()


async def says(daemon: DaemonProcess, words: str) -> None:
    """Return when its log has them."""

    async def there() -> bool:
        return words in daemon.log.read_text()

    await until(there, within=15)
