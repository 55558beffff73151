"""A click on a phone in a CRM, on a real Asterisk: who clicked hears his phone, then the customer hears his."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.calls.model import Call
from vochi_agent.simulator.uon import UonSandbox

pytestmark = pytest.mark.asterisk

HOOK = "Hook-secret-77"
CUSTOMER, PHONE = "375290000022", "+375290000022"
UON = """
  [enterprises.crm.uon]
  url = "{url}"
  api_key = "uon-key"
  webhook_secret = "{hook}"
  account_id = "900"
  agents = {{ "5" = "107" }}
"""


@dataclass
class Office:
    """A company whose two CRMs may call."""

    world: World
    session: aiohttp.ClientSession

    def address(self, path: str) -> str:
        """Below the daemon's webhooks."""
        return f"http://127.0.0.1:{self.world.daemon.http_port}/webhooks/0901/{path}"

    async def click_in_retailcrm(self, phone: str = "8 (029) 000-00-22", *, hook: str = HOOK, user: str = "7") -> int:
        """What the browser of a manager brings RetailCRM to ask; returns the status."""
        query = {"clientId": "vochi-0901", "phone": phone, "userId": user}
        async with self.session.get(self.address(f"retailcrm/{hook}/call"), params=query) as answer:
            return answer.status

    async def click_in_uon(self) -> int:
        """The webhook of type 47."""
        form = {"uon_id": "900", "type_id": "47", "method": "call", "phone": CUSTOMER, "user_id": "5"}
        async with self.session.post(self.address(f"uon/{HOOK}"), data=form) as answer:
            return answer.status

    async def record(self) -> Call:
        """The one call of the ledger, once it is there."""
        await self.world.asterisk.until_idle()

        async def written() -> bool:
            return bool(await self.world.calls())

        await until(written, within=20)
        (call,) = await self.world.calls()
        return call


@pytest.fixture
async def office(pbx: Asterisk, lines: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Office]:
    async with (
        UonSandbox(api_key="uon-key") as uon,
        world_around(pbx, lines, postgres, tmp_path, chats=(), ari_port=pbx.ports.http, managers={"7": "101"}) as world,
        aiohttp.ClientSession() as session,
    ):
        uon.add_user(1001, surname="Тестов", name="Тест", phones=[PHONE])
        await world.daemon.stop()
        text = world.daemon.config.read_text()
        text = text.replace('api_key = "key"', f'api_key = "key"\n  webhook_secret = "{HOOK}"\n  module = "vochi-0901"')
        text = text.replace("[http]\n", '[http]\npublic_url = "https://pbx.example"\n')
        world.daemon.config.write_text(text + UON.format(url=uon.url, hook=HOOK))
        await world.daemon.start()
        await world.daemon.until_ready()
        yield Office(world, session)


@pytest.mark.parametrize(
    ("click", "extension"), [(Office.click_in_retailcrm, "101"), (Office.click_in_uon, "107")], ids=["retailcrm", "uon"]
)
async def test_the_phone_of_who_clicked_rings_with_the_customers_name_then_the_customers(
    office: Office, click: Callable[[Office], Awaitable[int]], extension: str
) -> None:
    assert await click(office) == 200
    await office.world.sipp.wait_for_invite(CUSTOMER, within=10)
    await asyncio.sleep(1)
    first, second = office.world.sipp.invites()
    assert (first.number, first.display_name, first.caller) == (extension, "Тестов Тест", PHONE)
    assert (second.number, second.caller) == (CUSTOMER, extension)
    assert second.at > first.at

    await office.world.asterisk.command("channel request hangup all")
    call = await office.record()
    assert (call.direction, call.status, call.phone, call.first_agent) == ("out", "answered", PHONE, extension)
    assert call.path == (extension,)


async def test_a_second_click_a_strangers_click_and_a_forbidden_number_ring_nobody(office: Office) -> None:
    assert [
        await office.click_in_retailcrm(hook="guessed"),
        await office.click_in_retailcrm(user="99"),
        await office.click_in_retailcrm("104"),
        await office.click_in_retailcrm("*72"),
        await office.click_in_retailcrm("+79000000001"),
    ] == [404, 422, 422, 422, 422]
    await asyncio.sleep(1)
    assert office.world.sipp.invites() == []

    assert [await office.click_in_retailcrm(), await office.click_in_retailcrm()] == [200, 200]
    await office.world.sipp.wait_for_invite(CUSTOMER, within=10)
    await asyncio.sleep(1)
    assert len(office.world.sipp.invites()) == 2
    assert HOOK not in office.world.daemon.log.read_text()


async def test_the_module_is_registered_with_the_address_that_takes_clicks(office: Office) -> None:
    crm, command = office.world.crm, Workplace(office.world.daemon.config.parent)
    first = await command.vochi("crm", "register", "retailcrm", "--json")
    telephony = crm.modules["vochi-0901"]["integrations"]["telephony"]
    assert first.json() == {"code": "vochi-0901", "extensions": [["7", "101"]], "renewed": False}
    assert telephony["makeCallUrl"] == f"https://pbx.example/webhooks/0901/retailcrm/{HOOK}/call"

    telephony["additionalCodes"].append({"userId": 9, "code": "160"})
    again = await command.vochi("crm", "register", "retailcrm")
    assert again.code == 0
    assert "up to date" in again.out
    assert HOOK not in again.out + again.err
    codes = crm.modules["vochi-0901"]["integrations"]["telephony"]["additionalCodes"]
    assert codes == [{"userId": 7, "code": "101"}, {"userId": 9, "code": "160"}]
