"""One daemon, three CRMs: the name of a caller, a card while his call rings, the call in each list exactly once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import DaemonProcess, configuration
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.simulator.amocrm import AmoCrmSandbox
from vochi_agent.simulator.bitrix24 import Bitrix24Sandbox
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.moysklad import MoySkladSandbox
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.simulator.pbx_dialplan import CallerIdSubroutine

SECRET = "ami-Sesam-1"
NAMES = {"moysklad": "Складов Олег", "bitrix24": "Порталов Олег", "amocrm": "Амов Олег"}
CALLER, PHONE = "80290000022", "+375290000022"
TABLES = """
  [enterprises.crm.moysklad]
  url = "{moysklad}"
  api_key = "data-key"
  phone_key = "phone-key"
  timeout_s = 5.0
  [enterprises.crm.bitrix24]
  url = "{bitrix24}"
  client_id = "app-id"
  client_secret = "app-secret"
  refresh_token = "first-refresh"
  oauth_url = "{bitrix24}"
  timeout_s = 5.0
  [enterprises.crm.amocrm]
  url = "{amocrm}"
  api_key = "long-lived"
  agents = {{ "900" = "101" }}
  timeout_s = 5.0
"""


@dataclass
class Company:
    """The PBX, the three accounts and the daemon between them."""

    pbx: Pbx
    moysklad: MoySkladSandbox
    bitrix24: Bitrix24Sandbox
    amocrm: AmoCrmSandbox
    daemon: DaemonProcess

    async def call(self) -> str:
        """The caller rings 101, who answers; the name that was on its display."""
        shown = len(self.pbx.displays)
        await self.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=CALLER, ring=["101"], answer="101", after_s=4, talk_s=8
        )
        return self.pbx.displays[shown].name

    def listed(self) -> tuple[int, int, int]:
        """Finished calls in the lists of MoySklad, Bitrix24 and amoCRM."""
        return (
            sum("duration" in call.fields for call in self.moysklad.calls.values()),
            sum(call.finished is not None for call in self.bitrix24.calls.values()),
            sum(map(len, self.amocrm.calls.values())),
        )


@pytest.fixture(params=["moysklad", "bitrix24", "amocrm"])
async def company(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Company]:
    """At work; the CRM of the parameter is the primary source."""
    user = User(
        secret=SECRET, read=frozenset({"call", "agent", "user", "dialplan"}), write=frozenset({"call", "reporting"})
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pbx = await enter(Pbx(phones={"101": "Первый Агент"}, trunks=["PJSIP/gsm1"], users={"vochi": user}, speed=4))
        moysklad = await enter(MoySkladSandbox(data_key="data-key", phone_key="phone-key"))
        bitrix24 = await enter(Bitrix24Sandbox(webhook_secret="unused"))
        amocrm = await enter(AmoCrmSandbox(token="long-lived"))
        moysklad.add_employee("22222222-bbbb-11ee-0a80-000000000002", extension="101")
        moysklad.add_counterparty("c-1", name="Складов Олег", phone="8 (029) 000-00-22")
        bitrix24.add_user("7", extension="101")
        bitrix24.add_contact("77", last_name="Порталов", name="Олег", phones=["+375290000022"], user="7")
        amocrm.add_contact(5551, name="Амов Олег", last_name="Амов", first_name="Олег", phones=["375290000022"])
        ports = {"agi_port": free_port(), "http_port": free_port()}
        dsn = await enter(postgres.database())
        text = configuration(
            state_dir=tmp_path / "state", ami_port=pbx.manager.port, secret=SECRET, database=dsn, **ports
        )
        tables = TABLES.format(moysklad=moysklad.url, bitrix24=bitrix24.url, amocrm=amocrm.url)
        path = tmp_path / "config.toml"
        path.write_text(text.replace('primary_source = "manual"', f'primary_source = "{request.param}"') + tables)
        pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=ports["agi_port"])
        daemon = await enter(DaemonProcess(path, **ports))
        await daemon.until_ready()
        await happens(lambda: "VOCHI_ALIVE_a" in pbx.switch.variables)
        yield Company(pbx, moysklad, bitrix24, amocrm, daemon)


async def happens(what: Callable[[], bool], *, within: float = 20.0) -> None:
    async def there() -> bool:
        return what()

    await until(there, within=within)


async def test_a_call_is_named_shown_and_listed_once_in_all_three(
    company: Company, request: pytest.FixtureRequest
) -> None:
    name = NAMES[request.node.callspec.params["company"]]
    async with asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(company.call(), name="the call")
        await happens(lambda: bool(company.amocrm.popups))
        await happens(lambda: any(call.screens for call in company.bitrix24.calls.values()))
        await happens(lambda: any(call.events for call in company.moysklad.calls.values()))
    await happens(lambda: company.listed() == (1, 1, 1))
    await asyncio.sleep(1.0)  # whoever wanted to list it twice has done so by now

    assert calling.result().startswith(f"{name} | ")
    assert company.listed() == (1, 1, 1)
    (in_moysklad,) = company.moysklad.calls.values()
    (in_bitrix24,) = company.bitrix24.calls.values()
    ((in_amocrm,),) = company.amocrm.calls.values()
    kinds = [each["eventType"] for each in in_moysklad.events]
    assert (kinds[0], kinds[-1], in_moysklad.fields["comment"]) == ("SHOW", "HIDE_ALL", "Разговор: 101")
    assert in_bitrix24.finished is not None
    assert (in_bitrix24.finished["STATUS_CODE"], in_bitrix24.finished["USER_ID"]) == ("200", "7")
    assert in_bitrix24.screens == set()
    assert (in_amocrm["call_status"], in_amocrm["responsible_user_id"]) == (4, 900)
    assert company.amocrm.popups == [{"type": "phone_call", "phone_number": PHONE[1:], "users": [900]}]


@pytest.mark.parametrize("company", ["bitrix24"], indirect=True)
async def test_a_daemon_that_is_killed_with_a_call_in_its_outbox_lists_it_once_when_it_is_back(
    company: Company,
) -> None:
    """The call is in the portal from its card, its end is not: the answer to it is lost, and the daemon dies."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(company.call(), name="the call")
        await happens(lambda: any(call.screens for call in company.bitrix24.calls.values()))
        company.bitrix24.fault = Fault.LOST
    await happens(lambda: company.listed() == (1, 1, 1))
    await company.daemon.kill()
    company.bitrix24.fault = None
    asked = len(company.bitrix24.methods)
    await company.daemon.start()
    finish = "telephony.externalcall.finish"
    # What a dead daemon had begun is begun again after its lease of a minute.
    await happens(lambda: finish in company.bitrix24.methods[asked:], within=90)
    await asyncio.sleep(1.0)

    assert company.listed() == (1, 1, 1)
    assert [len(company.moysklad.calls), len(company.bitrix24.calls)] == [1, 1]
    assert "refused a call" not in company.daemon.log.read_text()
    assert (company.daemon.config.parent / "state" / "crm" / "0901-bitrix24.json").stat().st_mode & 0o777 == 0o600
