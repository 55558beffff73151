"""The laboratory itself: what later tests rely on."""

import asyncio
import csv

import pytest

from tests.support.asterisk import Asterisk
from tests.support.fetch import Tool
from tests.support.sipp import RING_S, Sipp

pytestmark = [pytest.mark.long(5), pytest.mark.asterisk]

CEL_COLUMNS = 21


async def an_answered_call(asterisk: Asterisk, sipp: Sipp) -> None:
    result = await sipp.call("0000101", "375290000001", hold_s=0.5, name="Line name")

    assert (result.ended, result.code) == ("hung_up", 200)
    assert result.ringing_s is not None
    assert result.answered_s is not None
    assert RING_S - 0.1 < result.answered_s - result.ringing_s < RING_S + 0.5
    invite = sipp.invites("101")[0]
    assert (invite.display_name, invite.caller, invite.trunk) == ("Line name", "375290000001", "")
    await asterisk.until_written(asterisk.cel, "LINKEDID_END")
    with asterisk.cel.open(newline="") as file:
        rows = list(csv.reader(file))
    assert {CEL_COLUMNS} == {len(row) for row in rows}
    assert rows[-1][0] == "LINKEDID_END"
    await asterisk.until_written(asterisk.cdr, "375290000001")


async def test_an_inbound_call_rings_101_and_is_answered(asterisk: Asterisk, sipp: Sipp) -> None:
    await an_answered_call(asterisk, sipp)


async def test_the_same_on_the_oldest_asterisk(asterisk16: Asterisk, sipp16: Sipp) -> None:
    assert asterisk16.version.startswith("Asterisk 16.")
    await an_answered_call(asterisk16, sipp16)


async def test_the_number_decides_what_a_telephone_or_the_provider_does(asterisk: Asterisk, sipp: Sipp) -> None:
    calls = {
        "102 hangs up": sipp.call("0000102", "375290000001", hold_s=20),
        "103 only rings": sipp.call("0000103", "375290000001", patience_s=0.5),
        "105 is busy": sipp.call("0000105", "375290000001", trunk="sip2"),
        "108 declines": sipp.call("0000108", "anonymous"),
        "the mobile is busy": sipp.dial("101", "80290000099"),
        "the mobile answers early": sipp.dial("101", "80290000095", hold_s=0.1),
        "the trunks are broken": sipp.dial("101", "80290000097"),
        "no such number": sipp.dial("101", "80290000096"),
    }
    async with asyncio.TaskGroup() as group:
        tasks = {what: group.create_task(call, name=what) for what, call in calls.items()}

    assert {what: (task.result().ended, task.result().code) for what, task in tasks.items()} == {
        "102 hangs up": ("far_end", 200),
        "103 only rings": ("gave_up", 487),
        "105 is busy": ("refused", 486),
        "108 declines": ("refused", 403),
        "the mobile is busy": ("refused", 486),
        "the mobile answers early": ("hung_up", 200),
        "the trunks are broken": ("refused", 503),
        "no such number": ("refused", 404),
    }
    assert [invite.trunk for invite in sipp.invites("80290000097")] == ["gsm1", "sip2"]
    assert {"anonymous"} == {invite.caller for invite in sipp.invites("108")}


async def test_an_asserted_identity_is_read_from_the_invite(asterisk22_tool: Tool, sipp_tool: Tool) -> None:
    async with Asterisk(asterisk22_tool, send_pai=True) as asterisk, Sipp(sipp_tool, asterisk.ports) as sipp:
        await sipp.call("0000101", "375290000001", hold_s=0.1, name="Имя с линии")

        invite = sipp.invites("101")[0]

    assert invite.display_name == "Имя с линии"
    assert "375290000001@" in invite.asserted_identity


async def test_asterisk_can_be_suspended_killed_and_started_again(asterisk: Asterisk, sipp: Sipp) -> None:
    asterisk.suspend()
    call = sipp.call("0000101", "375290000001", hold_s=0.1)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call, name="call")
        await asyncio.sleep(0.7)
        assert sipp.invites() == []
        asterisk.resume()
    assert (task.result().ringing_s or 0) > 0.3  # sipp itself takes some of it to start

    first = asterisk.pid
    await asterisk.kill()
    await asterisk.start()
    assert first != asterisk.pid
    assert (await sipp.call("0000101", "375290000001", hold_s=0.1)).code == 200

    await asterisk.stop()
    await asterisk.start()
    assert (await sipp.call("0000101", "375290000001", hold_s=0.1)).code == 200
