"""Two enterprises in one daemon; whatever is broken inside one, the other does not notice, and the one comes back."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.finals import finals, until_finals
from tests.support.polling import until
from tests.support.ports import free_port
from vochi_agent.call_log import Lookups
from vochi_agent.calls.model import Call, Status
from vochi_agent.cards import Keyboard
from vochi_agent.config import load
from vochi_agent.config.tables import CrmConfig
from vochi_agent.crm import CRMS, CrmFactory, Surroundings
from vochi_agent.customers.model import Customer, History, Profile
from vochi_agent.daemon import Daemon, assembled
from vochi_agent.lifetime import living
from vochi_agent.ports import CardDraft, ProfileSource
from vochi_agent.simulator.pbx import CallerIdSubroutine, Pbx, User
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter
from vochi_agent.telegram.drafts import renderer

# Who suffers from whom does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

SICK, HEALTHY = "0901", "0902"
CHATS = {SICK: -1001000000001, HEALTHY: -1001000000002}
TOKENS = {SICK: "41:SICK", HEALTHY: "42:TEST"}
CALLER = "375290000022"
NAME = "Тестов Тест | МТС Центр"

ENTERPRISE = """
[[enterprises]]
number = "{number}"
country = "BY"
telegram_token = "{token}"
primary_source = "retailcrm"
  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret = "s"
  [[enterprises.lines]]
  id = "0001701"
  endpoint = "PJSIP/gsm1"
  label = "МТС Центр"
  caller_name = ["customer", "line"]
  [[enterprises.agents]]
  extension = "101"
  [enterprises.crm.retailcrm]
  url = "{crm_url}"
  api_key = "{number}"
  [[enterprises.chats]]
  id = {chat}
"""


class Bug(Exception):
    """No failure that anybody has foreseen."""


@dataclass
class Moods:
    """Which part of the sick enterprise has a bug now."""

    broken: set[str] = field(default_factory=set)

    def meet(self, part: str, number: str) -> None:
        """Raise when it is this part's turn."""
        if number == SICK and part in self.broken:
            raise Bug(part)


@dataclass
class Company:
    """Two enterprises, each with a PBX, and one daemon between.

    Attributes:
        moods: What is broken.
    """

    pbxs: Mapping[str, Pbx]
    telegram: TelegramSandbox
    store: PostgresStore
    moods: Moods

    async def call(self, number: str) -> str:
        """An answered call; returns the name that the telephone showed."""
        pbx = self.pbxs[number]
        await pbx.inbound(trunk="PJSIP/gsm1", did="0001701", caller=CALLER, ring=["101"], answer="101", talk_s=1.0)
        return pbx.displays[-1].name

    async def rows(self, number: str, count: int, *, within: float = 5.0) -> list[Call]:
        """The ledger's calls of one enterprise, once there are so many."""
        calls: list[Call] = []

        async def there() -> bool:
            found = await self.store.reports.calls(CallFilter(limit=50))
            calls[:] = [call for call in found if call.enterprise_number == number]
            return len(calls) >= count

        await until(there, within=within)
        return calls

    async def cards(self, number: str, count: int, *, within: float = 5.0) -> list[str]:
        """The finished calls that the enterprise's chat shows, once there are so many."""
        return await until_finals(self.telegram, CHATS[number], count, within=within)

    async def healthy_is_well(self) -> None:
        """Three calls of the other enterprise: names, rows and cards, all in ordinary time."""
        before = len(finals(self.telegram, CHATS[HEALTHY]))
        for number in range(before, before + 3):
            assert await self.call(HEALTHY) == NAME
            assert len(await self.rows(HEALTHY, number + 1)) == number + 1
            assert len(await self.cards(HEALTHY, number + 1)) == number + 1


class SickCrm:
    """An adapter that meets an answer it was not written for."""

    name = "retailcrm"

    def __init__(self, real: ProfileSource, moods: Moods, number: str) -> None:
        self._real, self._moods, self._number = real, moods, number

    async def profile(self, phone: str) -> Profile | None:
        """As the real one, or a bug."""
        self._moods.meet("crm", self._number)
        return await self._real.profile(phone)


class SickBot:
    """A bot that breaks before any request."""

    def __init__(self, moods: Moods) -> None:
        self._moods = moods
        self.sent: list[str] = []

    async def send(self, chat_id: int, text: str, *, topic: int, silent: bool, markup: bool, keyboard: Keyboard) -> int:
        """Keep it, or a bug."""
        self._moods.meet("telegram", SICK)
        self.sent.append(text)
        return len(self.sent)

    async def edit(
        self, chat_id: int, message_id: int, text: str, *, markup: bool, keyboard: Keyboard, caption: bool = False
    ) -> bool:
        """Keep it, or a bug."""
        self._moods.meet("telegram", SICK)
        self.sent[message_id - 1] = text
        return True

    async def delete(self, chat_id: int, message_ids: Sequence[int]) -> None:
        """Nothing, or a bug."""
        self._moods.meet("telegram", SICK)

    async def set_buttons(self, chat_id: int, message_id: int, keyboard: Keyboard) -> str | None:
        """No, or a bug."""
        self._moods.meet("telegram", SICK)
        return None


