"""The MoySklad adapter against the sandbox, over real HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.support.calls import answered, missed
from tests.support.cards import told
from tests.support.crm import HandClock
from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.moysklad import DATA_HEADERS, MoySklad
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, CrmUncertain
from vochi_agent.ports import CallBook, CallScreen, Popup, Post
from vochi_agent.simulator.moysklad import Fault, MoySkladSandbox

DATA_KEY, PHONE_KEY = "data-secret", "phone-secret"
PERSON, COMPANY, CONTACT, STRANGER = "+79000000003", "+79000000010", "+79000000011", "+79000000099"
OWNER = "22222222-bbbb-11ee-0a80-000000000002"
EXTERNAL_ID = "0901-1795165024.84"


@pytest.fixture
async def account() -> AsyncIterator[MoySkladSandbox]:
    roomy = (10_000, 1.0)
    async with MoySkladSandbox(
        data_key=DATA_KEY, phone_key=PHONE_KEY, data_limit=roomy, phone_limit=roomy, silence_s=1.0
    ) as account:
        account.add_employee(OWNER, extension="151")
        account.add_counterparty("p-1", name="Складова Анна", phone="8 (900) 000-00-03", owner=OWNER)
        account.add_counterparty(
            "c-1",
            name="ООО Складпример",
            company_type="legal",
            phone="+7 (900) 000-00-10",
            contacts=[("k-1", "Ирина Ивушкина", "8 900 000 00 11"), ("k-2", "Пётр", "")],
        )
        yield account


def at(
    account: MoySkladSandbox,
    session: aiohttp.ClientSession,
    *,
    data_key: str = DATA_KEY,
    agents: dict[str, str] | None = None,
    telephony: bool = True,
) -> MoySklad:
    common: dict[str, Any] = {
        "base_url": account.url, "rps": 1000.0, "clock": HandClock(), "on_state": lambda _: None, "attempt_s": 0.5,
        "budget_s": 1.5,
    }  # fmt: skip
    data = CrmHttp(
        session,
        name="data",
        headers={**DATA_HEADERS, "Authorization": f"Bearer {data_key}"},
        secrets=[data_key],
        **common,
    )
    headers = {"Accept-Encoding": "gzip", "Lognex-Phone-Auth-Token": PHONE_KEY}
    phone = CrmHttp(session, name="phone", headers=headers, secrets=[PHONE_KEY], **common) if telephony else None
    return MoySklad(data, phone, agents=agents or {}, country="RU", clock=HandClock())


def post(call: Call | None = None, **facts: Any) -> Post:
    return Post(id=1, call=call or answered(phone=PERSON), customer=None, **facts)


# ---------------------------------------------------------------- who is calling


async def test_a_person_is_found_whatever_the_formatting(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(account, session).profile(PERSON)

    assert profile is not None
    assert (profile.names.last_name, profile.external_id, profile.company_id) == ("Складова Анна", "p-1", "")
    assert profile.responsible == "151"
    assert profile.url.endswith("id=p-1")
    assert [request.query.get("search") for request in account.requests] == ["9000000003", None]


async def test_the_main_number_of_a_company_is_the_companys(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(account, session).profile(COMPANY)

    assert profile is not None
    assert (profile.names.display, profile.names.person) == ("ООО Складпример", "")
    assert (profile.external_id, profile.company_id) == ("", "c-1")


async def test_a_contact_person_has_his_own_name_and_the_companys(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(account, session).profile(CONTACT)

    assert profile is not None
    assert (profile.names.display, profile.names.person) == ("ООО Складпример", "Ирина Ивушкина")
    assert (profile.external_id, profile.company_id) == ("c-1/k-1", "c-1")


async def test_of_a_hundred_and_more_contact_persons_the_last_one_is_known_too(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    """A card brings the first hundred only, however it is asked for."""
    last, company = "+79000009149", "55555555-eeee-11ee-0a80-000000000005"
    people = [(f"66666666-0000-11ee-0a80-{n:012}", f"Контакт {n}", f"+7900000{9000 + n}") for n in range(150)]
    account.add_counterparty(company, name="ООО Большое", company_type="legal", contacts=people)
    crm = at(account, session)

    found, by_id = await crm.profile(last), await crm.person(f"{company}/{people[-1][0]}")
    for profile in (found, by_id):
        assert profile is not None
        assert (profile.names.person, profile.names.enterprise_name) == ("Контакт 149", "ООО Большое")
    assert len(await crm.people(company)) == 151


async def test_a_living_counterparty_comes_before_an_archived_one(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    account.add_counterparty("p-2", name="Старый", phone=PERSON, archived=True, updated="2026-11-01 10:00:00.000")
    profile = await at(account, session).profile(PERSON)

    assert profile is not None
    assert profile.external_id == "p-1"


async def test_a_stranger_and_an_ignored_search_name_nobody(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    crm = at(account, session)
    assert await crm.profile(STRANGER) is None
    account.fault = Fault.EVERYBODY
    assert await crm.profile(STRANGER) is None


async def test_by_id_a_counterparty_or_nobody(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(account, session)
    found = await crm.person("c-1")

    assert found is not None
    assert (found.company_id, found.phones) == ("c-1", (COMPANY,))
    assert await crm.person("nobody") is None


async def test_the_configured_extension_comes_before_the_crms(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(account, session, agents={OWNER: "152"}).profile(PERSON)

    assert profile is not None
    assert profile.responsible == "152"
    assert len(account.requests) == 1


async def test_the_employees_are_asked_for_once(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(account, session)
    for _ in range(3):
        await crm.profile(PERSON)

    assert sum(request.path.endswith("/employee") for request in account.requests) == 1


async def test_without_the_phone_api_there_is_still_a_name(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    profile = await at(account, session, telephony=False).profile(PERSON)

    assert profile is not None
    assert (profile.names.last_name, profile.responsible) == ("Складова Анна", "")


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE, Fault.ERROR, Fault.SILENCE, Fault.LIMIT])
async def test_a_broken_answer_is_no_answer(
    fault: Fault, account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    account.fault = fault
    with pytest.raises(CrmUnavailable):
        await at(account, session).profile(PERSON)


async def test_a_wrong_key_is_told_and_not_shown(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmAuthFailed) as refusal:
        await at(account, session, data_key="wrong-secret").profile(PERSON)
    assert "wrong-secret" not in str(refusal.value)


# ---------------------------------------------------------------- the list of calls


async def test_a_call_is_listed_with_everything_that_the_api_takes(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    crm = at(account, session)
    remote_id = await crm.log_call(post(), recording_url="https://pbx.example/r/1.mp3")

    call = account.calls[EXTERNAL_ID]
    assert remote_id == call.id
    assert call.fields == {
        "externalId": EXTERNAL_ID,
        "number": PERSON,
        "isIncoming": True,
        "startTime": "2026-11-20 15:00:00.000",  # Moscow
        "duration": 62000,
        "extension": "151",
        "comment": "Разговор: 151",
        "recordUrl": ["https://pbx.example/r/1.mp3"],
    }


async def test_a_missed_and_an_outbound_call(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(account, session)
    await crm.log_call(post(missed(phone=PERSON, linkedid="1.1")), recording_url="")
    out = missed(phone=PERSON, linkedid="1.2", direction=Direction.OUT, reason=Reason.BUSY, first_agent="150", rung=())
    await crm.log_call(post(out), recording_url="")

    first, second = account.calls["0901-1.1"].fields, account.calls["0901-1.2"].fields
    assert (first["isIncoming"], first["duration"], first["comment"]) == (True, 0, "Нет ответа")
    assert (second["isIncoming"], second["extension"], second["comment"]) == (False, "150", "Занято")


async def test_a_lost_answer_never_doubles_a_call(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(account, session)
    account.fault = Fault.LOST
    with pytest.raises(CrmUncertain):
        await crm.log_call(post(), recording_url="")
    account.fault = None
    remote_id = await crm.log_call(post(uncertain=True), recording_url="")

    assert list(account.calls) == [EXTERNAL_ID]
    assert remote_id == account.calls[EXTERNAL_ID].id


async def test_a_doubt_about_a_call_that_never_arrived_is_resolved_by_making_it(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    await at(account, session).log_call(post(uncertain=True), recording_url="")

    assert list(account.calls) == [EXTERNAL_ID]


async def test_a_recording_is_there_once_whatever_is_lost_or_corrected(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    """The API adds a link as often as it is sent."""
    crm, link = at(account, session), "https://pbx.example/r/1.mp3"
    account.fault = Fault.LOST
    with pytest.raises(CrmUncertain):
        await crm.log_call(post(), recording_url=link)
    account.fault = None
    remote_id = await crm.log_call(post(uncertain=True), recording_url=link)
    for _ in range(2):
        await crm.log_call(post(corrects=True, remote_id=remote_id), recording_url=link)

    assert account.calls[EXTERNAL_ID].fields["recordUrl"] == [link]


async def test_a_recording_that_comes_late_joins_the_call(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    crm, link = at(account, session), "https://pbx.example/r/1.mp3"
    remote_id = await crm.log_call(post(), recording_url="")
    await crm.log_call(post(corrects=True, remote_id=remote_id), recording_url=link)

    assert account.calls[EXTERNAL_ID].fields["recordUrl"] == [link]


async def test_a_correction_speaks_through_the_comment(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    crm = at(account, session)
    remote_id = await crm.log_call(post(missed(phone=PERSON)), recording_url="")
    await crm.log_call(post(corrects=True, remote_id=remote_id), recording_url="")

    assert account.calls[EXTERNAL_ID].fields["comment"] == "Разговор: 151"


async def test_without_the_phone_key_a_call_is_refused_with_a_sentence(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(CrmRejected, match="phone_key"):
        await at(account, session, telephony=False).log_call(post(), recording_url="")


# ---------------------------------------------------------------- cards on screens


def popup(phase: Phase, *, seconds: float, **facts: Any) -> Popup:
    started = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    at_ = (started + timedelta(seconds=seconds)).timestamp()
    progress = told(phase, phone=PERSON, started_at=started.timestamp(), at=at_)
    return Popup(progress=progress, customer=None, **facts)


async def test_a_card_opens_moves_and_closes_and_the_call_is_ended_under_its_id(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    crm = at(account, session)
    remote_id = await crm.show(popup(Phase.START, seconds=0))
    for each in (
        popup(Phase.DIAL, seconds=1, began=("150", "151"), remote_id=remote_id),
        popup(Phase.BRIDGE, seconds=5, began=("151",), ended=("150",), remote_id=remote_id),
        popup(Phase.HANGUP, seconds=67, ended=("151",), remote_id=remote_id),
    ):
        assert await crm.show(each) == remote_id
    assert await crm.log_call(post(remote_id=remote_id), recording_url="") == remote_id

    (call,) = account.calls.values()
    assert [(event["eventType"], event.get("extension")) for event in call.events] == [
        ("SHOW", "150"),
        ("SHOW", "151"),
        ("STARTTIME", "151"),
        ("HIDE", "150"),
        ("HIDE_ALL", None),
    ]
    order = [event["sequence"] for event in call.events]
    assert order == sorted(set(order))
    assert (call.fields["duration"], call.fields["comment"]) == (62000, "Разговор: 151")


async def test_a_card_closes_also_when_the_answer_to_its_opening_was_lost(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    """The API knows the call, and refuses to make it a second time; its own id nobody has heard."""
    crm = at(account, session)
    account.fault = Fault.LOST
    with pytest.raises(CrmUncertain):
        await crm.show(popup(Phase.START, seconds=0))
    account.fault = None
    for each in (
        popup(Phase.DIAL, seconds=1, began=("150",)),
        popup(Phase.BRIDGE, seconds=5, began=("150",)),
        popup(Phase.HANGUP, seconds=67, ended=("150",)),
    ):
        await crm.show(each)

    (call,) = account.calls.values()
    assert [event["eventType"] for event in call.events] == ["SHOW", "STARTTIME", "HIDE_ALL"]


async def test_a_hidden_caller_has_no_card(account: MoySkladSandbox, session: aiohttp.ClientSession) -> None:
    crm = at(account, session)
    hidden = Popup(progress=told(Phase.DIAL, phone=None, agents=("150",)), customer=None, began=("150",))

    assert await crm.show(hidden) == ""
    assert not account.requests


def test_the_adapter_is_what_the_daemon_looks_for(session: aiohttp.ClientSession) -> None:
    crm = MoySklad.__new__(MoySklad)
    assert isinstance(crm, CallBook)
    assert isinstance(crm, CallScreen)


# ---------------------------------------------------------------- the sandbox keeps the API's rules


async def test_the_sandbox_refuses_what_the_api_refuses(
    account: MoySkladSandbox, session: aiohttp.ClientSession
) -> None:
    url = f"{account.url}/api/remap/1.2/entity/counterparty"
    good = {**DATA_HEADERS, "Authorization": f"Bearer {DATA_KEY}"}
    for changed, status in (({"Accept-Encoding": "br"}, 415), ({"Accept": "*/*"}, 400), ({"Authorization": "x"}, 401)):
        async with session.get(url, headers={**good, **changed}) as answer:
            assert answer.status == status
