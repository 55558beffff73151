"""The RetailCRM adapter against the sandbox, over real HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.support.crm import API_KEY, HandClock, retailcrm_at
from vochi_agent.config.tables import RetailCrmConfig
from vochi_agent.crm import CRMS
from vochi_agent.crm.breaker import State
from vochi_agent.crm.http import MAX_BODY_BYTES
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmRejected, CrmUnavailable
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox

KNOWN = "+375290000022"
CONTACT = "+375290000033"
STRANGER = "+4930000001"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def sandbox() -> AsyncIterator[RetailCrmSandbox]:
    async with RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000) as sandbox:
        sandbox.add_manager(7, code="151")
        sandbox.add_customer(2001, last_name="Чужой", phones=["+375290000044"])
        sandbox.add_customer(
            2002, last_name="Тестов", first_name="Тест", phones=["375290000022", "+375290000023"], manager_id=7
        )
        sandbox.add_customer(2003, last_name="Контактов", first_name="Иван", phones=["+375 29 000-00-33"])
        sandbox.add_company(77, nick_name="Ромашка", contacts=[2003])
        yield sandbox


async def test_a_person_costs_one_request(sandbox: RetailCrmSandbox, session: aiohttp.ClientSession) -> None:
    profile = await retailcrm_at(sandbox.url, session).profile(KNOWN)

    assert profile is not None
    assert profile.names.display == "Тестов Тест"
    assert (profile.external_id, profile.company_id, profile.responsible) == ("2002", "", "151")
    assert profile.phones == ("+375290000023",)
    assert [request.path for request in sandbox.requests] == ["/customers"]


async def test_a_contact_of_a_company_costs_two(sandbox: RetailCrmSandbox, session: aiohttp.ClientSession) -> None:
    profile = await retailcrm_at(sandbox.url, session).profile(CONTACT)

    assert profile is not None
    assert profile.names.display == "Ромашка"
    assert profile.names.person == "Контактов Иван"
    assert (profile.external_id, profile.company_id) == ("2003", "77")
    assert [request.path for request in sandbox.requests] == ["/customers", "/customers-corporate"]
    assert sandbox.requests[1].query["filter[contactIds][]"] == "2003"


async def test_a_stranger_is_nobody(sandbox: RetailCrmSandbox, session: aiohttp.ClientSession) -> None:
    assert await retailcrm_at(sandbox.url, session).profile(STRANGER) is None
    assert [request.query["filter[name]"] for request in sandbox.requests] == ["4930000001"]


async def test_a_number_written_the_way_of_its_country_is_found_by_a_second_search(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.add_customer(2004, last_name="Домашний", phones=["8 (029) 000-00-55"])

    profile = await retailcrm_at(sandbox.url, session).profile("+375290000055")

    assert profile is not None
    assert profile.names.last_name == "Домашний"
    assert [request.query["filter[name]"] for request in sandbox.requests] == ["375290000055", "290000055"]


async def test_the_key_travels_in_the_header_and_not_in_the_url(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    await retailcrm_at(sandbox.url, session).profile(KNOWN)

    assert "apiKey" not in sandbox.requests[0].query


async def test_a_hit_with_another_number_names_nobody(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.add_customer(2005, last_name="Длинный", phones=["+3752900000662"])
    sandbox.add_customer(2006, last_name="375290000066", phones=["+375290000067"])

    assert await retailcrm_at(sandbox.url, session).profile("+375290000066") is None


async def test_an_ignored_filter_names_nobody_wrong(sandbox: RetailCrmSandbox, session: aiohttp.ClientSession) -> None:
    sandbox.fault = Fault.EVERYBODY
    crm = retailcrm_at(sandbox.url, session)

    assert await crm.profile(STRANGER) is None
    known = await crm.profile(KNOWN)
    assert known is not None
    assert known.external_id == "2002"


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE])
async def test_a_broken_answer_is_tried_again_and_then_unavailable(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession, fault: Fault
) -> None:
    sandbox.fault = fault

    with pytest.raises(CrmUnavailable):
        await retailcrm_at(sandbox.url, session).profile(KNOWN)

    assert len(sandbox.requests) >= 2


async def test_a_crm_that_is_back_within_the_attempts_still_answers(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    crm = retailcrm_at(sandbox.url, session)
    sandbox.fault = Fault.LIMIT
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        asking = group.create_task(crm.profile(KNOWN), name="asking")
        await sandbox.wait_for_requests(1)
        sandbox.fault = None

    profile = asking.result()
    assert profile is not None
    assert profile.external_id == "2002"
    assert len(sandbox.requests) == 2


async def test_silence_ends_with_the_budget_and_not_later(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.fault = Fault.SILENCE
    started = asyncio.get_running_loop().time()

    with pytest.raises(CrmUnavailable, match="no answer in time"):
        await retailcrm_at(sandbox.url, session, attempt_s=0.2, budget_s=0.5).profile(KNOWN)

    assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_dead_server_is_unavailable(session: aiohttp.ClientSession) -> None:
    async with RetailCrmSandbox(api_key=API_KEY) as gone:
        url = gone.url

    with pytest.raises(CrmUnavailable, match="ClientConnectorError"):
        await retailcrm_at(url, session).profile(KNOWN)


async def test_a_refusal_with_status_200_is_not_repeated(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.fault = Fault.UNSUCCESSFUL

    with pytest.raises(CrmRejected, match="Internal server error"):
        await retailcrm_at(sandbox.url, session).profile(KNOWN)

    assert len(sandbox.requests) == 1


async def test_a_wrong_key_is_not_repeated_and_warned_of_once(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vochi_agent")
    crm = retailcrm_at(sandbox.url, session, api_key="wrong-key-1234")

    for _ in range(3):
        with pytest.raises(CrmAuthFailed):
            await crm.profile(KNOWN)

    assert len(sandbox.requests) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_the_sandbox_keeps_its_limit(session: aiohttp.ClientSession) -> None:
    async with RetailCrmSandbox(api_key=API_KEY, requests_per_s=2) as sandbox:
        answers = []
        for _ in range(3):
            url = f"{sandbox.url}/api/v5/customers"
            async with session.get(url, headers={"X-API-KEY": API_KEY}) as response:
                answers.append(response.status)

    assert answers == [200, 200, 503]


async def test_a_rush_stays_within_the_rate_of_the_crm(session: aiohttp.ClientSession) -> None:
    async with RetailCrmSandbox(api_key=API_KEY, requests_per_s=10) as sandbox:
        crm = retailcrm_at(sandbox.url, session, rps=10.0)
        profiles = await asyncio.gather(*(crm.profile(STRANGER) for _ in range(15)))

    assert profiles == [None] * 15
    assert len(sandbox.requests) == 15  # a 503 would have cost one more


async def test_the_breaker_opens_pauses_and_closes(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vochi_agent")
    clock, states = HandClock(), list[State]()
    crm = retailcrm_at(sandbox.url, session, clock=clock, states=states)
    sandbox.fault = Fault.HTML
    for _ in range(2):
        with pytest.raises(CrmUnavailable):
            await crm.profile(KNOWN)
    asked = len(sandbox.requests)
    assert states == [State.OPEN]

    sandbox.fault = None
    with pytest.raises(CrmPaused):
        await crm.profile(KNOWN)
    assert len(sandbox.requests) == asked

    clock.now += 15.0
    assert await crm.profile(KNOWN) is not None
    assert states == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert caplog.messages[-1] == "CRM retailcrm of 0901 answers again"


async def test_an_asker_who_leaves_proves_nothing_against_the_crm(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    states = list[State]()
    crm = retailcrm_at(sandbox.url, session, states=states)
    sandbox.fault = Fault.SILENCE
    for _ in range(6):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await crm.profile(KNOWN)
    sandbox.fault = None

    assert await crm.profile(KNOWN) is not None
    assert states == []


async def test_a_key_without_the_right_to_companies_still_names_the_person(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def customers(_: web.Request) -> web.Response:
        card = {"id": 5, "isContact": True, "lastName": "Контактов", "phones": [{"number": CONTACT}]}
        return web.json_response({"success": True, "customers": [card]})

    async def companies(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "errorMsg": "Access denied."}, status=403)

    routes = [web.get("/api/v5/customers", customers), web.get("/api/v5/customers-corporate", companies)]
    async with served(routes) as url:
        crm = retailcrm_at(url, session)
        profiles = [await crm.profile(CONTACT) for _ in range(2)]

    assert [profile and profile.names.display for profile in profiles] == ["Контактов"] * 2
    ours = [record.levelname for record in caplog.records if record.name.startswith("vochi_agent")]
    assert ours == ["WARNING"]


async def test_a_huge_answer_is_not_read_to_its_end(session: aiohttp.ClientSession) -> None:
    sent = 0

    async def customers(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 50 * MAX_BODY_BYTES:
            await response.write(b" " * (1 << 16))
            sent += 1 << 16
        return response

    async with served([web.get("/api/v5/customers", customers)]) as url:
        with pytest.raises(CrmUnavailable, match="larger than"):
            await retailcrm_at(url, session, budget_s=0.5).profile(KNOWN)

    assert sent < 50 * MAX_BODY_BYTES


async def test_a_redirect_never_takes_the_key_elsewhere(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"{sandbox.url}/api/v5/customers")

    async with served([web.get("/api/v5/customers", moved)]) as url:
        with pytest.raises(CrmUnavailable, match="redirect"):
            await retailcrm_at(url, session).profile(KNOWN)

    assert not sandbox.requests


async def test_a_key_that_an_error_repeats_is_masked(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def customers(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "errorMsg": f'Wrong "apiKey" value: {API_KEY}'}, status=403)

    async with served([web.get("/api/v5/customers", customers)]) as url:
        with pytest.raises(CrmAuthFailed) as failure:
            await retailcrm_at(url, session).profile(KNOWN)

    assert str(failure.value) == 'Wrong "apiKey" value: ***'
    assert API_KEY not in caplog.text


async def test_the_registry_builds_an_adapter_from_the_configuration(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    config = RetailCrmConfig(url=sandbox.url, api_key=API_KEY, agents={"7": "152"})
    crm = CRMS["retailcrm"](config, enterprise_number="0901", session=session, clock=HandClock(), on_state=[].append)

    profile = await crm.profile(KNOWN)

    assert profile is not None
    assert (crm.name, profile.responsible) == ("retailcrm", "152")


class served:  # noqa: N801 - reads as the verb it is
    """A server with these routes on a port of its own; entering gives its URL."""

    def __init__(self, routes: list[web.RouteDef]) -> None:
        app = web.Application()
        app.add_routes(routes)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
