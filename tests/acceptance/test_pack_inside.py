"""The plain pack at work, inside and to outside: departments, pick-up, calls out, recordings, hostile numbers.

As in `test_pack_plain.py` each call is looked at twice, what the phones saw and what became of it in the ledger.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.asterisk import Asterisk
from tests.support.manager import is_event
from tests.support.pack import Company, company_at, told
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="module")]

CALLER, PHONE = "375290000022", "+375290000022"


@pytest_asyncio.fixture(loop_scope="module")
async def company(founded: Company) -> AsyncIterator[Company]:
    async with founded.own_time():
        yield founded


async def dials(company: Company, did: str, *, hold_s: float = 0.2) -> list[str]:
    """Call in, and return what every Dial() on the way was asked for; more than one event may tell the same."""
    async with company.pbx.manager() as manager:
        await company.lines.call(did, CALLER, hold_s=hold_s)
        await company.pbx.until_idle()
        await manager.action("Ping")
        found = [event["AppData"] for event in manager.events if event.get("Application") == "Dial"]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- inside


async def test_a_department_a_colleague_and_a_follow_me(company: Company) -> None:
    await company.use(FIRST_SECONDS="1", DEPARTMENT_901="PJSIP/103&PJSIP/101")
    for number in ("901", "101", "300"):
        assert (await company.lines.dial("102", number, hold_s=0.5)).ended == "hung_up"

    department, colleague, follow_me = await company.records(3)
    assert told(department) == ("internal", "answered", "talked", None, ("102", "101"))
    assert told(colleague) == ("internal", "answered", "talked", None, ("102", "101"))
    assert told(follow_me) == ("internal", "answered", "talked", None, ("102", "104"))
    assert follow_me.phone is None


async def test_a_call_that_rings_at_a_colleague_is_picked_up(company: Company) -> None:
    """At one extension by its number; the one who rang in vain stays in the record."""
    await company.use(FIRST_PHONES="PJSIP/103")

    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(company.lines.call("0001701", CALLER, hold_s=1.0))
        await company.lines.wait_for_invite("103")
        await asyncio.sleep(0.3)
        tasks.create_task(company.lines.dial("101", "*8103", hold_s=5))
    assert call.result().code == 200

    (record,) = [call for call in await company.records() if call.direction.value == "in"]
    assert told(record) == ("in", "answered", "talked", "0001701", ("101",))
    assert record.rung == ("103",)


# ---------------------------------------------------------------- to outside


async def test_a_call_out_shows_the_number_of_its_line_and_is_the_agents(company: Company) -> None:
    await company.lines.dial("101", "80290000010", hold_s=0.5)

    call = await company.record()
    assert told(call) == ("out", "answered", "talked", "0001701", ("101",))
    assert (call.phone, call.first_agent) == ("+375290000010", "101")


@pytest.mark.parametrize("number", ["810441234567", "0044123456789", "+441234567890", "79991234567890123"])
async def test_a_forbidden_direction_rings_nowhere_and_says_so(company: Company, number: str) -> None:
    result = await company.lines.dial("101", number)

    assert (result.ended, company.lines.invites()) == ("refused", [])
    call = await company.record()
    # Nothing of it went out, so it has no direction but ours.
    assert told(call)[:3] == ("internal", "missed", "forbidden")
    assert (call.first_agent, call.raw_number) == ("101", number)


async def test_too_many_calls_out_at_once_are_refused(company: Company) -> None:
    await company.use(OUTBOUND_AT_ONCE="0")

    result = await company.lines.dial("101", "80290000010")

    assert (result.ended, company.lines.invites()) == ("refused", [])
    assert told(await company.record())[:3] == ("internal", "missed", "forbidden")


async def test_the_emergency_number_goes_out(company: Company) -> None:
    assert (await company.lines.dial("101", "112", hold_s=0.2)).code == 200
    assert [(invite.trunk, invite.number) for invite in company.lines.invites()] == [("gsm1", "112")]


@pytest.mark.asyncio(loop_scope="function")
async def test_the_next_line_takes_over_and_is_the_calls_line(
    pbx: Asterisk, lines: Sipp, postgres: PostgresServer, tmp_path: Path
) -> None:
    """The first trunk does not exist; the second is a slot behind a prefix, and shows its own number."""
    async with company_at(pbx, lines, postgres, tmp_path, first_line="PJSIP/gsm9") as company:
        await lines.dial("101", "80290000010", hold_s=0.5)
        call = await company.record()

    assert told(call) == ("out", "answered", "talked", "0001702", ("101",))
    assert (call.phone, call.first_agent) == ("+375290000010", "101")
    (invite,) = lines.invites()
    assert (invite.trunk, invite.number, invite.caller) == ("gsm1", "2280290000010", "375290000902")


async def test_every_line_is_tried_once_and_the_last_is_the_calls(company: Company) -> None:
    result = await company.lines.dial("101", "80290000097")

    assert (result.ended, result.code) == ("refused", 503)
    assert [(invite.trunk, invite.number) for invite in company.lines.invites()] == [
        ("gsm1", "80290000097"),
        ("gsm1", "2280290000097"),
        ("sip2", "80290000097"),
    ]
    assert told(await company.record()) == ("out", "missed", "failed", "3880001", ())


async def test_who_is_busy_declines_or_does_not_exist_is_called_once(company: Company) -> None:
    for number in ("80290000093", "80290000096", "375290000099"):
        assert (await company.lines.dial("101", number)).ended == "refused"
        assert [invite.trunk for invite in company.lines.invites(number)] == ["gsm1"]

    assert [call.reason.value for call in await company.records(3)] == ["rejected", "failed", "busy"]


async def test_click_to_call_shows_the_customer_to_the_agent_and_the_line_to_the_customer(company: Company) -> None:
    async with company.pbx.manager() as manager:
        await manager.action(
            "Originate", Channel="PJSIP/101", Context="click-to-call", Exten="80290000094", Priority="1",
            CallerID="Тестов Тест <375290000094>", Async="true",
        )  # fmt: skip
        await manager.wait_for(is_event("Hangup"), within=20)

    call = await company.record()
    assert told(call) == ("out", "answered", "talked", "0001701", ("101",))
    assert (call.phone, call.first_agent) == ("+375290000094", "101")
    desk, customer = company.lines.invites()
    assert (desk.number, desk.display_name, desk.caller) == ("101", "Тестов Тест", "375290000094")
    assert (customer.number, customer.caller, customer.display_name) == ("80290000094", "101", "")


async def test_a_customer_who_is_handed_over_stays_himself_on_the_next_telephone(company: Company) -> None:
    """As `PbxSwitchboard.transfer` does it; his trunk has a digit in its name."""
    async with asyncio.TaskGroup() as tasks, company.pbx.manager() as manager:
        tasks.create_task(company.lines.call("0001701", CALLER, hold_s=3))
        joined = await manager.wait_for(
            lambda event: event.get("Event") == "BridgeEnter" and event["Channel"].startswith("PJSIP/101-")
        )
        await manager.action("BlindTransfer", Channel=joined["Channel"], Context="click-to-call", Exten="103")
        invite = await company.lines.wait_for_invite("103")

    assert (invite.caller, (await company.record()).phone) == (CALLER, PHONE)


# ---------------------------------------------------------------- recording


async def test_a_conversation_is_recorded_once_with_its_linkedid(company: Company) -> None:
    """A call in with a mobile beside it, and a call out, on the channel of the customer."""
    await company.use(RECORD="yes", FIRST_PHONES="Local/104@mobiles/n", FIRST_SECONDS="9")
    await company.lines.call("0001701", CALLER, hold_s=1.0)
    await company.lines.dial("101", "80290000010", hold_s=1.0)

    calls = await company.records(2)
    await company.pbx.until_idle()
    assert [file.stem for file in company.recordings] == sorted(call.linkedid for call in calls)
    assert all(file.read_bytes().startswith(b"RIFF") for file in company.recordings)


async def test_a_transfer_does_not_start_a_second_recording_and_gives_the_caller_no_features(company: Company) -> None:
    """106 answers and sends the customer on to 101 (REFER): the customer dials now, and may not transfer."""
    await company.use(RECORD="yes", FIRST_PHONES="PJSIP/106")
    asked = await dials(company, "0001701", hold_s=5)

    call = await company.record()
    assert told(call) == ("in", "answered", "talked", "0001701", ("106", "101"))
    assert [file.stem for file in company.recordings] == [call.linkedid]
    assert asked == ["PJSIP/106,10,tkib(vochi^handset^1)", "PJSIP/101,3,tkib(vochi^handset^1)"]


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize("did", ["0001701%2C1%2Coutbound", "0001701%26PJSIP%2F103", "0001701%24%7BSHELL(id)%7D"])
async def test_a_hostile_dialled_number_only_loses_its_signs(company: Company, did: str) -> None:
    asked = await dials(company, did)

    assert asked[:1] == ["PJSIP/101,10,tkib(vochi^handset^1)"]
    assert [invite.number for invite in company.lines.invites()] == ["101"]


async def test_a_hostile_caller_is_text(company: Company) -> None:
    name = "a;b,c&PJSIP/103^${SHELL(touch pwned)}"
    await company.lines.call("0001701", CALLER, hold_s=0.2, name=name)

    assert [invite.number for invite in company.lines.invites()] == ["101"]
    assert not list(company.pbx.home.rglob("pwned"))
    assert told(await company.record()) == ("in", "answered", "talked", "0001701", ("101",))
