"""What every CRM that lists calls promises, over real HTTP against its stand-in: each call once, whatever is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.calls import answered, missed
from tests.support.cards import told
from tests.support.crm_accounts import ACCOUNTS, Account
from vochi_agent.calls.model import Call, Phase
from vochi_agent.crm import CALL_BOOKS
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, CrmUncertain
from vochi_agent.ports import CallBook, CallScreen, Popup, Post
from vochi_agent.simulator.crm_server import Fault

PHONE = "375290000011"
# The others are held to test_call_book_contract.py.
HERE = [account for account in ACCOUNTS if account.name in ("retailcrm", "uon")]


@pytest.fixture(params=HERE, ids=lambda account: account.name)
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    account = request.param()
    async with account.sandbox:
        yield account


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def book_of(account: Account, session: aiohttp.ClientSession, **facts: Any) -> CallBook:
    """The adapter as the outbox sees it."""
    adapter = account.adapter(session, **facts)
    assert isinstance(adapter, CallBook)
    assert adapter.name in CALL_BOOKS
    return adapter


def post(call: Call, **facts: Any) -> Post:
    """A finished call on its way."""
    return Post(id=1, call=call, customer=None, **facts)


async def test_a_finished_call_is_listed_with_an_id(account: Account, session: aiohttp.ClientSession) -> None:
    book = book_of(account, session)

    assert await book.log_call(post(answered()), recording_url="https://pbx.example/r/1.wav")
    assert await book.log_call(post(missed(linkedid="2.2", phone="+375290000012")), recording_url="")
    assert account.listed() == [PHONE, "375290000012"]


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CUT, Fault.ERROR, Fault.HTML, Fault.SILENCE])
async def test_a_call_whose_answer_was_lost_is_listed_once_in_the_end(
    account: Account, session: aiohttp.ClientSession, fault: Fault
) -> None:
    book = book_of(account, session, attempt_s=0.2, budget_s=0.5)
    account.sandbox.fault = fault
    with pytest.raises(CrmUncertain):
        await book.log_call(post(answered()), recording_url="")
    account.sandbox.fault = None

    assert await book.log_call(post(answered(), uncertain=True), recording_url="")
    assert account.listed() == [PHONE]


@pytest.mark.parametrize("fault", [Fault.LIMIT, None])
async def test_a_call_that_surely_did_not_arrive_is_no_doubt(
    account: Account, session: aiohttp.ClientSession, fault: Fault | None
) -> None:
    account.sandbox.fault = fault
    url = "" if fault else "http://127.0.0.1:9"
    with pytest.raises(CrmUnavailable) as failure:
        await book_of(account, session, url=url, budget_s=0.5).log_call(post(answered()), recording_url="")

    assert not isinstance(failure.value, CrmUncertain)
    assert account.listed() == []


async def test_a_wrong_key_lists_nothing(account: Account, session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmAuthFailed):
        await book_of(account, session, api_key="wrong-key-1234").log_call(post(answered()), recording_url="")


async def test_a_correction_is_no_second_call(account: Account, session: aiohttp.ClientSession) -> None:
    book = book_of(account, session)
    remote_id = await book.log_call(post(missed(partial=True)), recording_url="")
    await book.log_call(post(answered(), corrects=True, remote_id=remote_id, revision=2), recording_url="")

    assert account.listed() == [PHONE]


async def test_screens_of_those_whose_phones_ring_are_told_and_no_others(
    account: Account, session: aiohttp.ClientSession
) -> None:
    screen = account.adapter(session)
    assert isinstance(screen, CallScreen)
    for began in (("151",), ()):
        await screen.show(Popup(progress=told(Phase.DIAL, agents=("151",)), customer=None, began=began))
    await screen.show(Popup(progress=told(Phase.BRIDGE, agents=("151",)), customer=None, began=("151",)))

    assert account.shown() == ["151"]


async def test_calls_are_listed_while_names_are_asked_for(account: Account, session: aiohttp.ClientSession) -> None:
    """A list that fails does not close the way for callers' names."""
    adapter = account.adapter(session, attempt_s=0.2, budget_s=0.5)
    assert isinstance(adapter, CallBook)
    account.sandbox.fault = Fault.ERROR
    for _ in range(6):
        with pytest.raises(CrmUnavailable):
            await adapter.log_call(post(answered()), recording_url="")
    account.sandbox.fault = None

    assert await adapter.profile("+375290000022") is not None


async def test_uon_parks_what_its_list_does_not_tell(session: aiohttp.ClientSession) -> None:
    account = next(kind for kind in ACCOUNTS if kind.name == "uon")()
    async with account.sandbox:
        book = book_of(account, session)
        account.sandbox.readable = False
        await book.log_call(post(answered(linkedid="9.9")), recording_url="")
        with pytest.raises(CrmRejected, match="outbox --listed"):
            await book.log_call(post(answered(), uncertain=True), recording_url="")


async def test_uon_says_how_long_a_doubt_takes_to_settle(session: aiohttp.ClientSession) -> None:
    account = next(kind for kind in ACCOUNTS if kind.name == "uon")()
    async with account.sandbox:
        account.sandbox.fault = Fault.LOST
        with pytest.raises(CrmUncertain) as doubt:
            await book_of(account, session).log_call(post(answered()), recording_url="")

    assert doubt.value.settles_s >= 30


async def test_retailcrm_lists_calls_at_its_telephony_rate(session: aiohttp.ClientSession) -> None:
    """Thirty calls take a second there, where ten requests a second are all that other methods may have."""
    account = next(kind for kind in ACCOUNTS if kind.name == "retailcrm")()
    async with account.sandbox:
        book, started = book_of(account, session, rps=10.0), asyncio.get_running_loop().time()
        calls = [post(answered(linkedid=f"1.{number}")) for number in range(30)]
        await asyncio.gather(*(book.log_call(each, recording_url="") for each in calls))

        assert len(account.listed()) == 30
        assert asyncio.get_running_loop().time() - started < 2.5
