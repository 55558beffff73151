"""MoySklad, Bitrix24 and amoCRM tell a running daemon of changes, through its HTTP door into PostgreSQL.

The daemon is a process of its own, and what it says to people (log, `doctor`) is a part of what is tried.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from tests.support.commands import Workplace
from tests.support.daemon import DaemonProcess
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.tellers import PHONE, TELLERS, Message, Teller
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.store.postgres import PostgresStore

pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

CONFIGURATION = """
[daemon]
state_dir = "{folder}/state"
[database]
url = "{dsn}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
public_url = "https://pbx.example/"
"""
ENTERPRISE = """
[[enterprises]]
number = "{number}"
country = "BY"
  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret = "s"
  [enterprises.crm.{crm}]
  url = "{url}"
  webhook_secret = "{hook}"
  log_calls = false
  popups = false
  {table}
"""


@dataclass
class House:
    """One daemon, three companies, each with a CRM of its own."""

    tellers: list[Teller]
    daemon: DaemonProcess
    store: PostgresStore
    dsn: str
    session: aiohttp.ClientSession

    async def post(self, message: Message, path: str) -> int:
        """What a CRM sends; returns the status."""
        url, headers = f"http://127.0.0.1:{self.daemon.http_port}{path}", {"Content-Type": message.content_type}
        async with self.session.post(url, params=message.query, data=message.body, headers=headers) as response:
            return response.status

    async def tell(self, teller: Teller) -> int:
        """Of the person's change."""
        return await self.post(teller.changed(), teller.path())

    async def is_named(self, teller: Teller, last_name: str) -> bool:
        """Whether the customer's row says so."""
        row = await self.store.customers.customer(teller.number, PHONE)
        return row is not None and row.names.last_name == last_name

    async def becomes(self, teller: Teller, last_name: str, *, within: float = 20.0) -> None:
        """Once the row says so."""

        async def there() -> bool:
            return await self.is_named(teller, last_name)

        await until(there, within=within)

    async def waiting(self) -> int:
        """Changes that were taken and are not done."""
        return sum([await self.store.changes.waiting(each.number, each.name) for each in self.tellers])

    async def execute(self, statement: str) -> None:
        """By the direct way."""
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(statement)
        await connection.close()

    def said(self, action: str) -> list[dict[str, str]]:
        """The daemon's warnings of one kind."""
        lines = [json.loads(line) for line in self.daemon.log.read_text().splitlines() if line.startswith("{")]
        return [each for each in lines if each.get("action") == action and each["level"] == "warning"]

    async def until_said(self, action: str, count: int) -> list[dict[str, str]]:
        """The same, once there are so many."""

        async def enough() -> bool:
            return len(self.said(action)) >= count

        await until(enough, within=20)
        return self.said(action)

    async def doctor(self, teller: Teller) -> list[str]:
        """What `doctor` finds wrong with a CRM."""
        answer = await Workplace(self.daemon.config.parent).vochi("doctor", "--json")
        part = f"{teller.name} {teller.number}"
        return [each["sentence"] for each in answer.json() if each["part"] == part and each["level"] != "unknown"]


@pytest.fixture
async def house(tmp_path: Path, dsn: str, store: PostgresStore) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        tellers: list[Teller] = [kind() for kind in TELLERS]
        for teller in tellers:
            await enter(teller.sandbox)
        ports = {"agi_port": free_port(), "http_port": free_port()}
        path = tmp_path / "config.toml"
        enterprises = [
            ENTERPRISE.format(
                number=each.number, crm=each.name, url=each.sandbox.url, hook=each.hook, table=each.table(),
                ami_port=free_port(),
            )
            for each in tellers
        ]  # fmt: skip
        path.write_text(CONFIGURATION.format(folder=tmp_path, dsn=dsn, **ports) + "".join(enterprises))
        tokens = tmp_path / "state" / "crm"
        tokens.mkdir(parents=True)
        for teller in tellers:
            if teller.aged:
                (tokens / f"{teller.number}-{teller.name}.json").write_text(teller.aged)
        session = await enter(aiohttp.ClientSession())
        daemon = await enter(DaemonProcess(path, **ports))
        yield House(tellers, daemon, store, dsn, session)


async def test_a_name_that_changes_in_a_crm_changes_here_though_its_token_was_an_old_one(house: House) -> None:
    for last_name in ("Первый", "Второй"):
        for teller in house.tellers:
            teller.named(last_name)
            assert await house.tell(teller) == 200
        for teller in house.tellers:
            await house.becomes(teller, last_name)

    bought = [each.sandbox.pairs for each in house.tellers if each.aged]
    assert bought == [1, 1]
    assert house.said("crm_down") == []


async def test_bitrix24_is_told_by_a_command_where_its_events_go(house: House) -> None:
    _, bitrix24, _ = house.tellers
    command = Workplace(house.daemon.config.parent)
    first = await command.vochi("crm", "register", "bitrix24", "--enterprise", "0902", "--json")
    again = await command.vochi("crm", "register", "bitrix24", "--enterprise", "0902")
    missing = await command.vochi("crm", "register", "retailcrm", "--enterprise", "0902")

    assert first.json()["anew"] == first.json()["events"]
    assert {each["handler"] for each in bitrix24.sandbox.events.handlers} == {f"https://pbx.example{bitrix24.path()}"}
    assert "from now on" not in again.out
    assert bitrix24.hook not in first.out + first.err + again.out + again.err
    assert (missing.code, "crm.retailcrm is missing" in missing.err) == (2, True)


