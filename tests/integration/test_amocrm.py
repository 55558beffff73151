"""The amoCRM adapter against the sandbox, over real HTTP, with both kinds of token."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.calls import answered, missed
from tests.support.cards import told
from tests.support.crm import HandClock
from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.crm.amocrm import AmoCrm
from vochi_agent.crm.amocrm_account import Account, buy_tokens
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.oauth import TokenKeeper, Tokens
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmUnavailable, CrmUncertain
from vochi_agent.ports import CallBook, CallScreen, Popup, Post
from vochi_agent.simulator.amocrm import AmoCrmSandbox, Fault

TOKEN = "long-lived-token"
PERSON, COMPANY, STRANGER = "+79000000006", "+79000000010", "+79000000099"


@pytest.fixture
async def amo() -> AsyncIterator[AmoCrmSandbox]:
    async with AmoCrmSandbox(token=TOKEN, requests_per_s=10_000, silence_s=1.0) as amo:
        amo.add_company(7001, name="Демо и Ко", phones=[COMPANY], user=901)
        amo.add_contact(5551, name="Денис Демонов", first_name="Денис", last_name="Демонов",
                        phones=["8 (900) 000-00-06"], user=900, company=7001)  # fmt: skip
        yield amo


def http(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> CrmHttp:
    return CrmHttp(
        session, name="amocrm", base_url=amo.url, headers={}, secrets=[TOKEN], rps=1000.0, clock=HandClock(),
        on_state=lambda _: None, attempt_s=0.5, budget_s=1.5, tokens_expire=True,
    )  # fmt: skip


def at(amo: AmoCrmSandbox, session: aiohttp.ClientSession, *, token: str = TOKEN, unsorted: bool = False) -> AmoCrm:
    account = Account(http(amo, session), token=token)
    return AmoCrm(account, url="https://demo.amocrm.example", agents={"900": "151", "901": "150"}, country="RU",
                   unsorted=unsorted)  # fmt: skip


def as_application(amo: AmoCrmSandbox, session: aiohttp.ClientSession, folder: Path) -> AmoCrm:
    client = http(amo, session)

    async def refresh(token: str) -> Tokens:
        client_id, client_secret, redirect_uri = amo.client
        return await buy_tokens(
            client, client_id=client_id, client_secret=client_secret, redirect_uri=redirect_uri, refresh=token
        )

    tokens = TokenKeeper(folder / "amocrm.json", first="first-refresh", refresh=refresh)
    return AmoCrm(Account(client, tokens=tokens), url=amo.url, agents={}, country="RU", unsorted=False)


def post(call: Call | None = None, **facts: Any) -> Post:
    return Post(id=1, call=call or answered(phone=PERSON), customer=None, **facts)


async def test_a_contact_with_his_company_costs_two_requests(
    amo: AmoCrmSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(amo, session).profile(PERSON)

    assert profile is not None
    assert (profile.names.display, profile.names.person) == ("Демо и Ко", "Демонов Денис")
    assert (profile.external_id, profile.company_id, profile.responsible) == ("5551", "7001", "151")
    assert profile.url == "https://demo.amocrm.example/contacts/detail/5551"
    assert [each.path for each in amo.requests] == ["/api/v4/contacts", "/api/v4/companies/7001"]
    assert amo.requests[0].query["query"] == "9000000006"


async def test_a_company_with_a_number_of_its_own(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    profile = await at(amo, session).profile(COMPANY)

    assert profile is not None
    assert (profile.names.display, profile.external_id, profile.company_id) == ("Демо и Ко", "", "7001")
    assert profile.responsible == "150"


async def test_a_name_in_one_field_is_taken_whole(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    amo.add_contact(5552, name="Ольга из Бреста", phones=["+79000000007"])
    profile = await at(amo, session).profile("+79000000007")

    assert profile is not None
    assert profile.names.person == "Ольга из Бреста"


async def test_nobody_and_an_ignored_search(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(amo, session)
    assert await crm.profile(STRANGER) is None
    amo.fault = Fault.EVERYBODY
    assert await crm.profile(STRANGER) is None


async def test_by_id_a_contact_or_nobody(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(amo, session)
    found = await crm.person("5551")

    assert found is not None
    assert (found.names.last_name, found.company_id) == ("Демонов", "7001")
    assert await crm.person("1") is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.HTML, CrmUnavailable),
        (Fault.CUT, CrmUnavailable),
        (Fault.REFUSE, CrmUnavailable),
        (Fault.ERROR, CrmUnavailable),
        (Fault.SILENCE, CrmUnavailable),
        (Fault.LIMIT, CrmUnavailable),
    ],
)
async def test_a_broken_answer_is_no_answer(
    fault: Fault, error: type[Exception], amo: AmoCrmSandbox, session: aiohttp.ClientSession
) -> None:
    amo.fault = fault
    with pytest.raises(error):
        await at(amo, session).profile(PERSON)


@pytest.mark.parametrize("closed", ["unpaid", "blocked"])
async def test_a_closed_account_is_left_alone(closed: str, amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    setattr(amo, closed, True)
    crm = at(amo, session)
    for _ in range(5):
        with pytest.raises(CrmAuthFailed):
            await crm.profile(PERSON)
    with pytest.raises(CrmPaused):
        await crm.profile(PERSON)

    assert len(amo.requests) == 5


async def test_a_long_lived_token_that_is_refused_is_final(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmAuthFailed) as refusal:
        await at(amo, session, token="wrong-token").profile(PERSON)
    assert "wrong-token" not in str(refusal.value)
    assert len(amo.requests) == 1


async def test_an_expired_token_is_renewed_and_the_pair_outlives_a_restart(
    amo: AmoCrmSandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    assert await as_application(amo, session, tmp_path).profile(PERSON) is not None
    amo.token = "expired"
    assert await as_application(amo, session, tmp_path).profile(PERSON) is not None
    assert await as_application(amo, session, tmp_path).profile(PERSON) is not None
    assert amo.pairs == 2


async def test_a_call_lands_on_the_contacts_card(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    call_id = await at(amo, session).log_call(post(), recording_url="https://pbx.example/r/1.mp3")

    (call,) = amo.calls[5551]
    assert call_id == "1"
    told_of = {
        "direction": "inbound",
        "uniq": "0901-1795165024.84",
        "duration": 62,
        "call_status": 4,
        "link": "https://pbx.example/r/1.mp3",
        "responsible_user_id": 900,
    }
    assert {key: call[key] for key in told_of} == told_of


@pytest.mark.parametrize(
    ("reason", "status"), [(Reason.NO_ANSWER, 6), (Reason.BUSY, 7), (Reason.VOICEMAIL, 1), (Reason.UNREACHABLE, 3)]
)
async def test_results_have_the_accounts_codes(
    reason: Reason, status: int, amo: AmoCrmSandbox, session: aiohttp.ClientSession
) -> None:
    call = missed(phone=PERSON, reason=reason, direction=Direction.OUT)
    await at(amo, session).log_call(post(call), recording_url="")

    assert [(each["call_status"], each["direction"]) for each in amo.calls[5551]] == [(status, "outbound")]


async def listed_again(crm: AmoCrm, amo: AmoCrmSandbox) -> str:
    """What becomes of a call whose first answer is lost."""
    amo.fault = Fault.LOST
    with pytest.raises(CrmUncertain):
        await crm.log_call(post(), recording_url="")
    amo.fault = None
    return await crm.log_call(post(uncertain=True), recording_url="")


async def test_a_lost_answer_never_doubles_a_call(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    assert await listed_again(at(amo, session), amo) == "1"

    assert len(amo.calls[5551]) == 1


async def test_a_lost_answer_never_doubles_a_call_that_went_into_a_deal(
    amo: AmoCrmSandbox, session: aiohttp.ClientSession
) -> None:
    """A contact's only open deal takes his calls; what was closed since may have taken them too."""
    for number in range(20):
        amo.add_deal(8000 + number, contact=5551, status=143, updated_at=1_600_000_000 + number)
    amo.add_deal(7999, contact=5551, updated_at=1_700_000_000)
    assert await listed_again(at(amo, session), amo) == "1"

    assert [(place, len(calls)) for place, calls in amo.calls.items()] == [(7999, 1)]