class SickLookups:
    """Asked from inside the event callback of each PBX's watch."""

    def __init__(self, real: Lookups, moods: Moods) -> None:
        self._real, self._moods = real, moods

    def prefetch(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> None:
        """Pass it on, or a bug."""
        self._moods.meet("watch", enterprise_number)
        self._real.prefetch(enterprise_number, phone, linkedid=linkedid)


def sick_crms(moods: Moods) -> Mapping[str, CrmFactory]:
    """The real adapter behind one that may be sick."""

    def factory(config: CrmConfig, around: Surroundings) -> SickCrm:
        return SickCrm(CRMS["retailcrm"](config, around), moods, around.enterprise_number)

    return {"retailcrm": factory}


@dataclass
class Site:
    """The company and the inside of its daemon."""

    company: Company
    daemon: Daemon
    bot: SickBot

    async def until_sent(self, count: int) -> None:
        """Return when the sick enterprise's bot has sent so much."""

        async def sent() -> bool:
            return len(self.bot.sent) >= count

        await until(sent, within=10)

    async def until_watched(self) -> None:
        """Return when the sick enterprise's PBX is connected."""

        async def connected() -> bool:
            return self.daemon.sites[SICK].watch.ami.state.connected_since is not None

        await until(connected, within=10)


@asynccontextmanager
async def a_pbx() -> AsyncIterator[Pbx]:
    async with Pbx(phones={"101": ""}, trunks=["PJSIP/gsm1"], users={"vochi": User(secret="s")}, speed=10) as pbx:
        yield pbx


@pytest.fixture
async def site(dsn: str, store: PostgresStore, tmp_path: Path) -> AsyncIterator[Site]:
    # Whichever test is the first would wait for the import instead of for what it is about.
    await asyncio.to_thread(import_module, "vochi_agent.telegram.bot")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pbxs = {number: await enter(a_pbx()) for number in (SICK, HEALTHY)}
        crms = {number: await enter(RetailCrmSandbox(api_key=number)) for number in (SICK, HEALTHY)}
        telegram = await enter(TelegramSandbox(token=TOKENS[HEALTHY]))
        text = f'[daemon]\nstate_dir = "{tmp_path}/state"\n[database]\nurl = "{dsn}"\n'
        text += f'[fastagi]\nlisten = "127.0.0.1:{free_port()}"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
        text += f'[telegram]\napi_url = "{telegram.url}"\n'
        for number, pbx in pbxs.items():
            crms[number].add_customer(7, first_name="Тест", last_name="Тестов", phones=[f"+{CALLER}"])
            telegram.add_chat(CHATS[number])
            text += ENTERPRISE.format(
                number=number, token=TOKENS[number], ami_port=pbx.manager.port, crm_url=crms[number].url,
                chat=CHATS[number],
            )  # fmt: skip
        path = tmp_path / "config.toml"
        path.write_text(text)
        moods = Moods()
        bot = SickBot(moods)
        daemon = await enter(assembled(load(path), crms=sick_crms(moods), bots={TOKENS[SICK]: bot}))
        assert daemon.call_log.lookups is not None
        daemon.call_log.lookups = SickLookups(daemon.call_log.lookups, moods)
        await enter(living(daemon))
        for number, pbx in pbxs.items():
            pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=daemon.fastagi.port, arguments=(number, ""))
        async with asyncio.timeout(10):
            while not all("VOCHI_ALIVE_a" in pbx.switch.variables for pbx in pbxs.values()):
                await asyncio.sleep(0.02)
        yield Site(Company(pbxs, telegram, store, moods), daemon, bot)


async def test_a_bug_in_a_renderer_costs_the_cards_of_its_enterprise_only(site: Site) -> None:
    renderers = {each.number: renderer(each, site.daemon.config) for each in site.daemon.config.enterprises}

    def sick(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
        site.company.moods.meet("renderer", SICK)
        return renderers[SICK](call, customer, before)

    site.daemon.chats.rendering.use({SICK: sick, HEALTHY: renderers[HEALTHY]})
    site.company.moods.broken = {"renderer"}
    assert await site.company.call(SICK) == NAME
    await site.company.rows(SICK, 1)
    await site.company.healthy_is_well()
    assert not [text for text in site.bot.sent if text.startswith(("✅", "❌"))]

    site.company.moods.broken.clear()
    await site.company.call(SICK)
    await site.until_sent(1)


async def test_a_bug_in_a_bot_costs_the_messages_of_its_enterprise_only(site: Site) -> None:
    site.company.moods.broken = {"telegram"}
    assert await site.company.call(SICK) == NAME
    await site.company.rows(SICK, 1)
    await site.company.healthy_is_well()
    assert site.bot.sent == []

    site.company.moods.broken.clear()
    await site.company.call(SICK)
    await site.until_sent(1)


async def test_a_bug_in_a_crm_adapter_costs_the_names_of_its_enterprise_only(site: Site) -> None:
    site.company.moods.broken = {"crm"}
    assert await site.company.call(SICK) == "МТС Центр"
    await site.company.rows(SICK, 1)
    await site.until_sent(1)
    await site.company.healthy_is_well()

    site.company.moods.broken.clear()
    assert await site.company.call(SICK) == NAME


async def test_a_bug_in_the_watch_of_a_pbx_costs_the_calls_of_its_enterprise_only(site: Site) -> None:
    """Its reader breaks at the first event of every call; names are asked by another way and still come."""
    site.company.moods.broken = {"watch"}
    assert await site.company.call(SICK) == NAME
    await site.company.healthy_is_well()
    assert await site.company.rows(SICK, 0) == []

    site.company.moods.broken.clear()
    await site.until_watched()
    await site.company.call(SICK)
    calls = await site.company.rows(SICK, 1)
    assert calls[0].status is Status.ANSWERED