async def test_what_was_answered_200_is_not_lost_with_the_daemon_that_is_killed(house: House) -> None:
    for teller in house.tellers:
        teller.named("Пережившая")
        teller.sandbox.fault = Fault.REFUSE
        assert await house.tell(teller) == 200
    await house.daemon.kill()
    for teller in house.tellers:
        assert not await house.is_named(teller, "Пережившая")
        teller.sandbox.fault = None
    # As if the lease of the dead daemon had passed.
    await house.execute("UPDATE crm_changes SET claimed_at = NULL, retry_at = NULL")
    await house.daemon.start()

    for teller in house.tellers:
        await house.becomes(teller, "Пережившая")


async def test_what_is_forged_foreign_too_large_or_nonsense_writes_nothing_and_is_in_the_log(house: House) -> None:
    strangers = {"moysklad": "55555555-dddd-11ee-0a80-000000000004", "bitrix24": "another-token", "amocrm": "1"}
    for teller, neighbour in zip(house.tellers, [*house.tellers[1:], house.tellers[0]], strict=True):
        changed = teller.changed()
        large = Message(body=changed.body + b" " * 300_000, content_type=changed.content_type, query={})
        nonsense = Message(body=b"phone=%2B375290000022", content_type="text/plain", query={})
        answers = [
            await house.post(changed, teller.path(secret="guessed")),
            await house.post(changed, teller.path(number=neighbour.number)),
            await house.post(changed, teller.path(secret=neighbour.hook)),
            await house.post(teller.changed(account=strangers[teller.name]), teller.path()),
            await house.post(large, teller.path()),
            await house.post(nonsense, teller.path()),
        ]
        expected = 404 if teller.name == "bitrix24" else 422  # what nobody proves is not even read
        assert answers == [404, 404, 404, 404, 413, expected], teller.name

    assert await house.waiting() == 0
    assert len(await house.until_said("webhook_foreign", 4)) == 4
    kept = [each["body"] for each in await house.until_said("webhook_not_understood", 2)]
    assert kept == ["phone=***"] * 2
    log = house.daemon.log.read_text()
    assert not [each.hook for each in house.tellers if each.hook in log]


async def test_an_answer_of_fifty_megabytes_changes_nothing_is_said_once_and_asked_for_again(house: House) -> None:
    for teller in house.tellers:
        assert await house.tell(teller) == 200
        await house.becomes(teller, "Прежний")
        teller.named("Поздняя")
        teller.sandbox.fault = Fault.HUGE
        assert await house.tell(teller) == 200
    said = await house.until_said("crm_down", 3)
    (found, *_) = await house.doctor(house.tellers[0])
    for teller in house.tellers:
        assert await house.is_named(teller, "Прежний")
        teller.sandbox.fault = None
    # Sooner than the breaker and the pause between two attempts would allow.
    await house.daemon.stop()
    await house.execute("UPDATE crm_changes SET claimed_at = NULL, retry_at = NULL")
    await house.daemon.start()

    assert ["the answer is larger than" in each["message"] for each in said] == [True] * 3
    assert "the answer is larger than" in found
    for teller in house.tellers:
        await house.becomes(teller, "Поздняя")


async def test_a_dead_token_and_a_portal_that_moved_are_one_line_each_and_in_doctor(house: House) -> None:
    _, bitrix24, amocrm = house.tellers
    bitrix24.sandbox.endpoint = "https://new-name.bitrix24.example"
    amocrm.sandbox.refresh_token = "spent elsewhere"
    for _ in range(2):
        for teller in (bitrix24, amocrm):
            assert await house.tell(teller) == 200
    await house.becomes(bitrix24, "Прежний")
    (dead,) = await house.until_said("crm_down", 1)
    (moved,) = await house.until_said("crm_moved", 1)

    assert "allow the application again" in dead["message"]
    assert "has moved to new-name.bitrix24.example" in moved["message"]
    assert any("moved to new-name.bitrix24.example" in each for each in await house.doctor(bitrix24))
    assert any("it refuses our key" in each for each in await house.doctor(amocrm))


async def test_a_crm_whose_clock_is_an_hour_off_is_believed_in_all_but_the_time(house: House) -> None:
    for teller, ahead_s in zip(house.tellers, (3600.0, -3600.0, 0.0), strict=True):
        teller.sandbox.ahead_s = ahead_s
        for _ in range(2):
            assert await house.tell(teller) == 200
            await house.becomes(teller, "Прежний")
    said = [each["message"] for each in await house.until_said("crm_clock", 2)]
    late, early, right = [await house.doctor(teller) for teller in house.tellers]

    assert [each.split(" is ")[1].split(" ours")[0].split(" s ")[1] for each in said] == ["ahead of", "behind"]
    assert [each for each in late if "ahead of ours: calls are listed there at our times" in each]
    assert [each for each in early if "behind ours" in each]
    assert not [each for each in right if "clock" in each]
