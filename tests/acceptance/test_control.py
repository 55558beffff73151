"""Calls taken in hand on a real Asterisk, while the daemon writes them down: placed, ended, handed over, listened to.

What people hear is beyond sipp; the proof is the PBX's own word about its channels and bridges, over ARI.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.asterisk.ari import Ari, AriBridge, AriPeer
from vochi_agent.asterisk.switchboard import AriDialler, PbxSwitchboard
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.config import load
from vochi_agent.control import CallControl, ClickToCall, Supervision
from vochi_agent.enrichment import Lookup, Outcome
from vochi_agent.errors import NotPermitted, NotPossible, NotReachable
from vochi_agent.metrics import Metrics

pytestmark = pytest.mark.asterisk

CUSTOMER, PHONE = "375290000022", "+375290000022"
SUPERVISOR = "107"
COMPLETELY_UP = 2


class NoCrm:
    """Fulfils `control.NameLookups` for a company without a CRM."""

    async def profile(self, enterprise_number: str, phone: str, *, deadline: float, linkedid: str = "") -> Lookup:
        """Nobody is known."""
        del enterprise_number, phone, deadline, linkedid
        return Lookup(Outcome.MISS)


@dataclass
class Desk:
    """A company, and beside its daemon somebody who takes its calls in hand."""

    world: World
    watch: PbxWatch
    ari: Ari
    control: CallControl
    click: ClickToCall

    async def talking(self, phones: int = COMPLETELY_UP) -> str:
        """The linkedid of the one call, once so many of its channels talk."""
        tracker = self.watch.tracker

        async def talks() -> bool:
            return [len(tracker.channels_of(call.linkedid)) for call in tracker.live()] == [phones] and all(
                channel.talks for call in tracker.live() for channel in tracker.channels_of(call.linkedid)
            )

        await until(talks, within=10)
        return next(iter(tracker.live())).linkedid

    async def record(self, count: int = 1) -> Call:
        """The ledger's newest row, when there are so many."""
        await self.world.asterisk.until_idle()

        async def written() -> bool:
            return len(await self.world.calls()) >= count

        await until(written, within=20)
        calls = await self.world.calls()
        assert len(calls) == count, calls
        return calls[0]


@asynccontextmanager
async def desk_at(pbx: Asterisk, lines: Sipp, postgres: PostgresServer, folder: Path) -> AsyncIterator[Desk]:
    async with world_around(pbx, lines, postgres, folder, chats=(), ari_port=pbx.ports.http) as world:
        enterprise = load(world.daemon.config).enterprises[0]
        layout = Layout(enterprise)
        watch = PbxWatch(
            layout,
            enterprise.asterisk,
            tell=lambda _: None,
            connected=lambda _: None,
            interrupted=lambda: None,
            metrics=Metrics(),
            clock=time.time,
        )
        peer = AriPeer.of(enterprise.asterisk)
        assert peer is not None
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watch.run())
            ari = Ari(peer, session)
            click = ClickToCall(
                lambda: layout,
                AriDialler(ari),
                customers=world.store.customers,
                lookups=NoCrm(),
                primary_source="manual",
                clock=time.time,
            )
            await until(lambda: _true(watch.connected), within=10)
            yield Desk(world, watch, ari, CallControl(watch.tracker, PbxSwitchboard(watch.ami, ari)), click)
            running.cancel()


async def _true(fact: bool) -> bool:
    return fact


