"""What every CRM that knows companies promises: a caller's colleagues, over real HTTP against its stand-in."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.crm import HandClock
from tests.support.crm_accounts import ACCOUNTS, COMPANIES, Account
from tests.support.polling import until
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment
from vochi_agent.errors import CrmUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CompanySource
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.store.postgres import PostgresStore

ANNA, OLEG, OLEGS_SECOND, LEFT = "+375290000133", "+375290000144", "+375290000145", "+375290000155"
PEOPLE = {"3003": [ANNA], "3004": [OLEG, OLEGS_SECOND]}
SWITCHBOARD = "+375170000100"


@pytest.fixture(params=COMPANIES, ids=lambda account: account.name)
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    account = request.param()
    account.company("77", "Ромашка", PEOPLE)
    async with account.sandbox:
        yield account


def source(account: Account, session: aiohttp.ClientSession) -> CompanySource:
    crm = account.adapter(session)
    assert isinstance(crm, CompanySource)
    return crm


@pytest.mark.parametrize("kind", ACCOUNTS, ids=lambda account: account.name)
async def test_all_but_uon_know_companies(kind: type[Account], session: aiohttp.ClientSession) -> None:
    account = kind()
    async with account.sandbox:
        assert isinstance(account.adapter(session), CompanySource) is (kind in COMPANIES)


async def test_a_company_has_every_number_of_its_people_as_their_own_calls_would_show_them(
    account: Account, session: aiohttp.ClientSession
) -> None:
    crm = source(account, session)
    company = await crm.company("77")

    assert company is not None
    assert (company.source, company.company_id, company.complete) == (account.name, "77", True)
    assert company.contacts.keys() == {ANNA, OLEG, OLEGS_SECOND}
    for phone, listed in company.contacts.items():
        calling = await crm.profile(phone)
        assert calling is not None
        assert (listed.external_id, listed.company_id, listed.names) == (
            calling.external_id,
            calling.company_id,
            calling.names,
        )


async def test_the_companys_own_number_is_one_of_them(account: Account, session: aiohttp.ClientSession) -> None:
    account.company("78", "Лютик", {"3010": ["+375290000166"]}, phone=SWITCHBOARD)
    company = await source(account, session).company("78")

    assert company is not None
    assert company.complete
    assert (SWITCHBOARD in company.contacts) is (account.name != "retailcrm"), "RetailCRM gives companies no numbers"


async def test_a_company_that_is_not_there_is_none(account: Account, session: aiohttp.ClientSession) -> None:
    assert await source(account, session).company("404") is None


async def test_a_number_that_nobody_can_read_lets_nobody_go(account: Account, session: aiohttp.ClientSession) -> None:
    account.company("77", "Ромашка", {"3003": [ANNA], "3004": ["спросить у Олега"]})
    company = await source(account, session).company("77")

    assert company is not None
    assert (list(company.contacts), company.complete) == ([ANNA], account.name == "retailcrm")


async def test_a_large_company_takes_few_requests(account: Account, session: aiohttp.ClientSession) -> None:
    people = {str(number): [f"+37529001{number}"] for number in range(4000, 4120)}
    account.company("79", "Большая", people)
    company = await source(account, session).company("79")

    assert company is not None
    assert company.complete
    assert len(company.contacts) == 120
    assert len(account.sandbox.requests) <= 6


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE, Fault.ERROR])
async def test_a_broken_answer_is_no_company(account: Account, session: aiohttp.ClientSession, fault: Fault) -> None:
    account.sandbox.fault = fault
    with pytest.raises(CrmUnavailable):
        await source(account, session).company("77")


async def test_who_never_called_is_known_after_a_colleagues_call_and_who_left_is_let_go(
    account: Account, session: aiohttp.ClientSession, store: PostgresStore
) -> None:
    account.company("77", "Ромашка", {**PEOPLE, "3005": [LEFT]})
    clock = HandClock()
    enrichment = Enrichment(
        {"0901": [CrmOfEnterprise(source=account.adapter(session), primary=True, wait_s=5.0)]},
        on_profile=store.customers.enrich,
        let_go=store.customers.let_go,
        metrics=Metrics(),
        clock=clock,
    )
    uid = f"{account.name}_corporate:77"

    async def known(*phones: str) -> None:
        async def there() -> bool:
            return {each.phone_e164 for each in await store.customers.person("0901", uid)} == set(phones)

        await until(there, within=10)

    try:
        await enrichment.profile("0901", ANNA, deadline=asyncio.get_running_loop().time() + 5)
        await known(ANNA, OLEG, OLEGS_SECOND, LEFT)
        leave(account, "3005")
        clock.now += 3600
        await enrichment.profile("0901", OLEG, deadline=asyncio.get_running_loop().time() + 5, linkedid="2.1")
        await known(ANNA, OLEG, OLEGS_SECOND)
    finally:
        await enrichment.aclose()


def leave(account: Account, person: str) -> None:
    """He works somewhere else now."""
    account.company("77", "Ромашка", PEOPLE)
    if account.name != "moysklad":
        account.company("80", "Лютик", {person: [LEFT]})
