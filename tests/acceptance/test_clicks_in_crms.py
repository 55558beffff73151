"""A click on a phone in a CRM, on a real Asterisk: who clicked hears his phone, then the customer hears his."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.calls.model import Call
from vochi_agent.simulator.amocrm import AmoCrmSandbox
from vochi_agent.simulator.bitrix24 import Bitrix24Sandbox
from vochi_agent.simulator.moysklad import MoySkladSandbox
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


PORTALS = """
  [enterprises.crm.moysklad]
  url = "{moysklad}"
  api_key = "data-key"
  phone_key = "phone-key"
  webhook_secret = "{hook}"
  [enterprises.crm.bitrix24]
  url = "{bitrix24}"
  client_id = "app-id"
  client_secret = "app-secret"
  refresh_token = "first-refresh"
  oauth_url = "{bitrix24}"
  webhook_secret = "{hook}"
  application_token = "app-token"
  events_s = 5.0
  [enterprises.crm.amocrm]
  url = "{amocrm}"
  api_key = "long-lived"
  webhook_secret = "{hook}"
  agents = {{ "900" = "107" }}
"""


@dataclass
class Portals:
    """A company with the three CRMs that list calls by an id of their own or of ours."""

    world: World
    session: aiohttp.ClientSession
    moysklad: MoySkladSandbox
    bitrix24: Bitrix24Sandbox
    amocrm: AmoCrmSandbox

    async def post(self, path: str, **body: Any) -> int:
        """To the daemon's webhooks; returns the status."""
        url = f"http://127.0.0.1:{self.world.daemon.http_port}/webhooks/0901/{path}"
        async with self.session.post(url, **body) as answer:
            return answer.status

    async def click_in_moysklad(self) -> int:
        """As its Phone API tells of it: the employee by his extension."""
        told = {"srcNumber": "101", "destNumber": CUSTOMER, "uid": "admin@romashka"}
        return await self.post(f"moysklad/{HOOK}/call", json=told)

    async def click_in_amocrm(self) -> int:
        """As a widget of the account tells of it."""
        return await self.post(f"amocrm/{HOOK}/call", data={"phone": PHONE, "user": "900", "account": "127"})

    async def click_in_bitrix24(self) -> int:
        """The event, sent to us and found in the queue as well."""
        return await self.post(f"bitrix24/{HOOK}", data=self.bitrix24.click("8", PHONE))

    async def click_behind_nat(self) -> int:
        """The event, in the queue alone."""
        self.bitrix24.click("1", PHONE)
        return 200

    async def rang(self, phones: int) -> None:
        """Return when so many have been rung in all."""

        async def enough() -> bool:
            return len(self.world.sipp.invites()) >= phones

        await until(enough, within=20)

    async def until_listed(self, calls: int) -> None:
        """Return when each of the three lists so many; whoever wanted to list one twice has done so by then."""

        async def everywhere() -> bool:
            return self.listed() == (calls, calls, calls)

        await until(everywhere, within=30)
        await asyncio.sleep(1)
        assert self.listed() == (calls, calls, calls)

    def listed(self) -> tuple[int, int, int]:
        """Finished calls in the lists of MoySklad, Bitrix24 and amoCRM."""
        return (
            sum("duration" in call.fields for call in self.moysklad.calls.values()),
            sum(call.finished is not None for call in self.bitrix24.calls.values()),
            sum(map(len, self.amocrm.calls.values())),
        )


@pytest.fixture
async def portals(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Portals]:
    async with (
        MoySkladSandbox(data_key="data-key", phone_key="phone-key") as moysklad,
        Bitrix24Sandbox(webhook_secret="unused") as bitrix24,
        AmoCrmSandbox(token="long-lived") as amocrm,
        world_around(asterisk, sipp, postgres, tmp_path, ari_port=asterisk.ports.http) as world,
        aiohttp.ClientSession() as session,
    ):
        for user, extension in (("1", "101"), ("2", "107"), ("8", "102"), ("9", "110")):
            bitrix24.add_user(user, extension=extension)
        amocrm.add_contact(5551, name="Тестов Тест", phones=[CUSTOMER])
        await world.daemon.stop()
        tables = PORTALS.format(moysklad=moysklad.url, bitrix24=bitrix24.url, amocrm=amocrm.url, hook=HOOK)
        world.daemon.config.write_text(world.daemon.config.read_text() + tables)
        await world.daemon.start()
        await world.daemon.until_ready()
        yield Portals(world, session, moysklad, bitrix24, amocrm)


async def test_a_click_in_each_of_the_others_rings_who_clicked_then_the_customer_and_is_listed_once(
    portals: Portals,
) -> None:
    """Four clicks, one after the other: MoySklad, amoCRM, Bitrix24 sent to us, Bitrix24 behind NAT."""
    world, bitrix24 = portals.world, portals.bitrix24

    async def queue_is_read() -> bool:
        return "ONEXTERNALCALLSTART" in [each["event"] for each in bitrix24.events.handlers]

    await until(queue_is_read, within=20)
    clicks = {
        portals.click_in_moysklad: "101",
        portals.click_in_amocrm: "107",
        portals.click_in_bitrix24: "102",
        portals.click_behind_nat: "101",
    }
    for number, (click, extension) in enumerate(clicks.items(), 1):
        assert await click() == 200
        await portals.rang(2 * number)
        await asyncio.sleep(1)
        first, second = world.sipp.invites()[-2:]
        assert (first.number, first.display_name, second.number) == (extension, "Тестов Тест", CUSTOMER)
        await world.asterisk.command("channel request hangup all")
        await world.asterisk.until_idle()

    await portals.until_listed(4)
    assert len(world.sipp.invites()) == 8
    outgoing = [call.fields["isIncoming"] for call in portals.moysklad.calls.values()]
    assert outgoing == [False] * 4
    clicked = [call for call_id, call in bitrix24.calls.items() if "click" in call_id]
    assert [(call.finished or {}).get("USER_ID") for call in clicked] == ["8", "1"]
    assert [call.finished["STATUS_CODE"] for call in clicked if call.finished] == ["200", "200"]
    assert len(bitrix24.calls) == 4  # nothing was registered beside the calls of its own two clicks

    # The telephone 110 is nowhere: the portal must not go on showing a call that nobody makes.
    lost = bitrix24.click("9", PHONE)
    assert await portals.post(f"bitrix24/{HOOK}", data=lost) == 200

    async def is_closed() -> bool:
        return (bitrix24.calls[lost["data[CALL_ID]"]].finished or {}).get("STATUS_CODE") == "603-S"

    await until(is_closed, within=10)
    assert len(world.sipp.invites()) == 8


async def test_a_daemon_killed_after_the_click_finishes_the_portals_own_call_when_it_is_back(portals: Portals) -> None:
    """The end of the call is found in CEL, the portal's id of it in the database."""
    world = portals.world
    form = portals.bitrix24.click("1", PHONE)
    assert await portals.post(f"bitrix24/{HOOK}", data=form) == 200
    await portals.rang(2)
    await asyncio.sleep(1)
    await world.daemon.kill()
    await world.asterisk.command("channel request hangup all")
    await world.asterisk.until_idle()
    await world.daemon.start()

    await portals.until_listed(1)
    (call,) = portals.bitrix24.calls.values()
    assert call.id == form["data[CALL_ID]"]
    assert call.finished is not None
    assert (call.finished["USER_ID"], call.finished["STATUS_CODE"]) == ("1", "200")
