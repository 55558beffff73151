"""The plain pack as `vochi-agent dialplan print` writes it, at work: real Asterisk, real daemon, calls from outside.

Each call is looked at twice: what the phones saw, and what became of it in the ledger.
"""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.pack import Company, told
from vochi_agent.customers.model import Names, Profile

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="module")]

CALLER, PHONE = "375290000022", "+375290000022"
# Whom the company comes to know; to the other tests he is a stranger.
KNOWN, KNOWN_PHONE = "375290000023", "+375290000023"
UNWANTED, UNWANTED_PHONE = "375290000024", "+375290000024"


@pytest_asyncio.fixture(loop_scope="module")
async def company(founded: Company) -> AsyncIterator[Company]:
    async with founded.own_time():
        yield founded


# ---------------------------------------------------------------- loading


async def test_the_rendered_files_load_without_a_complaint_and_watch_every_extension(company: Company) -> None:
    """The first of this file: of calls from hostile or unknown numbers Asterisk may well complain."""
    await company.pbx.reload()

    assert company.pbx.problems() == []
    hints = await company.pbx.command("core show hints")
    assert all(f"{extension}@agents" in hints for extension in ("101", "104", "108"))
    assert "parkedcalls" in await company.pbx.command("dialplan show 700@internal")
    assert "office" in await company.pbx.command("queue show")


# ---------------------------------------------------------------- from outside


async def test_in_office_hours_a_call_is_named_rings_and_is_recorded_as_talked(company: Company) -> None:
    anna = Profile(source="manual", external_id="", names=Names(last_name="Контактова", first_name="Анна"))
    await company.store.customers.enrich("0901", KNOWN_PHONE, anna, primary=True)

    result = await company.lines.call("0001701", KNOWN, hold_s=0.5)

    assert (result.ended, result.code) == ("hung_up", 200)
    assert company.lines.invites("101")[0].display_name == "Контактова Анна | МТС Центр"
    call = await company.record()
    assert told(call) == ("in", "answered", "talked", "0001701", ("101",))
    assert call.phone == KNOWN_PHONE


@pytest.mark.parametrize("closed", ["night", "holiday"])
async def test_out_of_hours_nobody_rings_and_the_record_says_closed(company: Company, closed: str) -> None:
    if closed == "night":
        await company.use(OFFICE_DAYS=time.strftime("%a", time.gmtime(time.time() - 3 * 86400)).lower())
    else:
        await company.use(
            HOLIDAYS="0101 " + " ".join(time.strftime("%m%d", time.gmtime(time.time() + d)) for d in (0, 10800))
        )

    result = await company.lines.call("0001701", CALLER)

    assert (result.ended, company.lines.invites()) == ("refused", [])
    assert told(await company.record()) == ("in", "missed", "closed", "0001701", ())


async def test_a_blocked_caller_is_refused_and_the_record_says_blocked(company: Company) -> None:
    await company.lines.call("0001701", UNWANTED, hold_s=0.1)
    await company.records()
    await company.daemon_command("customer", "set", UNWANTED_PHONE, "black_list=true")

    result = await company.lines.call("0001701", UNWANTED)

    assert (result.ended, result.code) == ("refused", 403)
    assert len(company.lines.invites()) == 1
    assert told((await company.records(2))[1]) == ("in", "missed", "blocked", "0001701", ())


async def test_steps_a_few_ring_first_then_everybody(company: Company) -> None:
    await company.use(FIRST_PHONES="PJSIP/103", FIRST_SECONDS="1", ALL_PHONES="PJSIP/103&PJSIP/101")

    await company.lines.call("0001701", CALLER, hold_s=0.3)

    call = await company.record()
    assert told(call) == ("in", "answered", "talked", "0001701", ("101",))
    assert call.rung == ("103", "101")


async def test_a_group_that_nobody_answers_is_no_answer(company: Company) -> None:
    await company.use(RING="group")

    result = await company.lines.call("0001701", CALLER)

    assert result.ended == "refused"
    call = await company.record()
    assert told(call) == ("in", "missed", "no_answer", "0001701", ())
    assert sorted(call.rung) == ["103", "104"]


async def test_one_line_hunts_while_the_others_ring_as_ever(company: Company) -> None:
    await company.use(RING_0001701="hunt", HUNT_PHONES="PJSIP/103&PJSIP/104&PJSIP/101")

    await company.lines.call("0001701", CALLER, hold_s=0.3)
    await company.lines.call("0001702", CALLER, hold_s=0.3)

    first, second = await company.records(2)
    assert (told(first), first.rung) == (("in", "answered", "talked", "0001701", ("101",)), ("103", "104", "101"))
    assert (told(second), second.rung) == (("in", "answered", "talked", "0001702", ("101",)), ("101",))


async def test_a_queue_that_is_answered_and_one_that_gives_up(company: Company) -> None:
    await company.use(RING="queue")
    async with company.pbx.manager() as manager:
        for extension in ("102", "106"):
            await manager.action("QueuePause", Interface=f"PJSIP/{extension}", Paused="true")
        await company.lines.call("0001701", CALLER, hold_s=3)
        await manager.action("QueuePause", Interface="PJSIP/101", Paused="true")
        await company.lines.call("0001701", CALLER, hold_s=5)
        for extension in ("101", "102", "106"):
            await manager.action("QueuePause", Interface=f"PJSIP/{extension}", Paused="false")

    first, second = await company.records(2)
    assert told(first) == ("in", "answered", "talked", "0001701", ("101",))
    assert told(second) == ("in", "missed", "queue_timeout", "0001701", ())


async def test_who_is_left_alone_may_leave_a_message(company: Company) -> None:
    """On 22 by the real application; the Asterisk 16 of the laboratory has none, so there it is the mark alone."""
    await company.use(FIRST_SECONDS="1", FIRST_PHONES="PJSIP/103", ALL_SECONDS="1", VOICEMAIL="100@default")

    await company.lines.call("0001701", CALLER)

    assert told(await company.record()) == ("in", "missed", "voicemail", "0001701", ())


async def test_a_mobile_rings_with_the_desks_and_is_its_agent(company: Company) -> None:
    await company.use(
        FIRST_PHONES="PJSIP/103", FIRST_SECONDS="1", ALL_PHONES="PJSIP/103&Local/104@mobiles/n", ALL_SECONDS="9"
    )

    await company.lines.call("0001701", CALLER, hold_s=0.5)

    call = await company.record()
    assert told(call) == ("in", "answered", "talked", "0001701", ("104",))
    assert call.phone == PHONE
    assert [invite.number for invite in company.lines.invites("375290000077")] == ["375290000077"]


async def test_the_line_of_a_number_is_known_by_every_way_of_writing_it(company: Company) -> None:
    """Also by none: a provider where we register without `contact_user` sends calls to `s`."""
    for did, trunk in (("+375290000901", "gsm1"), ("375290000901", "gsm1"), ("s", "sip2")):
        await company.lines.call(did, CALLER, hold_s=0.1, trunk=trunk)

    assert {call.line for call in await company.records(3)} == {"0001701", "3880001"}
