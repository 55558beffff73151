"""What the shipped AMI and ARI users may see and do, asked of a real Asterisk, the newest and the oldest."""

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.manager import ManagerError, Message, is_event
from tests.support.sipp import Sipp

pytestmark = pytest.mark.asterisk

CALLER = "375290000001"


async def events_of_a_call(pbx: Asterisk, lines: Sipp, username: str) -> list[Message]:
    async with pbx.manager(username) as manager:
        await lines.call("0000101", CALLER, hold_s=0.1, name="Event: VarSet Variable: DIALSTATUS")
        # Two legs, two hangups; kept with the rest.
        hangups = [await manager.wait_for(is_event("Hangup")) for _ in range(2)]
        return [*manager.events, *hangups]


async def test_the_shipped_rights_let_through_what_is_used_and_little_else(pbx: Asterisk, lines: Sipp) -> None:
    events = await events_of_a_call(pbx, lines, "vochi")

    names = {event.get("Event") for event in events}
    assert {"Newchannel", "Newstate", "DialBegin", "DialEnd", "BridgeEnter", "BridgeLeave", "Hangup"} <= names
    assert {"FullyBooted", "HangupRequest", "VarSet"} <= names
    assert not {"Newexten", "RTCPSent", "RTCPReceived", "DeviceStateChange", "TestEvent"} & names
    variables = {event["Variable"] for event in events if event.get("Event") == "VarSet"}
    assert {"DIALSTATUS"} == variables
    assert all("Timestamp" in event for event in events if event.get("Event") != "FullyBooted")


async def test_call_alone_still_shows_every_call(pbx: Asterisk, lines: Sipp) -> None:
    events = await events_of_a_call(pbx, lines, "call-only")

    assert {"Newchannel", "DialBegin", "DialEnd", "BridgeEnter"} <= {event.get("Event") for event in events}


async def test_the_shipped_rights_allow_what_the_daemon_does(pbx: Asterisk, lines: Sipp) -> None:
    async with pbx.manager("vochi") as manager:
        await manager.action("Setvar", Variable="VOCHI_ALIVE_a", Value="1")
        await manager.action("CoreShowChannels")
        await manager.action("BridgeList")
        await manager.action("Ping")
        with pytest.raises(ManagerError):
            await manager.command("core show version")
    assert await pbx.get_global("VOCHI_ALIVE_a") == "1"


async def test_the_shipped_ari_user_reads_and_does_not_write(pbx: Asterisk) -> None:
    base = f"http://127.0.0.1:{pbx.ports.http}/ari"
    login = {"api_key": f"vochi:{pbx.secret}"}
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{base}/endpoints", params=login) as answer:
            assert answer.status == 200
            assert "101" in {endpoint["resource"] for endpoint in await answer.json()}
        async with client.post(f"{base}/channels", params={"endpoint": "PJSIP/101", "app": "x"} | login) as answer:
            assert answer.status == 403
