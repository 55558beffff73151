"""What the U-ON adapter does beyond the promises of every adapter (test_crm_contract), over real HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.calls import answered
from tests.support.crm import API_KEY, uon_at
from tests.support.served import served
from vochi_agent.crm.breaker import State
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.ports import Post
from vochi_agent.simulator.uon import Fault, UonSandbox

KNOWN = "+375290000022"
STRANGER = "+4930000001"


@pytest.fixture
async def sandbox() -> AsyncIterator[UonSandbox]:
    async with UonSandbox(api_key=API_KEY, requests_per_s=1000) as sandbox:
        sandbox.add_user(
            1001,
            surname="Тестова",
            name="Ольга &amp; Ко",
            second_name="Игоревна",
            company="ООО &laquo;Турпример&raquo;",
            phones=["375290000022", " 375 29 000-00-23", "8 (029) 000-00-24"],
            manager_id=5,
        )
        yield sandbox


async def test_one_request_brings_names_company_manager_page_and_all_three_numbers(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await uon_at(sandbox.url, session).profile(KNOWN)

    assert profile is not None
    names = profile.names
    assert (names.last_name, names.first_name, names.middle_name) == ("Тестова", "Ольга & Ко", "Игоревна")
    assert names.display == "ООО «Турпример»"
    assert (profile.external_id, profile.responsible) == ("1001", "151")
    assert profile.phones == ("+375290000023", "+375290000024")
    assert profile.phones_complete
    assert profile.url == "https://demo.u-on.ru/client_edit.php?client_id=1001"
    assert [request.path for request in sandbox.requests] == ["/user/phone/375290000022.json"]


async def test_the_form_dialled_at_home_is_asked_for_second(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    assert await uon_at(sandbox.url, session).profile("+375290000099") is None
    assert await uon_at(sandbox.url, session).profile("+79000000099") is None

    assert [request.path for request in sandbox.requests] == [
        "/user/phone/375290000099.json",
        "/user/phone/80290000099.json",
        "/user/phone/79000000099.json",
        "/user/phone/89000000099.json",
    ]


async def test_a_field_that_cannot_be_read_lets_nobody_conclude_that_a_number_is_gone(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.add_user(1002, surname="Неполная", phones=["+375290000033", "спросить у мужа", ""])

    profile = await uon_at(sandbox.url, session).profile("+375290000033")

    assert profile is not None
    assert (profile.phones, profile.phones_complete) == ((), False)


async def test_a_deleted_client_is_nobody_by_number_and_by_id(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.add_user(1001, surname="Удалённая", phones=["375290000022"], deleted=True)
    crm = uon_at(sandbox.url, session)

    assert await crm.profile(KNOWN) is None
    assert await crm.person("1001") is None


async def test_of_a_family_with_one_number_the_card_changed_last_counts(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.add_user(1003, surname="Муж", phones=["375290000022"], updated_at="2026-11-01T10:00:00+0300")

    profile = await uon_at(sandbox.url, session).profile(KNOWN)

    assert profile is not None
    assert profile.names.last_name == "Муж"


async def test_what_fails_in_the_background_does_not_close_the_way_for_callers(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    states = list[State]()
    crm = uon_at(sandbox.url, session, states=states)
    sandbox.fault = Fault.HTML
    for _ in range(3):
        with pytest.raises(CrmUnavailable):
            await crm.person("1001")
    sandbox.fault = None

    assert states == []
    assert await crm.profile(KNOWN) is not None


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"result": 404}, None),
        (200, {"result": 404}, None),
        (200, {"users": []}, None),
        (404, {"error": {"message": "Parameter phone is wrong"}}, CrmRejected),
        (403, {"error": {"message": "Method is not allowed"}}, CrmAuthFailed),
        (200, {"error": {"message": "API key is wrong"}}, CrmAuthFailed),
        (200, {"result": 500}, CrmRejected),
        (400, {"error": "Bad request"}, CrmRejected),
        (200, {"result": 200, "users": [{"u_id": 0, "u_phone": "375290000022"}]}, None),
        (200, {"result": 200, "users": [None, 7, {"u_id": "9", "u_phone": 375290000099}]}, None),
    ],
)
async def test_every_shape_of_nobody_and_of_no(
    session: aiohttp.ClientSession, status: int, body: dict, expected: type[Exception] | None
) -> None:
    async def search(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    async with served([web.get("/{key}/user/phone/{phone}", search)]) as url:
        crm = uon_at(url, session)
        if expected is None:
            assert await crm.profile(STRANGER) is None
        else:
            with pytest.raises(expected):
                await crm.profile(STRANGER)


async def test_a_card_by_id_may_come_as_an_object_and_must_be_the_one_that_was_asked_for(
    session: aiohttp.ClientSession,
) -> None:
    async def card(_: web.Request) -> web.Response:
        return web.json_response(
            {"result": 200, "user": {"u_id": "1001", "u_surname": "Одна", "u_phone": 375290000022}}
        )

    async with served([web.get("/{key}/user/{id}", card)]) as url:
        crm = uon_at(url, session)
        profile = await crm.person("1001")
        other = await crm.person("1002")

    assert profile is not None
    assert profile.phones == (KNOWN,)
    assert other is None


def on_its_way(linkedid: str = "1.1", **facts: Any) -> Post:
    return Post(id=1, call=answered(linkedid=linkedid), customer=None, **facts)


async def test_a_call_is_parked_when_the_list_does_not_tell_whether_it_arrived(
    sandbox: UonSandbox, session: aiohttp.ClientSession
) -> None:
    crm = uon_at(sandbox.url, session)
    sandbox.readable = False
    await crm.log_call(on_its_way("9.9"), recording_url="")

    with pytest.raises(CrmRejected, match="outbox --listed"):
        await crm.log_call(on_its_way(uncertain=True), recording_url="")
