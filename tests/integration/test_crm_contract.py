"""What every CRM adapter promises, over real HTTP against its stand-in: one suite for all of them."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from tests.support.calls import answered
from tests.support.crm import API_KEY, HandClock
from tests.support.crm_accounts import ACCOUNTS, HOME, KNOWN, NAME, STRANGER, Account
from tests.support.served import served
from vochi_agent.crm import CRMS, Limiters, Surroundings
from vochi_agent.crm.breaker import State
from vochi_agent.crm.examine import examine_crm
from vochi_agent.crm.http import MAX_BODY_BYTES
from vochi_agent.diagnosis import Level
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmRejected, CrmUnavailable
from vochi_agent.ports import Post, ProfileSource
from vochi_agent.simulator.crm_server import Fault


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    account = request.param()
    async with account.sandbox:
        yield account


async def test_a_person_costs_few_requests(account: Account, session: aiohttp.ClientSession) -> None:
    profile = await account.adapter(session).profile(KNOWN)

    assert profile is not None
    assert profile.names.display == NAME
    assert (profile.source, profile.external_id, profile.company_id) == (account.name, "2002", "")
    assert profile.responsible == "151"
    assert profile.phones == ("+375290000023",)
    assert len(account.sandbox.requests) == account.costs[0]


async def test_a_person_is_found_by_his_id_with_all_his_numbers(
    account: Account, session: aiohttp.ClientSession
) -> None:
    crm = account.adapter(session)
    profile = await crm.person(account.person_id)

    assert profile is not None
    assert (profile.external_id, profile.names.display) == (account.person_id, NAME)
    assert set(profile.phones) == {"+375290000022", "+375290000023"}
    assert await crm.person("999") is None


async def test_a_stranger_is_nobody(account: Account, session: aiohttp.ClientSession) -> None:
    assert await account.adapter(session).profile(STRANGER) is None
    assert len(account.sandbox.requests) == account.costs[1]


async def test_a_number_written_the_way_of_its_country_is_found(
    account: Account, session: aiohttp.ClientSession
) -> None:
    profile = await account.adapter(session).profile(HOME)

    assert profile is not None
    assert profile.names.last_name == "Домашний"
    assert len(account.sandbox.requests) == account.costs[2]


async def test_a_hit_with_another_number_names_nobody(account: Account, session: aiohttp.ClientSession) -> None:
    account.person("2005", "Длинный", "", ["+3752900000662"])
    account.person("2006", "375290000066", "", ["+375290000067"])

    assert await account.adapter(session).profile("+375290000066") is None


async def test_an_ignored_filter_names_nobody_wrong(account: Account, session: aiohttp.ClientSession) -> None:
    account.sandbox.fault = Fault.EVERYBODY
    crm = account.adapter(session)

    assert await crm.profile(STRANGER) is None
    known = await crm.profile(KNOWN)
    assert known is not None
    assert known.external_id == account.person_id


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE])
@pytest.mark.parametrize("asked", ["phone", "id"])
async def test_a_broken_answer_is_tried_again_and_then_unavailable(
    account: Account, session: aiohttp.ClientSession, fault: Fault, asked: str
) -> None:
    account.sandbox.fault = fault
    crm = account.adapter(session)

    with pytest.raises(CrmUnavailable):
        await (crm.profile(KNOWN) if asked == "phone" else crm.person(account.person_id))

    assert len(account.sandbox.requests) >= 2


async def test_a_crm_that_is_back_within_the_attempts_still_answers(
    account: Account, session: aiohttp.ClientSession
) -> None:
    crm = account.adapter(session)
    account.sandbox.fault = Fault.LIMIT
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        asking = group.create_task(crm.profile(KNOWN), name="asking")
        await account.sandbox.wait_for_requests(1)
        account.sandbox.fault = None

    profile = asking.result()
    assert profile is not None
    assert profile.external_id == account.person_id
    assert len(account.sandbox.requests) == account.costs[0] + 1


@pytest.mark.parametrize("asked", ["phone", "id"])
async def test_silence_ends_with_the_budget_and_not_later(
    account: Account, session: aiohttp.ClientSession, asked: str
) -> None:
    account.sandbox.fault = Fault.SILENCE
    crm, started = account.adapter(session, attempt_s=0.2, budget_s=0.5), asyncio.get_running_loop().time()

    with pytest.raises(CrmUnavailable, match=r"no answer in time|no time was left"):
        await (crm.profile(KNOWN) if asked == "phone" else crm.person(account.person_id))

    assert asyncio.get_running_loop().time() - started < 1.0


@pytest.mark.parametrize("kind", ACCOUNTS, ids=lambda account: account.name)
async def test_a_dead_server_is_unavailable(kind: type[Account], session: aiohttp.ClientSession) -> None:
    account = kind()
    async with account.sandbox:
        url = account.sandbox.url

    with pytest.raises(CrmUnavailable, match="ClientConnectorError") as failure:
        await account.adapter(session, url=url).profile(KNOWN)

    assert API_KEY not in str(failure.value)


async def test_a_refusal_with_status_200_is_not_repeated(account: Account, session: aiohttp.ClientSession) -> None:
    account.sandbox.fault = Fault.UNSUCCESSFUL

    with pytest.raises(CrmRejected, match="Internal"):
        await account.adapter(session).profile(KNOWN)

    assert len(account.sandbox.requests) == 1


async def test_a_wrong_key_is_not_repeated_and_warned_of_once(
    account: Account, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vochi_agent")
    crm = account.adapter(session, api_key="wrong-key-1234")

    for _ in range(3):
        with pytest.raises(CrmAuthFailed):
            await crm.profile(KNOWN)

    assert len(account.sandbox.requests) == 3
    ours = [record.levelname for record in caplog.records if record.name.startswith("vochi_agent")]
    assert ours == ["WARNING"]
    assert "wrong-key-1234" not in caplog.text


@pytest.mark.parametrize("kind", ACCOUNTS, ids=lambda account: account.name)
async def test_the_sandbox_keeps_its_limit_and_the_adapter_stays_within(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    """Ten requests a second here; one above would have been refused and asked again."""
    account = kind(requests_per_s=10)
    async with account.sandbox:
        crm = account.adapter(session, rps=10.0)
        profiles = await asyncio.gather(*(crm.profile(STRANGER) for _ in range(15)))

        assert profiles == [None] * 15
        assert len(account.sandbox.requests) == 15 * account.costs[1]

        greedy = account.adapter(session, rps=1000.0, budget_s=0.5)
        rush = await asyncio.gather(*(greedy.profile(STRANGER) for _ in range(30)), return_exceptions=True)

    assert any(isinstance(each, CrmUnavailable) for each in rush)


@pytest.mark.parametrize(
    "kind", [each for each in ACCOUNTS if each.name != "bitrix24"], ids=lambda account: account.name
)
async def test_two_enterprises_on_one_account_keep_its_limit_together(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    """A CRM counts the requests of an account, whoever makes them; a Bitrix24 portal takes far more at once."""
    account, limiters = kind(requests_per_s=10), Limiters()
    async with account.sandbox:
        crms = [account.adapter(session, rps=10.0, limiters=limiters) for _ in range(2)]
        profiles = await asyncio.gather(*(crm.profile(KNOWN) for crm in crms for _ in range(6)))

    assert None not in profiles
    assert len(account.sandbox.requests) == 12 * account.costs[0], "nothing was refused and repeated"


async def test_the_breaker_opens_pauses_and_closes(
    account: Account, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vochi_agent")
    clock, states = HandClock(), list[State]()
    crm = account.adapter(session, clock=clock, states=states)
    account.sandbox.fault = Fault.HTML
    for _ in range(2):
        with pytest.raises(CrmUnavailable):
            await crm.profile(KNOWN)
    asked = len(account.sandbox.requests)
    assert states == [State.OPEN]

    account.sandbox.fault = None
    with pytest.raises(CrmPaused):
        await crm.profile(KNOWN)
    assert len(account.sandbox.requests) == asked

    clock.now += 15.0
    assert await crm.profile(KNOWN) is not None
    assert states == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert caplog.messages[-1] == f"CRM {account.name} of 0901 answers again"


async def test_an_asker_who_leaves_proves_nothing_against_the_crm(
    account: Account, session: aiohttp.ClientSession
) -> None:
    states = list[State]()
    crm = account.adapter(session, states=states)
    account.sandbox.fault = Fault.SILENCE
    for _ in range(6):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await crm.profile(KNOWN)
    account.sandbox.fault = None

    assert await crm.profile(KNOWN) is not None
    assert states == []


async def test_a_huge_answer_is_not_read_to_its_end(account: Account, session: aiohttp.ClientSession) -> None:
    sent = 0

    async def search(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 50 * MAX_BODY_BYTES:
            await response.write(b" " * (1 << 16))
            sent += 1 << 16
        return response

    async with served([web.route("*", account.search_route, search)]) as url:
        with pytest.raises(CrmUnavailable, match="larger than"):
            await account.adapter(session, url=url, budget_s=0.5).profile(KNOWN)

    assert sent < 50 * MAX_BODY_BYTES


async def test_a_redirect_never_takes_the_key_elsewhere(account: Account, session: aiohttp.ClientSession) -> None:
    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound(account.sandbox.url)

    async with served([web.route("*", account.search_route, moved)]) as url:
        with pytest.raises(CrmUnavailable, match="redirect"):
            await account.adapter(session, url=url).profile(KNOWN)

    assert not account.sandbox.requests


async def test_a_key_that_an_error_repeats_is_masked(
    account: Account, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(_: web.Request) -> web.Response:
        return account.refused(f"{API_KEY} and {quote(API_KEY, safe='')}")

    async with served([web.route("*", account.search_route, refused)]) as url:
        with pytest.raises(CrmAuthFailed) as failure:
            await account.adapter(session, url=url).profile(KNOWN)

    assert str(failure.value).endswith("*** and ***")
    assert API_KEY not in caplog.text


@pytest.mark.parametrize("fault", [*Fault])
async def test_no_secret_stands_in_any_line_of_the_log_or_error(
    account: Account,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    """At the level of debugging, with the lines of the libraries below us and whole tracebacks."""
    caplog.set_level(logging.DEBUG)
    await cast("ProfileSource", account.book(session, tmp_path)).profile(KNOWN)  # an application has its tokens
    book = account.book(session, tmp_path, attempt_s=0.1, budget_s=0.3)
    crm = cast("ProfileSource", book)
    post = Post(id=1, call=answered(phone=KNOWN), customer=None)
    account.sandbox.fault = fault
    told = []
    for ask in (crm.profile(KNOWN), crm.person(account.person_id), book.log_call(post, recording_url="")):
        try:
            await ask
        except (CrmUnavailable, CrmRejected, CrmAuthFailed) as failure:
            told.append("".join(traceback.format_exception(failure)))

    text = "".join([*told, caplog.text])
    secrets = [form for secret in account.secrets() for form in (secret, quote(secret, safe=""))]
    assert not [secret for secret in secrets if secret in text]
    assert told or fault in (Fault.EVERYBODY, Fault.UNSUCCESSFUL)


async def test_the_registry_builds_an_adapter_from_the_configuration(
    account: Account, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = account.config(agents={"7": "152", "5": "152"})
    around = Surroundings(
        enterprise_number="0901",
        country="BY",
        session=session,
        clock=HandClock(),
        on_state=[].append,
        state_dir=tmp_path,
    )
    crm = CRMS[account.name](config, around)

    profile = await crm.profile(KNOWN)

    assert profile is not None
    assert (crm.name, profile.responsible) == (account.name, "152")


async def test_the_doctor_sees_an_account_that_works_and_one_that_refuses_the_key(
    account: Account, session: aiohttp.ClientSession
) -> None:
    well, *_ = await examine_crm("0901", account.adapter(session))
    (refused,) = await examine_crm("0901", account.adapter(session, api_key="wrong-key-1234"))

    assert well.level is Level.OK
    assert (refused.level, refused.closed) == (Level.PROBLEM, True)
    assert "wrong-key-1234" not in refused.sentence
