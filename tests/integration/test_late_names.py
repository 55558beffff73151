"""Names that come after the dialplan has gone on: from the sandbox CRM to the channels of a PBX."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.support.crm import API_KEY, HandClock, MemoryDirectory, retailcrm_at
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.config import Enterprise, load
from vochi_agent.customers.model import Names, Profile
from vochi_agent.customers.names import CallerName
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment
from vochi_agent.errors import ActionFailed
from vochi_agent.late_names import LateNames, UnnamedCall
from vochi_agent.metrics import Metrics
from vochi_agent.protocols.agi import AgiRequest
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox

CALLER = "+4930000022"
CHANNEL = "1795165024.84"
REQUEST = AgiRequest(
    fields={"callerid": CALLER, "uniqueid": CHANNEL}, path=("callerid",), arguments=("0901", "0001701")
)
CONFIGURATION = """
[[enterprises]]
number = "0901"
country = "DE"
primary_source = "retailcrm"
  [enterprises.asterisk]
  ami = "127.0.0.1:5038"
  ami_username = "vochi"
  ami_secret = "s"
  [[enterprises.agents]]
  extension = "103"
  charset = "latin"
"""


class Channels:
    """A PBX with two telephones that ring; one of them may have gone by the time it is told."""

    def __init__(self) -> None:
        self.set: list[tuple[str, str, str]] = []
        self.gone: set[str] = set()

    def unanswered(self, uniqueid: str) -> list[tuple[str, str]]:
        """See `late_names.Telephones`."""
        assert uniqueid == CHANNEL
        return [("phone-101", "101"), ("phone-103", "103")]

    async def set_variable(self, uniqueid: str, name: str, value: str, within_s: float) -> None:
        """See `late_names.Telephones`."""
        if uniqueid in self.gone:
            raise ActionFailed("No such channel")
        self.set.append((uniqueid, name, value))


class Quick:
    """Another CRM, which answers at once."""

    name = "uon"

    async def profile(self, phone: str) -> Profile | None:
        """See `ports.ProfileSource`."""
        return Profile(source=self.name, external_id="7", names=Names(last_name="Быстров"))


class World:
    """A slow CRM, a PBX, and a caller who was announced without a name."""

    def __init__(self, sandbox: RetailCrmSandbox, enrichment: Enrichment, enterprise: Enterprise) -> None:
        self.sandbox = sandbox
        self.enrichment = enrichment
        self.enterprise = enterprise
        self.pbx = Channels()
        self.metrics = Metrics()
        self.late_names = LateNames(enrichment, {"0901": self.pbx}.get, enterprises=["0901"], metrics=self.metrics)

    async def follow(
        self, *, names: Names | None = None, answered_in: float = 0.0, parts: tuple[str, ...] = ("customer",)
    ) -> None:
        """A call that asked the CRM and went on; returns when nothing more is waited for."""
        now = asyncio.get_running_loop().time()
        await self.enrichment.profile("0901", CALLER, deadline=now + 0.05, linkedid=CHANNEL)
        name = CallerName(parts=parts, names=names or Names())
        self.late_names.expect(UnnamedCall(self.enterprise, CHANNEL, CALLER, name, now + answered_in))
        await self.until_told()

    async def ask(self, within_s: float) -> str:
        """What the dialplan is told in that time: the name."""
        until = asyncio.get_running_loop().time() + within_s
        return (await self.caller_id().answer(REQUEST, until))["CALLERID(name)"]

    def caller_id(self) -> CallerId:
        """What answers the dialplan."""
        return CallerId(
            {"0901": (self.enterprise, Layout(self.enterprise))},
            customers=MemoryDirectory(),
            lookups=self.enrichment,
            now=lambda: datetime.now(UTC),
            unnamed=self.late_names.expect,
        )

    async def until_told(self) -> None:
        """Return when nothing more is waited for."""
        async with asyncio.timeout(5):
            while any(task.get_name().startswith("late name") for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)

    def count(self, result: str) -> float:
        """How many late names ended so."""
        labels = {"enterprise": "0901", "result": result}
        return self.metrics.registry.get_sample_value("vochi_late_names_total", labels) or 0.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


@asynccontextmanager
async def opened(folder: Path, *more: CrmOfEnterprise) -> AsyncIterator[World]:
    (folder / "config.toml").write_text(CONFIGURATION)
    metrics, clock = Metrics(), HandClock()
    async with (
        RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000, silence_s=0.3) as sandbox,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        sandbox.fault = Fault.SILENCE
        sandbox.add_customer(2002, last_name="Тестов", first_name="Тест", phones=[CALLER])
        crm = CrmOfEnterprise(source=retailcrm_at(sandbox.url, session, clock=clock), primary=True, wait_s=1.2)
        enrichment = Enrichment(
            {"0901": [crm, *more]}, on_profile=MemoryDirectory().enrich, metrics=metrics, clock=clock
        )
        world = World(sandbox, enrichment, load(folder / "config.toml").enterprises[0])
        try:
            yield world
        finally:
            await world.late_names.aclose()
            await enrichment.aclose()


FOR_LATER = [
    (CHANNEL, "CALLERID(name)", "Тестов Тест"),
    (CHANNEL, "__VOCHI_NAME_latin_60", "Testov Test"),
    (CHANNEL, "__VOCHI_KINDS", "latin_60"),
    (CHANNEL, "__VOCHI_PHONES", "103"),
]
ON_PHONES = [
    ("phone-101", "CONNECTEDLINE(name)", "Тестов Тест"),
    ("phone-103", "CONNECTEDLINE(name)", "Testov Test"),
]


async def test_a_late_name_goes_to_the_callers_channel_and_to_each_telephone_in_its_letters(world: World) -> None:
    await world.follow()

    assert world.pbx.set == FOR_LATER + ON_PHONES
    assert (world.count("shown"), world.count("too_late")) == (1, 0)


async def test_a_name_that_overtakes_our_own_answer_is_said_again_after_it(world: World) -> None:
    await world.follow(answered_in=0.6)

    assert world.pbx.set == 2 * (FOR_LATER + ON_PHONES)
    assert world.count("shown") == 1


async def test_a_question_that_was_cut_off_is_followed_like_every_other(world: World) -> None:
    """A machine too busy for the script itself answers with the line; the name comes later all the same."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.ask(within_s=10)

    assert world.caller_id().fallback(REQUEST, "timeout")["VOCHI_STATUS"] == "timeout"
    await world.until_told()
    assert world.pbx.set[-len(FOR_LATER + ON_PHONES) :] == FOR_LATER + ON_PHONES


