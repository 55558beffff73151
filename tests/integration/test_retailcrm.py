"""What the RetailCRM adapter does beyond the promises of every adapter (test_crm_contract), over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.support.calls import answered
from tests.support.crm import API_KEY, retailcrm_at
from tests.support.served import served
from vochi_agent.ports import Post
from vochi_agent.simulator.retailcrm import RetailCrmSandbox

KNOWN = "+375290000022"
CONTACT = "+375290000033"
STRANGER = "+4930000001"


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


async def test_calls_are_listed_at_the_rate_of_telephony(
    sandbox: RetailCrmSandbox, session: aiohttp.ClientSession
) -> None:
    """Thirty calls take a second there, where ten requests a second are all that other methods may have."""
    crm, started = retailcrm_at(sandbox.url, session, rps=10.0), asyncio.get_running_loop().time()
    posts = [Post(id=number, call=answered(linkedid=f"1.{number}"), customer=None) for number in range(30)]
    await asyncio.gather(*(crm.log_call(each, recording_url="") for each in posts))

    assert len(sandbox.calls) == 30
    assert asyncio.get_running_loop().time() - started < 2.5