@pytest.fixture
async def desk(pbx: Asterisk, lines: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(pbx, lines, postgres, tmp_path) as desk:
        yield desk


@pytest.fixture
async def desk22(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(asterisk, sipp, postgres, tmp_path) as desk:
        yield desk


# ---------------------------------------------------------------- click to call


async def test_the_agents_phone_shows_the_customer_before_he_is_called(desk: Desk) -> None:
    """By the command, name from the CRM; the provider sees the agent's own number, never the customer's."""
    command = Workplace(desk.world.daemon.config.parent)
    answer = await command.vochi("call-out", "101", "80290000022", "--line", "3880001")
    assert (answer.code, answer.err) == (0, "")
    linkedid = answer.out.strip()

    assert await desk.talking() == linkedid
    await desk.control.hang_up(linkedid)
    call = await desk.record()
    first, second = desk.world.sipp.invites()
    assert (first.number, first.display_name, first.caller) == ("101", "Тестов Тест", PHONE)
    assert (second.number, second.caller, second.display_name) == (CUSTOMER, "101", "Анна Продажи")
    assert (second.trunk, call.line) == ("sip2", "3880001")
    assert second.at > first.at
    replayed = await command.vochi("replay", "--cel", str(desk.world.asterisk.cel))
    assert [json.loads(line)["linkedid"] for line in replayed.out.splitlines()] == [linkedid]
    assert (call.linkedid, call.direction, call.status, call.reason) == (linkedid, "out", "answered", "talked")
    assert (call.phone, call.first_agent, call.path, call.rung) == (PHONE, "101", ("101",), ())


async def test_an_agent_who_does_not_pick_up_is_no_call_of_the_customers(desk22: Desk) -> None:
    await desk22.click.call_out("103", PHONE, ring_s=1)
    await desk22.world.asterisk.until_idle()
    await desk22.world.sipp.call("0000101", "375290000033", hold_s=0.3)

    call = await desk22.record()
    assert call.phone == "+375290000033"
    assert [invite.number for invite in desk22.world.sipp.invites()] == ["103", "101"]


async def test_what_cannot_be_called_is_refused_before_a_phone_rings(desk22: Desk) -> None:
    click = desk22.click
    for extension, phone, line in (("gsm1", PHONE, ""), ("101", "call me", ""), ("101", PHONE, "no-line")):
        with pytest.raises(NotPossible):
            await click.call_out(extension, phone, line=line)
    command = Workplace(desk22.world.daemon.config.parent)
    config = command.config.read_text()
    command.config.write_text(config.replace('ari_username = "lab"', 'ari_username = "vochi"'))
    answer = await command.vochi("call-out", "101", PHONE)
    assert (answer.code, answer.out) == (1, "")
    assert "may only read" in answer.err
    command.config.write_text(config.replace("ari = ", "#ari = "))
    answer = await command.vochi("call-out", "101", PHONE)
    assert (answer.code, answer.out) == (2, "")

    assert desk22.world.sipp.invites() == []


# ---------------------------------------------------------------- ended, handed over


async def test_a_call_is_hung_up_for_everybody(desk: Desk) -> None:
    async with asyncio.TaskGroup() as tasks:
        caller = tasks.create_task(desk.world.sipp.call("0000101", CUSTOMER, hold_s=20))
        await desk.control.hang_up(await desk.talking())
    call = await desk.record()

    assert caller.result().ended == "far_end"
    assert (call.status, call.reason, call.path) == ("answered", "talked", ("101",))
    with pytest.raises(NotPossible):
        await desk.control.hang_up(call.linkedid)


@pytest.mark.parametrize("outbound", [False, True])
async def test_a_conversation_is_handed_over(desk: Desk, outbound: bool) -> None:
    """Whoever began it: one call, the way from the first to the second agent, direction kept."""
    sipp = desk.world.sipp
    async with asyncio.TaskGroup() as tasks:
        if outbound:
            tasks.create_task(sipp.dial("101", f"80{CUSTOMER[3:]}", hold_s=20))
        else:
            tasks.create_task(sipp.call("0000101", CUSTOMER, hold_s=20))
        linkedid = await desk.talking()
        with pytest.raises(NotPossible):
            await desk.control.transfer(linkedid, "gsm1")
        await desk.control.transfer(linkedid, "107")
        await sipp.wait_for_invite("107")
        await until(lambda: _talks(desk, linkedid, "107"), within=10)
        await desk.control.hang_up(linkedid)
    call = await desk.record()

    assert (call.direction, call.status) == ("out" if outbound else "in", "answered")
    assert (call.phone, call.path, call.last_agent) == (PHONE, ("101", "107"), "107")


async def _talks(desk: Desk, linkedid: str, extension: str) -> bool:
    channels = desk.watch.tracker.channels_of(linkedid)
    return any(channel.extension == extension and channel.talks for channel in channels)


# ---------------------------------------------------------------- listened to


@pytest.mark.parametrize("how", Supervision)
async def test_a_supervisor_takes_part_and_leaves_no_trace_in_the_record(desk: Desk, how: Supervision) -> None:
    """The customer's bridge keeps its two channels, the supervisor stands in one of ours with the snoop channel."""
    sipp, world = desk.world.sipp, desk.world
    await sipp.call("0000101", CUSTOMER, hold_s=1.0)
    plain = await desk.record()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sipp.call("0000101", CUSTOMER, hold_s=4.0))
        linkedid = await desk.talking()
        (before,) = await desk.ari.bridges()
        supervising = tasks.create_task(desk.control.supervise(linkedid, SUPERVISOR, how))
        await until(lambda: _supervised(desk), within=10)
        theirs, ours = sorted(await desk.ari.bridges(), key=lambda bridge: bridge.name.startswith("vochi-"))
        live = [call.linkedid for call in desk.watch.tracker.live()]
    supervised = await desk.record(2)

    assert set(theirs.channels) == set(before.channels)
    assert theirs.id == before.id
    assert not set(ours.channels) & set(theirs.channels)
    assert sorted(channel.split("-")[1] for channel in ours.channels) == ["snoop", "supervisor"]
    assert supervising.result() is None
    assert live == [linkedid]
    (invite,) = sipp.invites(SUPERVISOR)
    assert invite.display_name.endswith(" 101")
    assert shape(supervised) == shape(plain)
    assert supervised.talk_seconds == pytest.approx(4.0, abs=0.6)
    assert await desk.ari.bridges() == []
    replayed = await Workplace(world.daemon.config.parent).vochi("replay", "--cel", str(world.asterisk.cel))
    assert len(replayed.out.splitlines()) == 2


async def _supervised(desk: Desk) -> bool:
    bridges: list[AriBridge] = await desk.ari.bridges()
    return len(bridges) == 2 and all(len(bridge.channels) == 2 for bridge in bridges)


def shape(call: Call) -> Call:
    """A record without what differs between any two calls."""
    legs = tuple(
        replace(leg, started=0, rang=None, up=None, hung_up=None, ended=None, stays=()) for leg in call.evidence
    )
    zero = {"wait_seconds": 0, "talk_seconds": 0, "linkedid": ""}
    moments = dict.fromkeys(("started_at", "answered_at", "ended_at"), call.started_at.min)
    return replace(call, **zero, **moments, evidence=legs)


async def test_a_supervisor_who_hangs_up_or_is_taken_off_leaves_the_call_alone(desk22: Desk) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(desk22.world.sipp.call("0000101", CUSTOMER, hold_s=6.0))
        linkedid = await desk22.talking()
        # 102 hangs up by himself after 3 s
        await desk22.control.supervise(linkedid, "102", Supervision.LISTEN)
        supervising = tasks.create_task(desk22.control.supervise(linkedid, SUPERVISOR, Supervision.BARGE))
        await until(lambda: _supervised(desk22), within=10)
        supervising.cancel()
        await asyncio.wait([supervising])
        assert len(await desk22.ari.bridges()) == 1
    call = await desk22.record()

    assert (call.status, call.path, call.rung) == ("answered", ("101",), ("101",))
    assert call.talk_seconds == pytest.approx(6.0, abs=0.6)


async def test_who_cannot_listen_is_told_so(desk22: Desk) -> None:
    """No such call, no such extension, one who is in it himself, one who does not pick up, a PBX that forbids it."""
    control = desk22.control
    with pytest.raises(NotPossible):
        await control.supervise("1795165024.84", SUPERVISOR, Supervision.LISTEN)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(desk22.world.sipp.call("0000101", CUSTOMER, hold_s=4.0))
        linkedid = await desk22.talking()
        for nobody in ("gsm1", "101"):
            with pytest.raises(NotPossible):
                await control.supervise(linkedid, nobody, Supervision.LISTEN)
        with pytest.raises(NotPossible):
            await control.supervise(linkedid, "103", Supervision.LISTEN, ring_s=1)
        without = CallControl(desk22.watch.tracker, PbxSwitchboard(desk22.watch.ami, None))
        with pytest.raises(NotReachable):
            await without.supervise(linkedid, SUPERVISOR, Supervision.LISTEN)
        peer = replace(desk22.ari.peer, username="vochi")
        async with aiohttp.ClientSession() as session:
            readers = CallControl(desk22.watch.tracker, PbxSwitchboard(desk22.watch.ami, Ari(peer, session)))
            with pytest.raises(NotPermitted):
                await readers.supervise(linkedid, SUPERVISOR, Supervision.LISTEN)
    call = await desk22.record()

    assert (call.path, call.rung) == (("101",), ("101",))
    assert await desk22.ari.bridges() == []
