"""Enrichment over the real adapter and the sandbox RetailCRM."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.support.crm import API_KEY, HandClock, MemoryDirectory, retailcrm_at
from vochi_agent.customers.model import Names, Profile
from vochi_agent.enrichment import MAX_REQUESTS, NOBODY_S, REUSE_S, CrmOfEnterprise, Enrichment, Lookup, Outcome
from vochi_agent.metrics import Metrics
from vochi_agent.ports import ProfileSource
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox

KNOWN = "+4930000022"
STRANGER = "+4930000001"
SHOP = "0901"

Opened = Callable[[Enrichment], Enrichment]


class World:
    """One enterprise with a RetailCRM, all of it real but the clock and the directory."""

    def __init__(self, sandbox: RetailCrmSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.clock = HandClock()
        self.directory = MemoryDirectory()
        self.metrics = Metrics()
        self.crm = retailcrm_at(sandbox.url, session, clock=self.clock)

    def enrichment(self, *more: CrmOfEnterprise, wait_s: float = 5.0) -> Enrichment:
        """The RetailCRM as the primary source, and `more` besides."""
        first = CrmOfEnterprise(source=self.crm, primary=True, wait_s=wait_s)
        return Enrichment(
            {SHOP: [*more, first]}, on_profile=self.directory.enrich, metrics=self.metrics, clock=self.clock
        )

    def count(self, outcome: Outcome, source: str = "retailcrm") -> float:
        """How often this was the outcome."""
        labels = {"enterprise": SHOP, "source": source, "outcome": outcome.value}
        return self.metrics.registry.get_sample_value("vochi_crm_lookups_total", labels) or 0.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000))
        sandbox.add_customer(2002, last_name="Тестов", first_name="Тест", phones=[KNOWN])
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield World(sandbox, session)


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Takes an Enrichment and closes it after the test."""
    async with AsyncExitStack() as stack:

        def opened(enrichment: Enrichment) -> Enrichment:
            stack.push_async_callback(enrichment.aclose)
            return enrichment

        yield opened


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def ask(enrichment: Enrichment, phone: str = KNOWN, *, linkedid: str = "", seconds: float = 5.0) -> Lookup:
    return await enrichment.profile(SHOP, phone, deadline=soon(seconds), linkedid=linkedid)


async def test_a_known_caller_is_named_and_kept(world: World, opened: Opened) -> None:
    lookup = await ask(opened(world.enrichment()))

    assert lookup.outcome is Outcome.HIT
    assert lookup.profile is not None
    assert lookup.profile.names.display == "Тестов Тест"
    assert (await world.directory.wait_for(SHOP, KNOWN)).names.last_name == "Тестов"
    assert world.directory.primary == [True]
    assert world.count(Outcome.HIT) == 1