async def test_the_primary_crm_corrects_another_that_was_quicker(tmp_path: Path) -> None:
    second = CrmOfEnterprise(source=Quick(), primary=False, wait_s=1.2)
    async with opened(tmp_path, second) as world:
        assert await world.ask(within_s=0.1) == "Быстров"
        await world.until_told()

        assert world.pbx.set[-len(FOR_LATER + ON_PHONES) :] == FOR_LATER + ON_PHONES
        assert world.count("shown") == 1


async def test_a_telephone_that_has_gone_keeps_the_name_from_no_other(world: World) -> None:
    world.pbx.gone = {"phone-101"}
    await world.follow()

    assert world.pbx.set == FOR_LATER + ON_PHONES[1:]


async def test_a_caller_who_has_hung_up_is_told_to_nobody(world: World) -> None:
    world.pbx.gone = {CHANNEL}
    await world.follow()

    assert world.pbx.set == []
    assert world.count("too_late") == 1


async def test_what_says_nothing_new_is_not_told(world: World) -> None:
    await world.follow(names=Names(last_name="Тестов", first_name="Тест"))
    await world.follow(parts=())

    assert world.pbx.set == []


async def test_nobody_is_waited_for_after_the_end(world: World) -> None:
    call = UnnamedCall(world.enterprise, CHANNEL, CALLER, CallerName(parts=("customer",), names=Names()), 0.0)
    world.enrichment.prefetch("0901", CALLER, linkedid=CHANNEL)
    world.late_names.expect(call)
    await asyncio.sleep(0)
    await world.late_names.aclose()

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("late name")]
