"""The shipped dialplan in a real Asterisk, the newest and the oldest that are supported.

The FastAGI server here is the tests' own; what matters is that no behaviour of it, however bad, holds a call.
"""

import asyncio
import re
import sys
import time
from contextlib import AsyncExitStack

import pytest

from tests.support.asterisk import SHIPPED, Asterisk
from tests.support.fastagi import FastAgi, black_hole
from tests.support.manager import is_event
from tests.support.sipp import Sipp

pytestmark = pytest.mark.asterisk

CALLER = "375290000001"
KNOWN = {
    "CALLERID(name)": r"Ромашка \"Юг\" | МТС Центр | Салон 1",
    "VOCHI_NAME": "Иван Петров",
    "VOCHI_BLACKLISTED": "0",
    "VOCHI_ROUTE": "",
    "VOCHI_STATUS": "ok",
}
SHOWN = 'Ромашка "Юг" | МТС Центр | Салон 1'
# A call takes a few ms to reach the telephone; what asking may add to it.
AT_ONCE_S = 0.1
GUARD_S, GUARDED_S = 1.9, 2.2


async def beat(pbx: Asterisk, *, instance: str = "a", age_s: int = 0) -> None:
    """What the daemon does every second."""
    await pbx.set_global(f"VOCHI_ALIVE_{instance}", str(int(time.time()) - age_s))


async def ringing_after(lines: Sipp, did: str) -> float:
    """Seconds until the telephone rang; the call was answered and ended well."""
    result = await lines.call(did, CALLER, hold_s=0.1)
    assert (result.ended, result.code) == ("hung_up", 200)
    assert result.ringing_s is not None
    return result.ringing_s


# ---------------------------------------------------------------- loading


async def test_everything_that_is_shipped_loads_without_a_complaint(pbx: Asterisk) -> None:
    await pbx.reload()

    assert pbx.problems() == []
    assert "vochi-ask" in await pbx.command("dialplan show vochi-ask")


async def test_a_reload_of_the_dialplan_keeps_the_heartbeat(pbx: Asterisk) -> None:
    await pbx.set_global("VOCHI_ALIVE_a", "123")
    await pbx.command("dialplan reload")

    assert await pbx.get_global("VOCHI_ALIVE_a") == "123"


# ---------------------------------------------------------------- asking who calls


async def test_the_name_of_the_answer_is_what_the_telephone_shows(pbx: Asterisk, lines: Sipp) -> None:
    await beat(pbx)
    async with FastAgi(pbx.ports.fastagi, KNOWN) as server:
        assert await ringing_after(lines, "0000101") < AT_ONCE_S

    assert lines.invites("101")[0].display_name == SHOWN
    request = server.requests[0].environment
    assert (request["network_script"], request["arg_1"], request["arg_2"]) == ("callerid", "0901", "0000101")
    assert request["callerid"] == CALLER
    assert ["200 result=1"] * len(KNOWN) == server.requests[0].replies
    await pbx.until_idle()
    assert pbx.problems() == []


async def test_a_dead_daemon_costs_nothing(pbx: Asterisk, lines: Sipp) -> None:
    """Nobody listens and the heartbeat is not stale yet."""
    await beat(pbx)
    untouched = await ringing_after(lines, "0000304")

    assert await ringing_after(lines, "0000101") - untouched < AT_ONCE_S


@pytest.mark.parametrize(("did", "hold_s"), [("0000101", 2.5), ("0000303", 5.5)])
async def test_a_mute_daemon_is_left_after_two_seconds(pbx: Asterisk, lines: Sipp, did: str, hold_s: float) -> None:
    """Before Answer() (0000101) and after: the telephone rings, and nothing of the guard is left to cut the talk."""
    await beat(pbx)
    async with FastAgi(pbx.ports.fastagi, mute=True) as server:
        result = await lines.call(did, CALLER, hold_s=hold_s)
        async with asyncio.timeout(1):
            await server.gone.acquire()

    invite = lines.invites("101")[0]
    assert GUARD_S < invite.at.timestamp() - server.requests[0].at < GUARDED_S
    assert invite.display_name == ""
    # He talks for more than two seconds more: a guard left behind would have struck again.
    assert result.ended == "hung_up"
    assert result.ended_s - (result.answered_s or 0) > hold_s - 0.1


async def test_a_port_that_swallows_connections_is_left_after_two_seconds(pbx: Asterisk, lines: Sipp) -> None:
    await beat(pbx)
    with black_hole(pbx.ports.fastagi):
        assert GUARD_S < await ringing_after(lines, "0000101") < GUARDED_S


@pytest.mark.parametrize("beats", [[], [6], [100_000]])
async def test_a_daemon_without_a_fresh_heartbeat_is_not_asked(pbx: Asterisk, lines: Sipp, beats: list[int]) -> None:
    for age_s in beats:
        await beat(pbx, age_s=age_s)
    async with FastAgi(pbx.ports.fastagi, mute=True) as server:
        assert await ringing_after(lines, "0000101") < AT_ONCE_S

    assert server.requests == []


async def test_the_second_daemon_answers_for_a_mute_one(pbx: Asterisk, lines: Sipp) -> None:
    await beat(pbx)
    await beat(pbx, instance="b")
    async with FastAgi(pbx.ports.fastagi, mute=True), FastAgi(pbx.ports.fastagi_b, KNOWN):
        assert GUARD_S < await ringing_after(lines, "0000101") < GUARDED_S

    assert lines.invites("101")[0].display_name == SHOWN


