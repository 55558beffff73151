"""A caller's colleagues are fetched behind his call: over the real adapter, the sandbox RetailCRM and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from tests.support.crm import API_KEY, HandClock, retailcrm_at
from tests.support.polling import until
from vochi_agent.contacts import PERIOD_S, Fetched
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.customers.model import Company, Customer, Names, Profile
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment, Lookup, Outcome
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox
from vochi_agent.store.postgres import PostgresStore

ANNA, OLEG, OLEGS_SECOND, LEFT = "+375290000033", "+375290000044", "+375290000045", "+375290000055"
COMPANY = "retailcrm_corporate:77"


class Shop:
    """One enterprise whose RetailCRM has a company with two contacts; real but for the clock."""

    def __init__(self, sandbox: RetailCrmSandbox, crm: RetailCrm, store: PostgresStore) -> None:
        self.sandbox, self.crm, self.store = sandbox, crm, store
        self.clock = HandClock()
        self.metrics = Metrics()
        self.enrichment = Enrichment(
            {"0901": [CrmOfEnterprise(source=crm, primary=True, wait_s=5.0)]},
            on_profile=store.customers.enrich,
            let_go=store.customers.let_go,
            metrics=self.metrics,
            clock=self.clock,
        )

    async def call(self, phone: str) -> Lookup:
        """What a ringing phone waits for."""
        deadline = asyncio.get_running_loop().time() + 5.0
        return await self.enrichment.profile("0901", phone, deadline=deadline)

    def fetched(self, outcome: Fetched) -> int:
        """How many companies ended so."""
        labels = {"enterprise": "0901", "source": "retailcrm", "outcome": outcome.value}
        return int(self.metrics.registry.get_sample_value("vochi_crm_companies_total", labels) or 0)

    async def until_fetched(self, outcome: Fetched, count: int = 1) -> None:
        """Return when so many companies have ended so."""

        async def there() -> bool:
            return self.fetched(outcome) >= count

        await until(there, within=10)

    async def row(self, phone: str) -> Customer | None:
        """The row of a number."""
        return await self.store.customers.customer("0901", phone)

    def paths(self) -> list[str]:
        """What the CRM was asked for."""
        return [request.path for request in self.sandbox.requests]


@pytest.fixture
async def shop(store: PostgresStore, session: aiohttp.ClientSession) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000))
        sandbox.add_customer(2003, last_name="Контактова", first_name="Анна", phones=[ANNA])
        sandbox.add_customer(2004, last_name="Контактов", first_name="Олег", phones=[OLEG, OLEGS_SECOND])
        sandbox.add_customer(2005, last_name="Бывший", phones=[LEFT])
        sandbox.add_company(77, nick_name="Ромашка", contacts=[2003, 2004])
        shop = Shop(sandbox, retailcrm_at(sandbox.url, session), store)
        stack.push_async_callback(shop.enrichment.aclose)
        yield shop


async def test_who_never_called_is_known_after_a_colleagues_call(shop: Shop) -> None:
    assert (await shop.call(ANNA)).outcome is Outcome.HIT
    await shop.until_fetched(Fetched.COMPLETE)

    people = await shop.store.customers.person("0901", COMPANY)
    assert {each.phone_e164: (each.names.person, each.names.enterprise_name) for each in people} == {
        ANNA: ("Контактова Анна", "Ромашка"),
        OLEG: ("Контактов Олег", "Ромашка"),
        OLEGS_SECOND: ("Контактов Олег", "Ромашка"),
    }
    assert [each.meta["contact_id"] for each in people if each.phone_e164 == OLEG] == ["2004"]
    assert [each.meta["ids"] for each in people if each.phone_e164 == OLEGS_SECOND] == [
        {"retailcrm": ["2004"], "retailcrm_corporate": ["77"]}
    ]


async def test_a_company_is_asked_about_once_in_ten_minutes_however_many_of_it_call(shop: Shop) -> None:
    await asyncio.gather(shop.call(ANNA), shop.call(OLEG), shop.call(ANNA), shop.call(OLEGS_SECOND))
    await shop.until_fetched(Fetched.COMPLETE)
    shop.clock.now += PERIOD_S - 1
    await shop.call(OLEG)
    assert shop.paths().count("/customers-corporate/77/contacts") == 1

    shop.clock.now += 1
    await shop.call(OLEG)
    await shop.until_fetched(Fetched.COMPLETE, 2)
    assert shop.paths().count("/customers-corporate/77/contacts") == 2


async def test_the_answer_to_the_call_does_not_wait_for_colleagues(shop: Shop) -> None:
    """The CRM falls silent as soon as it has told who calls."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        calling = group.create_task(shop.call(ANNA), name="call")
        await shop.sandbox.wait_for_requests(2)
        shop.sandbox.fault = Fault.SILENCE
    assert calling.result().outcome is Outcome.HIT
    await shop.sandbox.wait_for_requests(3)

    row = await shop.row(ANNA)
    assert row is not None
    assert row.names.enterprise_name == "Ромашка"


