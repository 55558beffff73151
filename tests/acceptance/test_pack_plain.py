"""The plain pack as `vochi-agent dialplan print` writes it, at work: real Asterisk, real daemon, calls from outside.

Each call is looked at twice: what the phones saw, and what became of it in the ledger.
"""

import csv
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import SHIPPED, Asterisk
from tests.support.fastagi import FastAgi
from tests.support.fetch import Tool
from tests.support.manager import Manager, ManagerError, is_event
from tests.support.pack import Company, company_at, configuration, install, told
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from vochi_agent.customers.model import Names, Profile

pytestmark = pytest.mark.asterisk

CALLER, PHONE = "375290000022", "+375290000022"


@pytest.fixture
async def pack(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> Asterisk:
    """The pack without a daemon: what it does with answers is for the test to choose."""
    config = tmp_path / "config.toml"
    config.write_text(configuration(pbx, tmp_path))
    await install(pbx, config, tmp_path / "pack")
    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    return pbx


@pytest.fixture
async def company(pbx: Asterisk, lines: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Company]:
    async with company_at(pbx, lines, postgres, tmp_path) as company:
        yield company


# ---------------------------------------------------------------- loading


async def test_the_rendered_files_load_without_a_complaint_and_watch_every_extension(company: Company) -> None:
    await company.pbx.reload()

    assert company.pbx.problems() == []
    hints = await company.pbx.command("core show hints")
    assert all(f"{extension}@agents" in hints for extension in ("101", "104", "108"))
    assert "parkedcalls" in await company.pbx.command("dialplan show 700@internal")
    assert "office" in await company.pbx.command("queue show")


def test_the_listed_modules_exist(asterisk22_tool: Tool) -> None:
    """In the newest; what an older one has not is said in the file."""
    assert asterisk22_tool.root is not None
    modules = {file.name for file in asterisk22_tool.root.rglob("*.so")}
    listed = re.findall("^load = (.*)", (SHIPPED / "modules.conf.example").read_text(), re.MULTILINE)

    assert set(listed) <= modules


# ---------------------------------------------------------------- from outside


async def test_in_office_hours_a_call_is_named_rings_and_is_recorded_as_talked(company: Company) -> None:
    anna = Profile(source="manual", external_id="", names=Names(last_name="Контактова", first_name="Анна"))
    await company.store.customers.enrich("0901", PHONE, anna, primary=True)

    result = await company.lines.call("0001701", CALLER, hold_s=0.5)

    assert (result.ended, result.code) == ("hung_up", 200)
    assert company.lines.invites("101")[0].display_name == "Контактова Анна | МТС Центр"
    call = await company.record()
    assert told(call) == ("in", "answered", "talked", "0001701", ("101",))
    assert call.phone == PHONE


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
    await company.lines.call("0001701", CALLER, hold_s=0.1)
    await company.records()
    await company.daemon_command("customer", "set", PHONE, "black_list=true")

    result = await company.lines.call("0001701", CALLER)

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


async def test_an_agent_on_an_ipv6_address_is_asked(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    port = pbx.ports.fastagi
    config.write_text(configuration(pbx, tmp_path).replace(f'"127.0.0.1:{port}"', f'"[::1]:{port}"'))
    await install(pbx, config, tmp_path / "pack")
    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    async with FastAgi(port, {"CALLERID(name)": "Ромашка", "VOCHI_STATUS": "ok"}, host="::1"):
        await lines.call("0001701", CALLER, hold_s=0.1)

    assert lines.invites("101")[0].display_name == "Ромашка"


# ---------------------------------------------------------------- who should ring first

OK = {"VOCHI_STATUS": "ok", "VOCHI_BLACKLISTED": "0"}


async def test_the_route_rings_for_its_seconds_then_the_ordinary_way(pack: Asterisk, lines: Sipp) -> None:
    """Line 0001701 has ring_s = 1; 103 does not answer."""
    async with FastAgi(pack.ports.fastagi, OK | {"VOCHI_ROUTE": "103"}):
        result = await lines.call("0001701", CALLER, hold_s=0.1)

    first, second = lines.invites()
    assert (first.number, second.number, result.code) == ("103", "101", 200)
    assert 0.9 < (second.at - first.at).total_seconds() < 1.5


@pytest.mark.parametrize("route", ["110", "199", "901", "1&PJSIP/103", "108@agents,1", "abc"])
async def test_a_route_that_leads_nowhere_is_the_ordinary_way_at_once(pack: Asterisk, lines: Sipp, route: str) -> None:
    """Not registered, unknown, a department, hostile."""
    async with FastAgi(pack.ports.fastagi, OK | {"VOCHI_ROUTE": route}):
        result = await lines.call("0001701", CALLER, hold_s=0.1)

    assert [invite.number for invite in lines.invites()] == ["101"]
    assert result.ringing_s is not None
    assert result.ringing_s < 0.3


async def test_a_blocked_caller_leaves_a_mark_in_ami_and_in_cel(pack: Asterisk, lines: Sipp) -> None:
    """The shipped AMI user sees the one, the shipped columns hold the other."""
    blocked = {"VOCHI_STATUS": "blocked", "VOCHI_BLACKLISTED": "1"}
    async with FastAgi(pack.ports.fastagi, blocked), pack.manager("vochi") as manager:
        await lines.call("0001701", CALLER)
        await manager.wait_for(is_event("UserEvent", UserEvent="VochiMark", Reason="blocked"))

    await pack.until_written(pack.cel, "LINKEDID_END")
    with pack.cel.open(newline="") as file:
        marks = [row for row in csv.reader(file) if "VOCHI_MARK" in row]
    assert [row[19] for row in marks] == ["VOCHI_MARK"]
    assert "blocked" in marks[0][20]


async def test_the_ami_user_is_nobody_until_its_secret_is_there(pack: Asterisk) -> None:
    """The rendered manager.conf names a file for it: forgotten, nobody gets in (a reload would keep the old one)."""
    (pack.home / "etc" / "vochi-ami-secret.conf").unlink()
    await pack.stop()
    await pack.start()

    for secret in ("", "change-me", pack.secret):
        with pytest.raises(ManagerError):
            async with Manager(pack.ports.ami, "vochi", secret):
                pass