async def test_a_doubt_about_a_call_that_never_arrived(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    await at(amo, session).log_call(post(uncertain=True), recording_url="")

    assert len(amo.calls[5551]) == 1


async def test_a_number_without_a_card_is_left_out_unless_it_is_to_become_a_lead(
    amo: AmoCrmSandbox, session: aiohttp.ClientSession
) -> None:
    stranger = missed(phone=STRANGER)
    assert await at(amo, session).log_call(post(stranger), recording_url="") == ""
    assert not amo.unsorted
    await at(amo, session, unsorted=True).log_call(post(stranger), recording_url="")

    (lead,) = amo.unsorted
    assert lead["metadata"]["from"] == "79000000099"
    assert lead["_embedded"]["leads"] == [{"name": "Пропущенный звонок 79000000099"}]


async def test_a_correction_is_beyond_this_api(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    assert await at(amo, session).log_call(post(corrects=True, remote_id="1"), recording_url="") == "1"
    assert not amo.requests


async def test_a_popup_goes_to_those_whose_phones_ring(amo: AmoCrmSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(amo, session)
    for phase, began in ((Phase.START, ()), (Phase.DIAL, ("151", "199")), (Phase.BRIDGE, ("151",))):
        await crm.show(Popup(progress=told(phase, phone=PERSON), customer=None, began=began))

    assert amo.popups == [{"type": "phone_call", "phone_number": "79000000006", "users": [900]}]


def test_the_adapter_is_what_the_daemon_looks_for() -> None:
    crm = AmoCrm.__new__(AmoCrm)
    assert isinstance(crm, CallBook)
    assert isinstance(crm, CallScreen)


async def test_the_sandbox_keeps_the_accounts_limit(session: aiohttp.ClientSession) -> None:
    async with AmoCrmSandbox(token=TOKEN, requests_per_s=2) as amo:
        statuses, headers = [], {"Authorization": f"Bearer {TOKEN}"}
        for _ in range(3):
            async with session.get(f"{amo.url}/api/v4/contacts", headers=headers) as answer:
                statuses.append(answer.status)
    assert statuses == [204, 204, 429]
