"""What every CRM that lists calls and shows them promises, over real HTTP against its stand-in: one suite."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from tests.support.calls import NOON, answered, missed
from tests.support.cards import told
from tests.support.crm_accounts import ACCOUNTS, KNOWN, NAME, Account
from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.crm import CALL_BOOKS
from vochi_agent.errors import CrmAuthFailed, CrmUnavailable, CrmUncertain
from vochi_agent.ports import CallBook, CallScreen, Popup, Post, ProfileSource
from vochi_agent.simulator.crm_server import Fault

NOBODY_LISTENS = "http://127.0.0.1:9"
# They tell a repetition by looking for the call; the others by an id of ours.
KNOW_NO_ID = ("uon", "amocrm")


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    account = request.param()
    async with account.sandbox:
        yield account


@pytest.fixture
async def book(account: Account, session: aiohttp.ClientSession, tmp_path: Path) -> CallBook:
    return account.book(session, tmp_path)


def post(call: Call | None = None, **facts: Any) -> Post:
    return Post(id=1, call=call or answered(phone=KNOWN), customer=None, **facts)


def popup(phase: Phase, *, seconds: float, **facts: Any) -> Popup:
    agents = tuple(facts.get("began", ()))
    progress = told(phase, phone=KNOWN, agents=agents, started_at=NOON.timestamp(), at=NOON.timestamp() + seconds)
    return Popup(progress=progress, customer=None, **facts)


def screen(book: CallBook) -> CallScreen:
    assert isinstance(book, CallScreen)
    return book


@pytest.mark.parametrize("kind", ACCOUNTS, ids=lambda account: account.name)
async def test_the_registry_names_exactly_the_adapters_that_keep_a_list(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        crm = account.adapter(session)

    assert isinstance(crm, CallBook) is (account.name in CALL_BOOKS)


async def test_a_call_is_listed_once(account: Account, book: CallBook) -> None:
    for linkedid in ("1.1", "1.2"):
        await book.log_call(post(answered(phone=KNOWN, linkedid=linkedid)), recording_url="https://pbx.example/1.mp3")

    assert account.listed() == [KNOWN, KNOWN]


@pytest.mark.parametrize("reason", [Reason.TALKED, Reason.NO_ANSWER, Reason.BUSY, Reason.REJECTED])
@pytest.mark.parametrize("direction", [Direction.IN, Direction.OUT])
async def test_what_became_of_a_call_is_said_in_the_crms_words(
    account: Account, book: CallBook, reason: Reason, direction: Direction
) -> None:
    made = answered if reason is Reason.TALKED else missed
    call = made(phone=KNOWN, reason=reason, direction=direction)
    await book.log_call(post(call), recording_url="")

    assert account.result() == account.results[reason]


async def test_a_lost_answer_never_doubles_a_call(account: Account, book: CallBook) -> None:
    earlier = answered(phone=KNOWN, linkedid="1.0", started_at=NOON - timedelta(hours=1))
    await book.log_call(post(earlier), recording_url="")
    account.sandbox.fault = Fault.LOST
    with pytest.raises(CrmUncertain):
        await book.log_call(post(), recording_url="")
    account.sandbox.fault = None
    for _ in range(2):
        await book.log_call(post(uncertain=True), recording_url="")

    assert account.listed() == [KNOWN, KNOWN]


async def test_a_doubt_about_a_call_that_never_arrived_is_resolved_by_listing_it(
    account: Account, book: CallBook
) -> None:
    await book.log_call(post(uncertain=True), recording_url="")

    assert account.listed() == [KNOWN]


@pytest.mark.parametrize(
    "fault", [Fault.ERROR, Fault.HTML, Fault.REFUSE, Fault.CUT, Fault.LIMIT, Fault.LOST, Fault.SILENCE]
)
async def test_a_sick_crm_gets_the_call_when_it_is_well(
    account: Account, session: aiohttp.ClientSession, tmp_path: Path, fault: Fault
) -> None:
    book = account.book(session, tmp_path, attempt_s=0.5)
    account.sandbox.fault = fault
    with pytest.raises(CrmUnavailable) as failure:
        await book.log_call(post(), recording_url="")
    account.sandbox.fault = None
    await book.log_call(post(uncertain=isinstance(failure.value, CrmUncertain)), recording_url="")

    assert account.listed() == [KNOWN]


@pytest.mark.parametrize("limited", [True, False], ids=["over its limit", "dead"])
async def test_a_call_that_surely_did_not_arrive_is_no_doubt(
    account: Account, session: aiohttp.ClientSession, tmp_path: Path, limited: bool
) -> None:
    account.sandbox.fault = Fault.LIMIT if limited else None
    book = account.book(session, tmp_path, url="" if limited else NOBODY_LISTENS, budget_s=0.5)
    with pytest.raises(CrmUnavailable) as failure:
        await book.log_call(post(), recording_url="")

    assert not isinstance(failure.value, CrmUncertain)
    assert account.listed() == []


async def test_a_doubt_takes_time_to_settle_where_the_crm_does_not_know_a_repetition(
    account: Account, book: CallBook
) -> None:
    """A server that was silent may still list the call after we have looked for it."""
    await book.log_call(post(answered(phone=KNOWN, linkedid="1.0")), recording_url="")
    account.sandbox.fault = Fault.LOST
    with pytest.raises(CrmUncertain) as doubt:
        await book.log_call(post(), recording_url="")

    assert doubt.value.settles_s >= (30 if account.name in KNOW_NO_ID else 0)


async def test_a_list_that_fails_does_not_close_the_way_for_names(
    account: Account, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    book = account.book(session, tmp_path)
    names = cast("ProfileSource", book)
    await names.profile(KNOWN)
    account.sandbox.fault = Fault.ERROR
    for _ in range(6):
        with pytest.raises(CrmUnavailable):
            await book.log_call(post(), recording_url="")
    account.sandbox.fault = None
    profile = await names.profile(KNOWN)

    assert profile is not None
    assert profile.names.display == NAME


async def test_a_correction_stays_one_call_and_is_told_where_the_crm_allows(account: Account, book: CallBook) -> None:
    remote_id = await book.log_call(post(missed(phone=KNOWN)), recording_url="")
    await book.log_call(post(corrects=True, revision=2, remote_id=remote_id), recording_url="")

    assert account.listed() == [KNOWN]
    assert account.result() == account.corrected


async def test_a_card_opens_where_the_phone_rings_and_the_call_is_listed_once(account: Account, book: CallBook) -> None:
    cards = screen(book)
    remote_id = await cards.show(popup(Phase.DIAL, seconds=1, began=("151", "150")))
    remote_id = await cards.show(popup(Phase.BRIDGE, seconds=5, began=("151",), ended=("150",), remote_id=remote_id))
    remote_id = await cards.show(popup(Phase.HANGUP, seconds=67, ended=("151",), remote_id=remote_id)) or remote_id
    await book.log_call(post(remote_id=remote_id), recording_url="")

    assert account.shown()[0] == "151"
    assert account.listed() == [KNOWN]
    assert account.result() == account.results[Reason.TALKED]


async def test_a_card_whose_id_did_not_outlive_a_restart_does_not_double_the_call(
    account: Account, book: CallBook
) -> None:
    await screen(book).show(popup(Phase.DIAL, seconds=1, began=("151",)))
    await book.log_call(post(), recording_url="")

    assert account.listed() == [KNOWN]


async def test_a_hidden_number_opens_no_card(account: Account, book: CallBook) -> None:
    hidden = Popup(progress=told(Phase.DIAL, phone=None, agents=("151",)), customer=None, began=("151",))
    assert await screen(book).show(hidden) == ""

    assert account.shown() == []


async def test_a_refused_key_is_told_as_one(account: Account, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    if account.name == "bitrix24":
        account.sandbox.refresh_token = "spent"
        book = account.book(session, tmp_path)
    else:
        book = account.book(session, tmp_path, **{"phone_key" if account.name == "moysklad" else "api_key": "wrong"})

    with pytest.raises(CrmAuthFailed):
        await book.log_call(post(), recording_url="")
    assert account.listed() == []