async def test_the_second_daemon_answers_for_one_that_died_half_way(pbx: Asterisk, lines: Sipp) -> None:
    """AGISTATUS is SUCCESS then; only VOCHI_STATUS tells."""
    await beat(pbx)
    await beat(pbx, instance="b")
    half = {"CALLERID(name)": "half an answer"}
    async with FastAgi(pbx.ports.fastagi, half) as first, FastAgi(pbx.ports.fastagi_b, KNOWN):
        assert await ringing_after(lines, "0000101") < AT_ONCE_S

    assert len(first.requests) == 1
    assert lines.invites("101")[0].display_name == SHOWN


async def test_the_second_daemon_is_left_alone_when_the_first_answers(pbx: Asterisk, lines: Sipp) -> None:
    await beat(pbx)
    await beat(pbx, instance="b")
    async with FastAgi(pbx.ports.fastagi, KNOWN), FastAgi(pbx.ports.fastagi_b, KNOWN) as second:
        await ringing_after(lines, "0000101")

    assert second.requests == []


# ---------------------------------------------------------------- the administrator's own limits


@pytest.mark.parametrize("mute", [False, True])
async def test_the_administrators_time_limit_keeps_its_moment(pbx: Asterisk, lines: Sipp, mute: bool) -> None:
    """TIMEOUT(absolute)=3 before we are asked ends the call after 3 s in all, by his own T extension."""
    await beat(pbx)
    async with FastAgi(pbx.ports.fastagi, KNOWN, mute=mute), pbx.manager() as manager:
        result = await lines.call("0000301", CALLER, hold_s=20)
        await manager.wait_for(is_event("UserEvent", UserEvent="LabTimeout", Context="from-trunk"))

    # With a mute daemon 1 s is left to ring, and the telephone answers in that very moment.
    assert result.ended in (("far_end", "refused") if mute else ("far_end",))
    assert 2.9 < result.ended_s < 3.3


@pytest.mark.parametrize(("did", "limit_s"), [("0000302", 1.0), ("0000307", 2.01)])
async def test_a_time_limit_about_as_short_as_our_guard_is_kept_too(
    pbx: Asterisk, lines: Sipp, did: str, limit_s: float
) -> None:
    """Whichever of the two strikes first, his T extension runs once, in his context."""
    await beat(pbx)
    async with FastAgi(pbx.ports.fastagi, mute=True), pbx.manager() as manager:
        result = await lines.call(did, CALLER)
        await manager.wait_for(is_event("UserEvent", UserEvent="LabTimeout", Context="from-trunk"))

    assert limit_s - 0.1 < result.ended_s < limit_s + 0.3
    assert pbx.log.read_text().count("LabTimeout") == 1


@pytest.mark.parametrize("mute", [False, True])
async def test_nothing_of_ours_is_left_behind(pbx: Asterisk, lines: Sipp, mute: bool) -> None:
    """No time limit where there was none, his AGIEXITONHANGUP; `route` asks for itself."""
    await beat(pbx)
    known = KNOWN | {"VOCHI_ROUTE": "102"}
    async with FastAgi(pbx.ports.fastagi, known, mute=mute) as server, pbx.manager() as manager:
        await lines.call("0000306", CALLER)
        status = "" if mute else "ok"
        await manager.wait_for(is_event("UserEvent", UserEvent="LabAfter", Limit="0", Exit="his", Status=status))
        route = "" if mute else "102"
        await manager.wait_for(is_event("UserEvent", UserEvent="LabRoute", Route=route, Status=status))

    assert [request.environment["network_script"] for request in server.requests] == ["callerid", "route"]


async def test_a_caller_who_leaves_while_we_ask_is_hung_up_in_the_administrators_context(
    pbx: Asterisk, lines: Sipp
) -> None:
    await beat(pbx)
    async with FastAgi(pbx.ports.fastagi, mute=True) as server, pbx.manager() as manager:
        result = await lines.call("0000101", CALLER, patience_s=0.5)
        await manager.wait_for(is_event("UserEvent", UserEvent="LabHangup", Context="from-trunk"))
        async with asyncio.timeout(1):
            await server.gone.acquire()

    assert result.ended == "gave_up"
    assert result.ended_s < 1


# ---------------------------------------------------------------- what it costs


@pytest.mark.alone
async def test_what_asking_costs_a_call(pbx: Asterisk, capsys: pytest.CaptureFixture[str]) -> None:
    """The subroutine alone, a hundred times in a row; docs/dialplan.md tells the figures. The answer itself is given
    by a server of this test at once: what a CRM takes comes on top.
    """
    for agent in ("absent", "stale", "dead", "alive"):
        async with AsyncExitStack() as stack:
            if agent == "alive":
                await stack.enter_async_context(FastAgi(pbx.ports.fastagi, KNOWN))
            if agent != "absent":
                await beat(pbx, age_s=60 if agent == "stale" else 0)
            manager = await stack.enter_async_context(pbx.manager())
            await manager.action(
                "Originate", Channel="Local/0000398@from-trunk/n", Application="Wait", Data="9", Async="true"
            )
            event = await manager.wait_for(is_event("UserEvent", UserEvent="LabCost"))

        each_ms = float(event["Seconds"]) * 1000 / int(event["Times"])
        with capsys.disabled():
            sys.stdout.write(f"\n{pbx.version}, agent {agent}: {each_ms:.2f} ms\n")
        assert each_ms < (100 if agent == "alive" else 30)  # on a machine that has much else to do


def test_the_dialplan_names_no_host() -> None:
    """Each address behind a name costs the caller two seconds."""
    for path in (path for path in SHIPPED.rglob("*") if path.suffix in (".conf", ".example")):
        for address in re.findall(r"agi://([^/\s)]+)|VOCHI_FASTAGI_\w+ *= *(\S+)", path.read_text()):
            host = next(filter(None, address))
            assert re.match(r"[\d.:]+$|\$\{", host), (path.name, host)
