"""Two CRMs of one enterprise, one of them ill: names, the other CRM and the customers' rows do not notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.support.crm import API_KEY, HandClock, retailcrm_at, uon_at
from tests.support.office import office
from vochi_agent.customers.model import Names, Profile
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment, Lookup, Outcome
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.uon import UonSandbox
from vochi_agent.store.postgres import PostgresStore

# What an ill CRM costs does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

PHONE = "+375290000022"
UON_ONLY = "+375290000033"
ILL = [Fault.SILENCE, Fault.HTML, Fault.LIMIT, Fault.CUT, Fault.REFUSE, Fault.UNSUCCESSFUL]


@dataclass
class Pair:
    """Both CRMs, asked as a call asks, with the real table behind."""

    uon: UonSandbox
    retailcrm: RetailCrmSandbox
    enrichment: Enrichment
    metrics: Metrics

    async def ask(self, phone: str, *, seconds: float = 4.0) -> tuple[Lookup, float]:
        """What a ringing telephone gets, and after how many seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        lookup = await self.enrichment.profile("0901", phone, deadline=began + seconds)
        return lookup, loop.time() - began

    def count(self, source: str, outcome: Outcome) -> float:
        """How often this was the outcome."""
        labels = {"enterprise": "0901", "source": source, "outcome": outcome.value}
        return self.metrics.registry.get_sample_value("vochi_crm_lookups_total", labels) or 0.0


@pytest.fixture
async def pair(store: PostgresStore) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        uon = await enter(UonSandbox(api_key=API_KEY, requests_per_s=1000))
        retailcrm = await enter(RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000))
        uon.add_user(1001, surname="Юонова", phones=[PHONE])
        uon.add_user(1002, surname="Только", phones=[UON_ONLY])
        retailcrm.add_customer(2002, last_name="Ритейлов", first_name="Пётр", phones=[PHONE])
        session = await enter(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        clock, metrics = HandClock(), Metrics()
        first = uon_at(uon.url, session, clock=clock, attempt_s=0.6, budget_s=1.5)
        second = retailcrm_at(retailcrm.url, session, clock=clock)
        crms = [
            CrmOfEnterprise(source=first, primary=False, wait_s=5.0),
            CrmOfEnterprise(source=second, primary=True, wait_s=1.0),
        ]
        enrichment = Enrichment({"0901": crms}, on_profile=store.customers.enrich, metrics=metrics, clock=clock)
        stack.push_async_callback(enrichment.aclose)
        yield Pair(uon, retailcrm, enrichment, metrics)


@pytest.mark.parametrize("fault", ILL)
async def test_an_ill_uon_takes_no_time_from_a_name_that_retailcrm_knows(pair: Pair, fault: Fault) -> None:
    pair.uon.fault = fault
    for _ in range(5):
        lookup, seconds = await pair.ask(PHONE)
        assert lookup.profile is not None
        assert lookup.profile.names.display == "Ритейлов Пётр"
        assert seconds < 2.0


@pytest.mark.parametrize("fault", ILL)
async def test_an_ill_retailcrm_leaves_the_name_to_uon_within_its_own_wait(pair: Pair, fault: Fault) -> None:
    pair.retailcrm.fault = fault

    lookup, seconds = await pair.ask(PHONE)

    assert lookup.profile is not None
    assert lookup.profile.names.display == "Юонова"
    assert seconds < 3.0


@pytest.mark.parametrize("fault", [*ILL, Fault.EVERYBODY])
async def test_an_ill_uon_writes_nothing_over_what_is_known(pair: Pair, store: PostgresStore, fault: Fault) -> None:
    profile = Profile(source="uon", external_id="1002", names=Names(last_name="Верная", first_name="Анна"))
    known = await store.customers.enrich("0901", UON_ONLY, profile, primary=True)
    pair.uon.add_user(1002, surname="Другая", phones=["+375290000034"])
    pair.uon.fault = fault

    await pair.ask(UON_ONLY, seconds=0.2)
    async with asyncio.timeout(10):
        while not any(pair.count("uon", outcome) for outcome in (Outcome.ERROR, Outcome.MISS, Outcome.HIT)):
            await asyncio.sleep(0.02)
        while pair.metrics.registry.get_sample_value("vochi_crm_unsaved", {"enterprise": "0901", "source": "uon"}):
            await asyncio.sleep(0.02)

    row = await store.customers.customer("0901", UON_ONLY)
    assert row is not None
    assert (row.names, row.meta) == (known.names, known.meta)


async def test_one_request_serves_all_who_ask_at_once_and_nobody_is_remembered_until_somebody_speaks(
    pair: Pair,
) -> None:
    await asyncio.gather(*(pair.ask("+4930000001") for _ in range(20)))
    await pair.ask("+4930000001")
    assert len(pair.uon.requests) == 1

    pair.uon.add_user(1003, surname="Новый", phones=["+4930000001"])
    pair.enrichment.forget("0901", "+4930000001")
    lookup, _ = await pair.ask("+4930000001")
    assert lookup.profile is not None
    assert lookup.profile.names.display == "Новый"


async def test_a_dead_uon_is_left_alone_by_its_breaker(pair: Pair) -> None:
    pair.uon.fault = Fault.REFUSE
    for number in range(4):
        await pair.ask(f"+49300000{number:02}")

    async with asyncio.timeout(10):
        while not pair.count("uon", Outcome.BREAKER):
            await pair.ask("+4930000099")
    assert pair.count("retailcrm", Outcome.BREAKER) == 0
    asked = len(pair.uon.requests)
    await pair.ask("+4930000098")
    assert len(pair.uon.requests) == asked


async def test_a_flood_of_changes_keeps_to_its_share_and_callers_names_come_as_before(
    tmp_path: Path, dsn: str, store: PostgresStore
) -> None:
    """300 clients changed at once, each has to be asked for; U-ON allows ten requests a second and refuses more."""
    async with office(tmp_path, dsn, store) as at_work:
        for number in range(300):
            at_work.uon.add_user(5000 + number, surname=f"Имя{number}", phones=[f"+37529000{number:04}"])
        at_work.uon.add_user(1001, surname="Звонящая", phones=[PHONE.replace("0022", "9922")])
        statuses = await asyncio.gather(
            *(at_work.post({"type_id": "4", "client_id": str(5000 + number)}) for number in range(300))
        )
        assert set(statuses) == {200}

        loop = asyncio.get_running_loop()
        enrichment = at_work.daemon.call_log.lookups
        assert isinstance(enrichment, Enrichment)
        began, before = loop.time(), len(at_work.uon.requests)
        waits = []
        for number in range(8):
            asked = loop.time()
            lookup = await enrichment.profile("0901", PHONE.replace("0022", "9922"), deadline=asked + 2)
            waits.append(loop.time() - asked)
            assert lookup.profile is not None, number
            await asyncio.sleep(0.25)

        by_changes = len(at_work.uon.requests) - before - 8
        assert max(waits) < 1.5
        assert 0 < by_changes <= 2.5 * (loop.time() - began) + 3
        assert await store.changes.waiting("0901", "uon") > 200
