"""Buttons of a running daemon: a missed call is taken, called back and closed, and a kill -9 loses nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.support.asterisk import Asterisk
from tests.support.daemon import DaemonProcess
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import CHAT, world_around
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.simulator.telegram import SandboxMessage, TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram import press_text as say

ANNA = 5
CALLER, CUSTOMER = "375290000011", "375290000022"
# Whatever else this machine does.
PATIENCE_S = 30.0


@dataclass
class Office:
    """A PBX, its daemon and the chat that reads about its calls."""

    pbx: Pbx
    telegram: TelegramSandbox
    daemon: DaemonProcess
    dsn: str

    async def missed(self) -> None:
        """Somebody calls and gives up."""
        await self.pbx.inbound(trunk="PJSIP/gsm1", did="0001701", caller=CALLER, ring=["101"], gives_up_s=1.0)

    async def call_back(self) -> None:
        """A colleague calls him and they talk."""
        await self.pbx.outbound(extension="102", number=CALLER, trunk="PJSIP/gsm1", after_s=0.5, talk_s=1.0)

    async def until_says(self, words: str) -> SandboxMessage:
        """The message of the chat that says something."""
        return await says(self.telegram, words)

    async def until_noted(self) -> None:
        """Return when the table knows what the chat shows: killed sooner, it would be shown twice for a while."""
        unknown = "SELECT 1 FROM cards WHERE sent_revision < revision AND coalesce(retry_at, now()) <= now()"

        async def noted() -> bool:
            return not await self.sql(unknown)

        await until(noted, within=PATIENCE_S)

    async def restarted(self) -> None:
        """Kill -9, as the kernel or an impatient person does."""
        await self.daemon.kill()
        await self.started()

    async def started(self) -> None:
        """The daemon is there and reads what people do: whoever presses waits some seconds for it, not for ever."""
        self.telegram.requests.clear()
        await self.daemon.start()
        await self.daemon.until_ready()
        await self.telegram.until(self._is_read, within=PATIENCE_S)

    def _is_read(self) -> bool:
        return any(request.method == "getUpdates" for request in self.telegram.requests)

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        """Beside the daemon."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()


async def says(telegram: TelegramSandbox, words: str) -> SandboxMessage:
    """The newest message of the chat that says something."""

    def found() -> list[SandboxMessage]:
        return [message for message in telegram.messages(CHAT) if words in message.text]

    await telegram.until(lambda: bool(found()), within=PATIENCE_S)
    return found()[-1]


async def sign_up(telegram: TelegramSandbox, store: PostgresStore, extension: str) -> None:
    """Anna is an extension."""
    telegram.add_chat(ANNA, title="Анна")
    telegram.write(ANNA, f"/start {await store.operators.invite('0901', extension)}", user_id=ANNA)
    await telegram.until(lambda: bool(telegram.messages(ANNA)), within=PATIENCE_S)


@asynccontextmanager
async def office_at(postgres: PostgresServer, folder: Path) -> AsyncIterator[Office]:
    async with (
        postgres.database() as dsn,
        PostgresStore(dsn, pool_size=2) as store,
        TelegramSandbox() as telegram,
        Pbx(phones={"101": "", "102": ""}, trunks=["PJSIP/gsm1"], users={"vochi": User(secret="s")}) as pbx,
    ):
        telegram.add_chat(CHAT)
        telegram.limited = True
        facts = {"ami_port": pbx.manager.port, "secret": "s", "telegram_url": telegram.url, "database": dsn}
        async with DaemonProcess.of(folder, **facts) as daemon:
            await daemon.until_ready()
            await sign_up(telegram, store, "101")
            yield Office(pbx, telegram, daemon, dsn)


async def test_a_missed_call_is_taken_reminded_of_and_closed_whatever_dies_meanwhile(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with office_at(postgres, tmp_path) as office:
        await office.missed()
        card = await office.until_says("❌ Мы не подняли трубку")
        assert card.buttons == ["Взял(а)", "Почему?"], "without ARI nobody can be called"
        await office.until_noted()
        # A reminder is due while nobody is there.
        await office.daemon.kill()
        await office.sql("UPDATE cards SET retry_at = now(), changed_at = now() WHERE kind = 'reminder'")
        await office.started()
        reminder = await office.until_says("⏰ Никто не перезвонил уже 15 мин")
        await office.until_noted()
        await office.restarted()

        query = office.telegram.press(reminder, "Взял(а)", user_id=ANNA)
        await office.telegram.until(lambda: query in office.telegram.queries.answers, within=PATIENCE_S)
        await office.restarted()
        assert office.telegram.queries.answers[query] == (say.TAKEN, False)
        taken = await office.until_says("🙋 Взял(а) ☎️Первый Агент (101) в ")
        assert taken.message_id == card.message_id

        await office.call_back()
        closed = await office.until_says("☑️ Перезвонил(а) ☎️Доб.102 через ")
        await office.until_says("✅Успешный исходящий звонок")
        await office.telegram.until(lambda: len(office.telegram.messages(CHAT)) == 2, within=PATIENCE_S)
        assert closed.message_id == card.message_id
        assert closed.buttons == ["Почему?"]
        assert CALLER not in str(office.telegram.queries)
        assert "Traceback" not in office.daemon.log.read_text()
        assert "290000011" not in office.daemon.log.read_text()


@pytest.mark.asterisk
async def test_a_press_rings_the_own_phone_with_the_customers_name_then_the_customers(
    asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path
) -> None:
    async with world_around(asterisk, sipp, postgres, tmp_path, ari_port=asterisk.ports.http) as world:
        await sign_up(world.telegram, world.store, "101")
        await sipp.call("0000103", CUSTOMER, patience_s=1.5)
        card = await says(world.telegram, "❌ Мы не подняли трубку")
        query = world.telegram.press(card, "Перезвонить", user_id=ANNA)
        await world.telegram.until(lambda: query in world.telegram.queries.answers, within=PATIENCE_S)
        assert world.telegram.queries.answers[query] == (say.RINGING.format(extension="101"), False)
        await sipp.wait_for_invite(CUSTOMER, within=PATIENCE_S)
        _, first, second = sipp.invites()
        assert (first.number, first.display_name, first.caller) == ("101", "Тестов Тест", f"+{CUSTOMER}")
        assert (second.number, second.caller) == (CUSTOMER, "101")

        await says(world.telegram, "🔗 Идет исходящий разговор")
        await asyncio.sleep(0.5)  # of conversation
        await asterisk.command("channel request hangup all")
        closed = await says(world.telegram, "☑️ Перезвонил(а) ☎️Первый Агент (101) через ")
        assert closed.message_id == card.message_id
        assert closed.buttons == ["Почему?", "Перезвонить"]