async def test_many_askers_share_one_request(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    enrichment.prefetch(SHOP, KNOWN, linkedid="1.1")

    lookups = await asyncio.gather(*(ask(enrichment, linkedid=f"1.{number}") for number in range(20)))

    assert {lookup.outcome for lookup in lookups} == {Outcome.HIT}
    assert len(world.sandbox.requests) == 1


async def test_the_same_call_uses_its_answer_again_and_the_next_call_asks_anew(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    await ask(enrichment, linkedid="1.1")
    world.sandbox.add_customer(2002, last_name="Новая", phones=[KNOWN])

    same = await ask(enrichment, linkedid="1.1")
    after = await ask(enrichment, linkedid="1.2")

    assert same.profile is not None
    assert after.profile is not None
    assert (same.profile.names.last_name, after.profile.names.last_name) == ("Тестов", "Новая")
    assert len(world.sandbox.requests) == 2


async def test_an_answer_serves_its_call_for_seconds_only(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    await ask(enrichment, linkedid="1.1")

    world.clock.now += REUSE_S
    await ask(enrichment, linkedid="1.1")

    assert len(world.sandbox.requests) == 2


async def test_without_a_call_no_answer_is_used_again(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    await ask(enrichment)
    await ask(enrichment)

    assert len(world.sandbox.requests) == 2


async def test_nobody_is_remembered_for_minutes(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    first = await ask(enrichment, STRANGER, linkedid="1.1")
    world.clock.now += NOBODY_S - 1
    second = await ask(enrichment, STRANGER, linkedid="1.2")
    assert [first.outcome, second.outcome] == [Outcome.MISS, Outcome.MISS]
    assert len(world.sandbox.requests) == 1

    world.clock.now += 1
    await ask(enrichment, STRANGER, linkedid="1.3")
    assert len(world.sandbox.requests) == 2


async def test_a_webhook_ends_the_memory_of_nobody(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    await ask(enrichment, STRANGER)
    world.sandbox.add_customer(2003, last_name="Знакомый", phones=[STRANGER])

    enrichment.forget(SHOP, STRANGER)

    assert (await ask(enrichment, STRANGER)).outcome is Outcome.HIT


async def test_an_error_is_not_remembered_as_nobody(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    world.sandbox.fault = Fault.UNSUCCESSFUL
    broken = await ask(enrichment)
    world.sandbox.fault = None

    assert broken.outcome is Outcome.ERROR
    assert (await ask(enrichment)).outcome is Outcome.HIT


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE, Fault.UNSUCCESSFUL])
async def test_nothing_is_kept_of_a_broken_answer(world: World, opened: Opened, fault: Fault) -> None:
    world.sandbox.fault = fault

    assert (await ask(opened(world.enrichment()))).outcome is Outcome.ERROR
    assert world.directory.customers == {}
    assert world.count(Outcome.ERROR) == 1


async def test_an_asker_leaves_at_his_deadline_and_the_late_answer_is_kept(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    world.sandbox.fault, world.sandbox.silence_s = Fault.SILENCE, 0.5
    started = asyncio.get_running_loop().time()

    lookup = await ask(enrichment, seconds=0.1)

    assert lookup.outcome is Outcome.TIMEOUT
    assert asyncio.get_running_loop().time() - started < 0.4
    assert (await world.directory.wait_for(SHOP, KNOWN)).names.last_name == "Тестов"
    assert len(world.sandbox.requests) == 1
    assert world.count(Outcome.TIMEOUT) == world.count(Outcome.HIT) == 1


async def test_a_late_answer_reaches_who_has_left_already_without_another_request(world: World, opened: Opened) -> None:
    """While the request is under way, and for its own call also when it has just ended."""
    world.sandbox.fault, world.sandbox.silence_s = Fault.SILENCE, 0.3
    enrichment = opened(world.enrichment())
    assert (await ask(enrichment, linkedid="1.1", seconds=0.05)).outcome is Outcome.TIMEOUT

    assert await enrichment.late(SHOP, KNOWN, linkedid="1.1", within_s=0.05) is None
    waited = await enrichment.late(SHOP, KNOWN, linkedid="1.1", within_s=5.0)
    ended = await enrichment.late(SHOP, KNOWN, linkedid="1.1", within_s=5.0)
    assert waited is not None
    assert waited == ended
    assert await enrichment.late(SHOP, KNOWN, linkedid="1.2", within_s=5.0) is None
    assert await enrichment.late("0902", KNOWN, linkedid="1.1", within_s=5.0) is None
    assert len(world.sandbox.requests) == 1


async def test_a_phone_waits_for_a_crm_no_longer_than_configured(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment(wait_s=0.1))
    world.sandbox.fault = Fault.SILENCE
    started = asyncio.get_running_loop().time()

    assert (await ask(enrichment, seconds=30)).outcome is Outcome.TIMEOUT
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_cancelled_asker_takes_the_answer_from_nobody(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    world.sandbox.fault, world.sandbox.silence_s = Fault.SILENCE, 0.3
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        leaving = group.create_task(ask(enrichment), name="leaving")
        staying = group.create_task(ask(enrichment), name="staying")
        await world.sandbox.wait_for_requests(1)
        leaving.cancel()

    assert staying.result().outcome is Outcome.HIT
    assert len(world.sandbox.requests) == 1


async def test_the_breaker_opens_and_closes(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    world.sandbox.fault = Fault.HTML
    outcomes = [(await ask(enrichment)).outcome for _ in range(3)]
    asked = len(world.sandbox.requests)
    assert outcomes == [Outcome.ERROR, Outcome.ERROR, Outcome.BREAKER]

    world.sandbox.fault = None
    assert (await ask(enrichment)).outcome is Outcome.BREAKER
    assert len(world.sandbox.requests) == asked
    world.clock.now += 15.0

    assert (await ask(enrichment)).outcome is Outcome.HIT
    assert world.count(Outcome.BREAKER) == 2


async def test_a_database_that_is_away_gets_the_profile_when_it_is_back(world: World, opened: Opened) -> None:
    world.directory = MemoryDirectory(failures=2)
    enrichment = opened(world.enrichment())

    assert (await ask(enrichment)).outcome is Outcome.HIT
    assert (await world.directory.wait_for(SHOP, KNOWN)).names.last_name == "Тестов"


class Scripted:
    """A second CRM that answers when it is told to."""

    name = "phonebook"

    def __init__(self, profile: Profile | None = None, *, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.let_go = asyncio.Event()
        self._profile = profile
        self._error = error

    async def profile(self, phone: str) -> Profile | None:
        """What the script says, once `let_go` is set."""
        self.asked.append(phone)
        await self.let_go.wait()
        if self._error:
            raise self._error
        return self._profile


def second(source: ProfileSource, *, wait_s: float = 5.0) -> CrmOfEnterprise:
    return CrmOfEnterprise(source=source, primary=False, wait_s=wait_s)


OTHER_NAME = Profile(source="phonebook", external_id="p1", names=Names(last_name="Книжкин"))


async def test_a_dead_crm_does_not_hold_up_another(world: World, opened: Opened) -> None:
    silent = Scripted()

    lookup = await ask(opened(world.enrichment(second(silent))))

    assert lookup.profile is not None
    assert lookup.profile.source == "retailcrm"
    assert silent.asked == [KNOWN]


async def test_another_source_names_whom_the_primary_one_does_not_know(world: World, opened: Opened) -> None:
    book = Scripted(OTHER_NAME)
    book.let_go.set()

    lookup = await ask(opened(world.enrichment(second(book))), STRANGER)

    assert lookup.profile == OTHER_NAME
    await world.directory.wait_for(SHOP, STRANGER)
    assert world.directory.primary == [False]


@pytest.mark.parametrize("fault", [None, Fault.ERROR])
async def test_nobody_is_a_stranger_while_another_crm_still_thinks(
    world: World, opened: Opened, fault: Fault | None
) -> None:
    """The primary one does not know him, or fails: his name may still come late."""
    world.sandbox.fault = fault
    slow = Scripted(OTHER_NAME)
    enrichment = opened(world.enrichment(second(slow, wait_s=0.05)))
    lookup = await ask(enrichment, STRANGER, linkedid="1.1")
    slow.let_go.set()

    assert lookup == Lookup(Outcome.TIMEOUT)
    assert await enrichment.late(SHOP, STRANGER, linkedid="1.1", within_s=5.0) == OTHER_NAME


async def test_a_flood_of_numbers_is_refused_at_the_bulkhead(world: World, opened: Opened) -> None:
    silent = Scripted()
    only = CrmOfEnterprise(source=silent, primary=True, wait_s=0.01)
    enrichment = opened(
        Enrichment({SHOP: [only]}, on_profile=world.directory.enrich, metrics=world.metrics, clock=world.clock)
    )
    for number in range(MAX_REQUESTS):
        enrichment.prefetch(SHOP, f"+49300000{number:03}")

    assert (await ask(enrichment)).outcome is Outcome.BUSY
    assert world.count(Outcome.BUSY, "phonebook") == 1


async def test_a_bug_in_an_adapter_costs_one_lookup_and_is_logged(
    world: World, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    buggy = Scripted(error=KeyError("bug"))
    buggy.let_go.set()
    only = CrmOfEnterprise(source=buggy, primary=True, wait_s=5.0)
    enrichment = opened(
        Enrichment({SHOP: [only]}, on_profile=world.directory.enrich, metrics=world.metrics, clock=world.clock)
    )

    assert (await ask(enrichment)).outcome is Outcome.ERROR
    assert (await ask(enrichment)).outcome is Outcome.ERROR
    assert "KeyError" in caplog.text
    assert KNOWN not in caplog.text


async def test_closing_answers_who_still_waits_and_leaves_no_task(world: World) -> None:
    silent = Scripted()
    only = CrmOfEnterprise(source=silent, primary=True, wait_s=30.0)
    enrichment = Enrichment({SHOP: [only]}, on_profile=world.directory.enrich, metrics=world.metrics, clock=world.clock)
    before = asyncio.all_tasks()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asking = group.create_task(ask(enrichment, seconds=30), name="asking")
        enrichment.prefetch(SHOP, KNOWN)
        await enrichment.aclose()

    assert asking.result().outcome in (Outcome.ERROR, Outcome.BUSY)
    assert asyncio.all_tasks() == before
    assert (await ask(enrichment)).outcome is Outcome.BUSY


async def test_an_enterprise_without_a_crm_knows_nobody_at_once(world: World, opened: Opened) -> None:
    enrichment = opened(world.enrichment())
    enrichment.prefetch("0902", KNOWN)

    assert await enrichment.profile("0902", KNOWN, deadline=soon()) == Lookup(Outcome.MISS)
    assert not world.sandbox.requests