async def test_calls_are_named_at_once_while_a_large_company_is_fetched(
    store: PostgresStore, session: aiohttp.ClientSession
) -> None:
    """Three hundred contacts are eight requests under a limit of ten a second; the callers' own come in between."""
    async with RetailCrmSandbox(api_key=API_KEY, requests_per_s=10) as sandbox:
        people = range(3000, 3300)
        for number in people:
            sandbox.add_customer(number, last_name=f"К{number}", phones=[f"+37529001{number}"])
        sandbox.add_company(77, nick_name="Ромашка", contacts=list(people))
        sandbox.add_customer(2002, last_name="Тестов", phones=["+375290000022"])
        shop = Shop(sandbox, retailcrm_at(sandbox.url, session, rps=10.0), store)
        try:
            await shop.call("+375290013000")
            waits = []
            for _ in range(5):
                began = asyncio.get_running_loop().time()
                assert (await shop.call("+375290000022")).outcome is Outcome.HIT
                waits.append(asyncio.get_running_loop().time() - began)
            assert max(waits) < 1.0
            await shop.until_fetched(Fetched.COMPLETE)
            assert len(await store.customers.person("0901", COMPANY)) == 300
            refused = [request for request in sandbox.requests if request.path == "/customers-corporate/77/contacts"]
            assert [request.query["page"] for request in refused] == ["1", "2", "3"], "nothing was refused and repeated"
        finally:
            await shop.enrichment.aclose()


async def test_who_left_the_company_is_let_go_and_keeps_his_name(shop: Shop) -> None:
    gone = Profile(
        source="retailcrm",
        external_id="2005",
        company_id="77",
        names=Names(last_name="Бывший", enterprise_name="Ромашка"),
    )
    await shop.store.customers.enrich("0901", LEFT, gone, primary=True)
    await shop.call(ANNA)
    await shop.until_fetched(Fetched.COMPLETE)

    row = await shop.row(LEFT)
    assert row is not None
    assert "person_uid" not in row.meta
    assert row.meta["person_uid_was"] == COMPANY
    assert row.meta["ids"] == {"retailcrm": ["2005"]}
    assert row.names.display == "Ромашка"


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE, Fault.LIMIT, Fault.UNSUCCESSFUL])
async def test_an_error_page_in_place_of_contacts_changes_nothing(shop: Shop, fault: Fault) -> None:
    await shop.call(ANNA)
    await shop.until_fetched(Fetched.COMPLETE)
    before = await shop.store.customers.person("0901", COMPANY)
    shop.clock.now += PERIOD_S
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(shop.call(OLEG), name="call")
        await shop.sandbox.wait_for_requests(len(shop.sandbox.requests) + 2)
        shop.sandbox.fault = fault
    await shop.until_fetched(Fetched.ERROR)

    assert await shop.store.customers.person("0901", COMPANY) == before


