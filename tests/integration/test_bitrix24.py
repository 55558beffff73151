"""The Bitrix24 adapter against the sandbox, over real HTTP, by webhook and as an application."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.calls import answered, missed
from tests.support.cards import told
from tests.support.crm import HandClock
from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.change_ports import Change, Click
from vochi_agent.config import SecretStr
from vochi_agent.config.tables import Bitrix24Config
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_changes import Bitrix24Events
from vochi_agent.crm.bitrix24_handlers import bind
from vochi_agent.crm.bitrix24_portal import BLOCKED_BY_HAND, ByApplication, ByWebhook, TokenShop
from vochi_agent.crm.examine import credential_of, examine_crm
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.oauth import TokenKeeper
from vochi_agent.diagnosis import Level
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmRejected, CrmUnavailable, CrmUncertain
from vochi_agent.ports import CallBook, CallScreen, Popup, Post
from vochi_agent.simulator.bitrix24 import Bitrix24Sandbox, Fault

PERSON, COMPANY, LEAD, STRANGER = "+79000000005", "+79000000010", "+79000000020", "+79000000099"
SECRET = "hook-secret"


@pytest.fixture
async def portal() -> AsyncIterator[Bitrix24Sandbox]:
    async with Bitrix24Sandbox(webhook_secret=SECRET, bucket=10_000, silence_s=1.0) as portal:
        portal.add_user("8", extension="151")
        portal.add_user("9", extension="150")
        portal.add_company("12", title='ООО "Макет, и Ко"', phones=[COMPANY], user="8")
        portal.add_contact("77", last_name="Макетова", name="Мария", phones=["8 900 000-00-05"], user="8", company="12")
        portal.add_lead("3", name="Лид", company_title="Новая фирма", phones=[LEAD])
        yield portal


def http(portal: Bitrix24Sandbox, session: aiohttp.ClientSession, path: str = "") -> CrmHttp:
    return CrmHttp(
        session, name="bitrix24", base_url=portal.url + path, headers={}, secrets=[SECRET], rps=1000.0,
        clock=HandClock(), on_state=lambda _: None, attempt_s=0.5, budget_s=1.5, tokens_expire=True,
        blocked=BLOCKED_BY_HAND,
    )  # fmt: skip


def by_webhook(portal: Bitrix24Sandbox, session: aiohttp.ClientSession, secret: str = SECRET) -> Bitrix24:
    way = ByWebhook(http(portal, session, f"/rest/1/{secret}"))
    url = "https://demo.bitrix24.example"
    return Bitrix24(way, url=url, agents={}, default_user="", country="RU", clock=HandClock())


def as_application(
    portal: Bitrix24Sandbox,
    session: aiohttp.ClientSession,
    folder: Path,
    *,
    default_user: str = "",
    clock: HandClock | None = None,
    lists_calls: bool = True,
    **agents: str,
) -> Bitrix24:
    client = http(portal, session)
    shop = TokenShop(http(portal, session), client_id="app-id", client_secret="app-secret", portal=portal.url)
    tokens = TokenKeeper(folder / "bitrix24.json", first="first-refresh", refresh=shop.buy, clock=clock or HandClock())
    return Bitrix24(
        ByApplication(client, tokens, shop), url="https://demo.bitrix24.example", default_user=default_user,
        lists_calls=lists_calls,
        agents=agents or {"8": "151", "9": "150"}, country="RU", clock=HandClock(),
    )  # fmt: skip


@pytest.fixture
def crm(portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path) -> Bitrix24:
    return as_application(portal, session, tmp_path)


def post(call: Call | None = None, **facts: Any) -> Post:
    return Post(id=1, call=call or answered(phone=PERSON), customer=None, **facts)


# ---------------------------------------------------------------- who is calling


async def test_a_contact_with_his_company_and_manager_costs_two_requests(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    profile = await by_webhook(portal, session).profile(PERSON)

    assert profile is not None
    assert (profile.names.display, profile.names.person) == ('ООО "Макет, и Ко"', "Макетова Мария")
    assert (profile.external_id, profile.company_id, profile.responsible) == ("77", "12", "151")
    assert profile.url == "https://demo.bitrix24.example/crm/contact/details/77/"
    assert portal.methods == ["batch", "batch"]


async def test_a_company_and_a_lead(portal: Bitrix24Sandbox, session: aiohttp.ClientSession) -> None:
    crm = by_webhook(portal, session)
    company, lead = await crm.profile(COMPANY), await crm.profile(LEAD)

    assert company is not None
    assert lead is not None
    assert (company.names.person, company.external_id, company.company_id) == ("", "", "12")
    assert (lead.names.display, lead.external_id, lead.company_id) == ("Новая фирма", "lead-3", "")


async def test_a_stranger_costs_one_request_and_lists_nothing(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    assert await by_webhook(portal, session).profile(STRANGER) is None
    assert len(portal.requests) == 1


async def test_a_search_that_finds_whom_it_likes_names_nobody(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    portal.fault = Fault.EVERYBODY
    assert await by_webhook(portal, session).profile(STRANGER) is None


async def test_by_id_a_contact_a_lead_or_nobody(portal: Bitrix24Sandbox, session: aiohttp.ClientSession) -> None:
    crm = by_webhook(portal, session)
    contact, lead = await crm.person("77"), await crm.person("lead-3")

    assert contact is not None
    assert lead is not None
    assert (contact.names.last_name, lead.external_id) == ("Макетова", "lead-3")
    assert await crm.person("78") is None


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.CUT, Fault.REFUSE, Fault.ERROR, Fault.SILENCE, Fault.LIMIT])
async def test_a_broken_answer_is_no_answer(
    fault: Fault, portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    portal.fault = fault
    with pytest.raises(CrmUnavailable):
        await by_webhook(portal, session).profile(PERSON)


async def test_a_wrong_secret_is_told_and_not_shown(portal: Bitrix24Sandbox, session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmAuthFailed) as refusal:
        await by_webhook(portal, session, "wrong-secret").profile(PERSON)
    assert "wrong-secret" not in str(refusal.value)


# ---------------------------------------------------------------- tokens


async def test_an_expired_token_is_renewed_once_and_the_request_repeated(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    clock = HandClock()
    crm = as_application(portal, session, tmp_path, clock=clock)
    assert await crm.profile(PERSON) is not None
    portal.token = "another"
    clock.now += 3600
    assert await crm.profile(PERSON) is not None
    assert portal.pairs == 2
    assert (tmp_path / "bitrix24.json").stat().st_mode & 0o777 == 0o600


async def test_a_restarted_daemon_goes_on_with_the_pair_on_disk(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    for _ in range(2):
        assert await as_application(portal, session, tmp_path).profile(PERSON) is not None
    assert portal.pairs == 1


async def test_a_spent_token_is_said_so(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    portal.refresh_token = "spent elsewhere"
    with pytest.raises(CrmAuthFailed, match="allow the application again"):
        await as_application(portal, session, tmp_path).profile(PERSON)


async def test_a_new_token_in_the_configuration_mends_a_dead_pair(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "bitrix24.json").write_text('{"access": "dead", "refresh": "dead too"}')
    assert await as_application(portal, session, tmp_path).profile(PERSON) is not None


async def test_a_portal_that_moved_is_said_once_in_the_log_and_in_doctor(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portal.endpoint = "https://new-name.bitrix24.example"
    clock = HandClock()
    crm = as_application(portal, session, tmp_path, clock=clock)
    for expired in ("first", "second"):
        portal.token = expired
        clock.now += 3600
        assert await crm.profile(PERSON) is not None
    findings = await examine_crm("0901", crm)

    lines = [message for message in caplog.messages if "moved" in message]
    assert lines == ["The Bitrix24 portal 127.0.0.1 has moved to new-name.bitrix24.example: configure its new url"]
    assert any("moved to new-name.bitrix24.example" in each.sentence for each in findings)


async def test_a_block_by_hand_is_asked_about_once_and_left_alone(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    portal.overloaded = True
    crm = by_webhook(portal, session)
    with pytest.raises(CrmAuthFailed, match="OVERLOAD_LIMIT"):
        await crm.profile(PERSON)
    for _ in range(3):
        with pytest.raises(CrmPaused):
            await crm.profile(PERSON)

    assert len(portal.requests) == 1


async def test_doctor_says_what_a_webhook_and_missing_rights_cost(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    portal.scopes = ["crm"]
    sentences = [each.sentence for each in await examine_crm("0901", by_webhook(portal, session))]

    assert sentences[1:] == [
        "we lack its rights telephony, user",
        "calls are not listed and cards are not shown: a webhook may not touch telephony",
    ]


async def test_doctor_names_the_key_that_an_application_is_let_in_by(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    """An `api_key` beside it would be a mistake of the configuration."""
    portal.refresh_token = "spent elsewhere"
    table = Bitrix24Config(url=portal.url, client_id="app", refresh_token=SecretStr("first-refresh"))
    (found,) = await examine_crm("0901", crm, credential=credential_of(table))

    assert found.cure.startswith("enterprises.crm.bitrix24.refresh_token_file: ")


async def test_doctor_misses_the_right_for_tasks_only_where_missed_calls_become_tasks(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    async def problems(*, makes_tasks: bool) -> list[str]:
        found = await examine_crm("0901", by_webhook(portal, session), makes_tasks=makes_tasks)
        return [each.sentence for each in found if each.level is Level.PROBLEM]

    assert await problems(makes_tasks=True) == []
    portal.scopes.remove("task")
    assert await problems(makes_tasks=True) == ["missed calls become no tasks: we lack its right task"]
    assert await problems(makes_tasks=False) == []


async def test_the_queue_of_events_is_read_from_the_present_on_and_dropped_when_stored(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    feed, now = Bitrix24Events(crm, period_s=60.0), datetime(2026, 11, 20, tzinfo=UTC)
    assert await feed.present("events", now) == 0
    for name, card in (("ONCRMCONTACTUPDATE", "77"), ("ONCRMCONTACTUPDATE", "77"), ("ONCRMCOMPANYADD", "12")):
        portal.tell(name, card)
    page = await feed.after("events", 0, now)
    again = await Bitrix24Events(crm, period_s=60.0).after("events", 0, now)  # a daemon that died before it stored them
    after = await feed.after("events", page.since_id, now)

    assert page == again
    assert page.changes == [Change(external_id="77"), Change(kind="company", external_id="12")]
    assert (page.since_id, page.more, after.changes, portal.events.queue) == (3, False, [], [])
    assert await feed.contacts("12") == ["company-12", "77"]


# ---------------------------------------------------------------- clicks


async def test_a_click_in_the_queue_names_the_call_that_the_portal_registered(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    portal.ahead_s = 3600.0  # whose clock is wrong is no matter
    feed, now = Bitrix24Events(crm, period_s=5.0), datetime(2026, 11, 20, tzinfo=UTC)
    await feed.present("events", now)
    form = portal.click("8", "8 900 000-00-05")
    page = await feed.after("events", 0, now)

    (click,) = page.clicks
    assert click.age_s < 5
    assert replace(click, age_s=0) == Click(phone="+89000000005", user="8", remote_id=form["data[CALL_ID]"])
    assert (page.changes, page.since_id) == ([], 1)


async def test_how_long_a_click_lay_in_the_queue_is_said_by_the_portals_clock(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    feed, now = Bitrix24Events(crm, period_s=5.0), datetime(2026, 11, 20, tzinfo=UTC)
    await feed.present("events", now)
    portal.click("8", PERSON)
    portal.ahead_s = 30.0
    page = await feed.after("events", 0, now)

    assert 29 < page.clicks[0].age_s < 35


async def test_who_looks_too_seldom_is_not_told_of_clicks(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    await Bitrix24Events(crm, period_s=60.0).present("events", datetime(2026, 11, 20, tzinfo=UTC))

    assert "ONEXTERNALCALLSTART" not in [each["event"] for each in portal.events.handlers]


async def test_without_rights_for_telephony_the_queue_still_tells_of_cards(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    portal.scopes = ["crm"]
    feed, now = Bitrix24Events(crm, period_s=5.0), datetime(2026, 11, 20, tzinfo=UTC)
    await feed.present("events", now)
    portal.tell("ONCRMCONTACTUPDATE", "77")

    assert (await feed.after("events", 0, now)).changes == [Change(external_id="77")]
    assert "ONEXTERNALCALLSTART" not in [each["event"] for each in portal.events.handlers]


async def test_a_queue_with_nothing_new_costs_one_request(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    feed, now = Bitrix24Events(crm, period_s=5.0), datetime(2026, 11, 20, tzinfo=UTC)
    await feed.present("events", now)
    portal.tell("ONCRMCONTACTUPDATE", "77")
    page = await feed.after("events", 0, now)
    await feed.after("events", page.since_id, now)
    asked = len(portal.methods)
    await feed.after("events", page.since_id, now)

    assert portal.methods[asked:] == ["event.offline.list"]


async def test_the_call_of_a_click_is_the_one_that_is_finished(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    call_id = portal.click("8", PERSON)["data[CALL_ID]"]
    progress = ringing(phase=Phase.START, direction=Direction.OUT)
    assert await crm.show(Popup(progress=progress, customer=None, began=("151",), remote_id=call_id)) == call_id
    call = answered(phone=PERSON, direction=Direction.OUT, linkedid="vochi-1.1")
    await crm.log_call(post(call, remote_id=call_id), recording_url="")

    assert list(portal.calls) == [call_id]
    finished = portal.calls[call_id].finished
    assert finished is not None
    assert (finished["USER_ID"], finished["STATUS_CODE"], finished["DURATION"]) == ("8", "200", 62)


async def test_a_click_that_no_call_follows_is_over_in_the_portal_too(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    call_id = portal.click("8", PERSON)["data[CALL_ID]"]
    await crm.close_click(Click(phone=PERSON, user="8", remote_id=call_id))

    call = portal.calls[call_id]
    assert call.finished is not None
    assert (call.finished["STATUS_CODE"], call.finished["DURATION"], call.screens) == ("603-S", 0, set())


async def test_who_clicked_is_known_by_the_configuration_or_by_his_card(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    portal.add_user("10", extension="102")
    crm = as_application(portal, session, tmp_path, **{"8": "151"})

    assert [await crm.extension_of(user) for user in ("8", "10", "11")] == ["151", "102", ""]


async def test_events_are_bound_to_our_address_once_and_an_older_secret_is_let_go(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    address = "https://pbx.example/webhooks/0901/bitrix24/"
    first = await bind(crm.portal, address + "old")
    second = await bind(crm.portal, address + "new")
    third = await bind(crm.portal, address + "new")

    assert first.anew == second.anew == first.events
    assert "ONEXTERNALCALLSTART" in first.events
    assert third.anew == []
    assert {each["handler"] for each in portal.events.handlers} == {address + "new"}


async def test_an_event_that_somebody_else_has_just_bound_is_bound(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    """So it also looks when the answer to our own first attempt was lost."""
    address = "https://pbx.example/webhooks/0901/bitrix24/x"
    first, second = await asyncio.gather(bind(crm.portal, address), bind(crm.portal, address))

    assert first.events == second.events
    assert sorted(each["event"] for each in portal.events.handlers) == sorted(first.events)


async def test_a_webhook_binds_nothing_and_says_so(portal: Bitrix24Sandbox, session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmRejected, match="application"):
        await bind(by_webhook(portal, session).portal, "https://pbx.example/webhooks/0901/bitrix24/x")


async def test_doctor_says_when_no_click_can_reach_us(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    before = [each.sentence for each in await examine_crm("0901", crm)]
    await bind(crm.portal, "https://pbx.example/webhooks/0901/bitrix24/x")
    after = [each.sentence for each in await examine_crm("0901", crm)]

    assert before[1:] == ["a click on a phone rings nobody: the portal tells us of none"]
    assert after[1:] == ["an application with the rights for telephony"]


# ---------------------------------------------------------------- calls


async def test_a_call_is_registered_and_finished_by_who_talked_last(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    call = answered(phone=PERSON, last_agent="150", path=("151", "150"))
    call_id = await crm.log_call(post(call), recording_url="https://pbx.example/r/1.mp3")

    logged = portal.calls[call_id]
    assert logged.fields["EXTERNAL_CALL_ID"] == "0901-1795165024.84"
    assert (logged.fields["TYPE"], logged.fields["LINE_NUMBER"], logged.fields["SHOW"]) == (2, "0001701", 0)
    assert logged.finished is not None
    assert (logged.finished["USER_ID"], logged.finished["DURATION"], logged.finished["STATUS_CODE"]) == ("9", 62, "200")
    assert logged.records == ["https://pbx.example/r/1.mp3"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Reason.NO_ANSWER, "304"), (Reason.BUSY, "486"), (Reason.REJECTED, "603"), (Reason.CANCELLED, "603-S")],
)
async def test_results_have_the_portals_codes(
    reason: Reason, code: str, portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    call_id = await crm.log_call(post(missed(phone=PERSON, reason=reason)), recording_url="")

    finished = portal.calls[call_id].finished
    assert finished is not None
    assert (finished["STATUS_CODE"], finished["DURATION"]) == (code, 0)


async def test_two_calls_of_one_number_at_once_stay_two(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    for linkedid in ("1.1", "1.2"):
        await crm.log_call(post(answered(phone=PERSON, linkedid=linkedid)), recording_url="")

    assert len(portal.calls) == 2


@pytest.mark.parametrize("requests_before", [1, 2])
async def test_a_lost_answer_never_doubles_a_call(requests_before: int, portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    await crm.profile(STRANGER)  # has its token
    known = await crm.log_call(post(answered(phone=PERSON, linkedid="1.0")), recording_url="")
    del portal.calls[known]
    call = answered(phone=PERSON)
    if requests_before == 2:
        await crm.show(Popup(progress=ringing("151"), customer=None, began=("151",)))
    portal.fault = Fault.LOST
    with pytest.raises((CrmUncertain, CrmUnavailable)):
        await crm.log_call(post(call), recording_url="")
    portal.fault = None
    await crm.log_call(post(call, uncertain=True), recording_url="")

    assert [logged.finished is not None for logged in portal.calls.values()] == [True]


async def test_a_finish_that_had_arrived_is_not_an_error(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    call_id = await crm.log_call(post(), recording_url="")

    assert await crm.log_call(post(uncertain=True), recording_url="") == call_id
    with pytest.raises(CrmRejected):
        await crm.log_call(post(), recording_url="")


ATTACH = "telephony.externalcall.attachrecord"
RECORDED = "https://pbx.example/r/1"


async def test_a_limit_between_the_end_and_the_recording_costs_neither(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    """By then the portal no longer knows the call as one that could be finished."""
    portal.ill[ATTACH] = Fault.LIMIT
    with pytest.raises(CrmUnavailable):
        await crm.log_call(post(), recording_url=RECORDED)
    portal.ill.clear()
    call_id = await crm.log_call(post(failures=1), recording_url=RECORDED)

    assert list(portal.calls) == [call_id]
    assert portal.calls[call_id].records == [RECORDED]


async def test_a_recording_whose_answer_is_lost_is_asked_for_twice_at_most(
    portal: Bitrix24Sandbox, crm: Bitrix24, caplog: pytest.LogCaptureFixture
) -> None:
    """The portal may take longer to fetch it than anybody waits, each time."""
    portal.ill[ATTACH] = Fault.LOST
    with pytest.raises(CrmUncertain):
        await crm.log_call(post(), recording_url=RECORDED)
    call_id = await crm.log_call(post(uncertain=True, failures=1), recording_url=RECORDED)

    assert portal.calls[call_id].records == [RECORDED] * 2
    assert "without their recordings" in caplog.text


async def test_a_recording_that_the_portal_does_not_get_costs_the_recording_and_is_said_once(
    portal: Bitrix24Sandbox, crm: Bitrix24, caplog: pytest.LogCaptureFixture
) -> None:
    portal.fetched = 404
    for linkedid in ("1.1", "1.2"):
        await crm.log_call(post(answered(phone=PERSON, linkedid=linkedid)), recording_url=RECORDED)

    assert [logged.finished is not None for logged in portal.calls.values()] == [True, True]
    assert caplog.text.count("Server returns HTTP error code 404") == 1


async def test_a_recording_goes_under_the_name_of_what_it_is(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    """The portal takes .wav and .mp3, and goes by the name."""
    for linkedid, file in (("1.1", "2026/11/20/q-1.1.wav"), ("1.2", "2026/11/20/q-1.2.gsm")):
        call = replace(answered(phone=PERSON, linkedid=linkedid), recording=file)
        await crm.log_call(post(call), recording_url=RECORDED)

    assert [logged.records for logged in portal.calls.values()] == [[RECORDED], []]
    sent = [each.body["FILENAME"] for each in portal.requests if each.path.endswith("attachRecord.json")]
    assert sent == ["1.1.wav", "1.2.gsm"]


async def test_a_call_that_reached_nobody_wants_a_default_user(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    lost = missed(phone=PERSON, rung=(), reason=Reason.ABANDONED_GREETING)
    with pytest.raises(CrmRejected, match="default_user"):
        await as_application(portal, session, tmp_path).log_call(post(lost), recording_url="")
    call_id = await as_application(portal, session, tmp_path, default_user="8").log_call(post(lost), recording_url="")
    assert portal.calls[call_id].fields["USER_ID"] == "8"


async def test_by_a_webhook_calls_are_refused_with_a_sentence(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession
) -> None:
    crm = by_webhook(portal, session)
    with pytest.raises(CrmRejected, match="application"):
        await crm.log_call(post(), recording_url="")
    assert await crm.show(Popup(progress=ringing("151"), customer=None, began=("151",))) == ""


# ---------------------------------------------------------------- cards on screens


def ringing(*agents: str, phase: Phase = Phase.DIAL, direction: Direction = Direction.IN) -> Any:
    return told(phase, direction, phone=PERSON, agents=agents)


async def test_cards_open_where_phones_ring_and_close_on_the_others_at_the_answer(
    portal: Bitrix24Sandbox, crm: Bitrix24
) -> None:
    assert await crm.show(Popup(progress=ringing(phase=Phase.START), customer=None)) == ""
    call_id = await crm.show(Popup(progress=ringing("151", "150"), customer=None, began=("151", "150")))
    shown = set(portal.calls[call_id].screens)
    talking = ringing("150", phase=Phase.BRIDGE)
    await crm.show(Popup(progress=talking, customer=None, began=("150",), ended=("151",), remote_id=call_id))
    left = set(portal.calls[call_id].screens)
    call = answered(phone=PERSON, last_agent="150", path=("150",))
    await crm.log_call(post(call, remote_id=call_id), recording_url="")

    assert (shown, left) == ({"8", "9"}, {"9"})
    assert len(portal.calls) == 1
    assert portal.calls[call_id].screens == set()


async def test_the_card_of_a_call_that_became_part_of_another_is_hidden(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    """An agent asked somebody outside and joined him with his customer: no record will close this card."""
    call_id = await crm.show(Popup(progress=ringing("151", direction=Direction.OUT), customer=None, began=("151",)))
    over = ringing(phase=Phase.HANGUP, direction=Direction.OUT)
    await crm.show(Popup(progress=over, customer=None, ended=("151",), remote_id=call_id))

    assert portal.calls[call_id].screens == set()
    assert await crm.show(Popup(progress=over, customer=None, ended=("151",))) == ""


@pytest.mark.parametrize(("lists_calls", "left"), [(True, {"8"}), (False, set())])
async def test_the_talkers_card_stays_for_the_list_of_calls_to_close(
    portal: Bitrix24Sandbox, session: aiohttp.ClientSession, tmp_path: Path, lists_calls: bool, left: set[str]
) -> None:
    """Without `log_calls` nobody else would ever close it."""
    crm = as_application(portal, session, tmp_path, lists_calls=lists_calls)
    call_id = await crm.show(Popup(progress=ringing("151"), customer=None, began=("151",)))
    over = Popup(
        progress=ringing(phase=Phase.HANGUP), customer=None, ended=("151",), finished=answered(), remote_id=call_id
    )
    await crm.show(over)

    assert portal.calls[call_id].screens == left


async def test_an_outbound_call_is_the_callers_own(portal: Bitrix24Sandbox, crm: Bitrix24) -> None:
    progress = ringing("151", direction=Direction.OUT)
    call_id = await crm.show(Popup(progress=progress, customer=None, began=("151",)))

    assert (portal.calls[call_id].fields["TYPE"], portal.calls[call_id].screens) == (1, {"8"})


def test_the_adapter_is_what_the_daemon_looks_for() -> None:
    crm = Bitrix24.__new__(Bitrix24)
    assert isinstance(crm, CallBook)
    assert isinstance(crm, CallScreen)


async def test_the_sandbox_keeps_the_portals_limit(session: aiohttp.ClientSession) -> None:
    async with Bitrix24Sandbox(webhook_secret=SECRET, bucket=3) as portal:
        url, statuses = f"{portal.url}/rest/1/{SECRET}/batch.json", []
        for _ in range(5):
            async with session.post(url, json={"cmd": {}}) as answer:
                statuses.append(answer.status)
    assert statuses[:3] == [200] * 3
    assert statuses[-1] == 503