async def contacts_that_lie(session: aiohttp.ClientSession, body: dict[str, object]) -> Company | None:
    """The company, by a server that answers everything but its contacts well."""

    async def companies(_: web.Request) -> web.Response:
        return web.json_response({"success": True, "customersCorporate": [{"id": 77, "nickName": "Ромашка"}]})

    async def contacts(_: web.Request) -> web.Response:
        return web.json_response(body)

    async def customers(_: web.Request) -> web.Response:
        everybody = [{"id": number, "lastName": "К", "phones": [{"number": ANNA}]} for number in (2003, 9999)]
        return web.json_response({"success": True, "customers": everybody})

    app = web.Application()
    app.add_routes(
        [
            web.get("/api/v5/customers-corporate", companies),
            web.get("/api/v5/customers-corporate/77/contacts", contacts),
            web.get("/api/v5/customers", customers),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return await retailcrm_at(f"http://127.0.0.1:{runner.addresses[0][1]}", session).company("77")
    finally:
        await runner.cleanup()


ONE_PAGE = {"limit": 100, "totalCount": 1, "currentPage": 1, "totalPageCount": 1}


@pytest.mark.parametrize(
    "body",
    [
        {"success": True},
        {"success": True, "contacts": []},
        {"success": True, "contacts": [], "pagination": {**ONE_PAGE, "totalCount": 0}},
        {"success": True, "contacts": [], "pagination": ONE_PAGE},
        {"success": True, "contacts": [{"customer": {"id": 2003}}, {"customer": {"id": 2008}}], "pagination": ONE_PAGE},
        {
            "success": True,
            "contacts": [{"customer": {"id": 2003}}, {"customer": {"id": 2008}}],
            "pagination": {**ONE_PAGE, "totalCount": 2},
        },
        {"success": True, "contacts": [{"customer": None}, 5], "pagination": ONE_PAGE},
    ],
    ids=[
        "no contacts",
        "none and no count",
        "none though one of them calls",
        "fewer than counted",
        "more than counted",
        "a card is missing",
        "odd",
    ],
)
async def test_a_list_that_may_not_be_whole_is_not_complete(
    session: aiohttp.ClientSession, body: dict[str, object]
) -> None:
    company = await contacts_that_lie(session, body)

    assert company is not None
    assert not company.complete
    assert {profile.external_id for profile in company.contacts.values()} <= {"2003"}


async def test_a_whole_list_is_complete(session: aiohttp.ClientSession) -> None:
    company = await contacts_that_lie(
        session, {"success": True, "contacts": [{"customer": {"id": 2003}}], "pagination": ONE_PAGE}
    )

    assert company is not None
    assert company.complete
    assert list(company.contacts) == [ANNA]


async def test_a_colleague_whose_number_is_written_the_way_of_its_country_is_known_too(shop: Shop) -> None:
    shop.sandbox.add_customer(2004, last_name="Контактов", phones=["8 (029) 000-00-44"])
    await shop.call(ANNA)

    await shop.until_fetched(Fetched.COMPLETE)
    people = await shop.store.customers.person("0901", COMPANY)
    assert {each.phone_e164: each.names.last_name for each in people} == {ANNA: "Контактова", OLEG: "Контактов"}


async def test_a_number_that_nobody_can_read_lets_nobody_go(shop: Shop) -> None:
    shop.sandbox.add_customer(2004, last_name="Контактов", phones=["00-44"])
    await shop.call(ANNA)

    await shop.until_fetched(Fetched.PARTIAL)


async def test_a_server_that_ignores_the_filter_names_no_wrong_company(shop: Shop) -> None:
    """Two companies, and a contact who is the main one of neither: the lists of contacts decide."""
    shop.sandbox.add_customer(2009, last_name="Цветков", phones=["+375290000066"])
    shop.sandbox.add_customer(2010, last_name="Лютиков", phones=["+375290000077"])
    shop.sandbox.add_company(78, nick_name="Лютик", contacts=[2010, 2009])
    shop.sandbox.fault = Fault.EVERYBODY
    lookups = {phone: await shop.call(phone) for phone in (OLEG, "+375290000066", ANNA, "+375290000077")}

    named = [lookup.profile.names.enterprise_name for lookup in lookups.values() if lookup.profile]
    assert named == ["Ромашка", "Лютик", "Ромашка", "Лютик"]


async def test_many_companies_found_for_one_contact_name_none_but_the_main_contacts(shop: Shop) -> None:
    for number in range(5):
        shop.sandbox.add_customer(2100 + number, last_name=f"М{number}", phones=[f"+37529000010{number}"])
        shop.sandbox.add_company(100 + number, nick_name=f"Фирма {number}", contacts=[2100 + number])
    shop.sandbox.fault = Fault.EVERYBODY
    main, other = await shop.call("+375290000103"), await shop.call(OLEG)

    assert main.profile is not None
    assert other.profile is not None
    assert main.profile.names.enterprise_name == "Фирма 3"
    assert (other.profile.names.enterprise_name, other.profile.names.person) == ("", "Контактов Олег")


async def test_a_person_is_found_by_id_with_all_numbers(shop: Shop) -> None:
    person = await shop.crm.person("2004")

    assert person is not None
    assert (person.names.display, person.company_id) == ("Ромашка", "77")
    assert (person.phones, person.phones_complete) == ((OLEG, OLEGS_SECOND), True)
    assert await shop.crm.person("404") is None


async def test_nobody_asks_for_colleagues_where_nothing_is_stored(shop: Shop) -> None:
    """`vochi-agent lookup` is such a place."""
    enrichment = Enrichment(
        {"0901": [CrmOfEnterprise(source=shop.crm, primary=True, wait_s=5.0)]},
        on_profile=shop.store.customers.enrich,
        metrics=Metrics(),
        clock=shop.clock,
    )
    await enrichment.profile("0901", ANNA, deadline=asyncio.get_running_loop().time() + 5)
    await enrichment.aclose()

    assert shop.paths() == ["/customers", "/customers-corporate"]


async def test_a_bug_while_colleagues_are_fetched_is_logged_and_ends_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: str) -> Company:
        raise KeyError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(shop.crm, "company", broken)
        await shop.call(ANNA)

        async def logged() -> bool:
            return "KeyError" in caplog.text

        await until(logged, within=5)
    shop.clock.now += PERIOD_S
    await shop.call(ANNA)

    await shop.until_fetched(Fetched.COMPLETE)
