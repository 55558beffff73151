"""panoramisk's AMI client and ours in front of the same scripted PBX."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from panoramisk import Manager

from tests.peers.finding import Finding
from tests.support.ami_peer import DEADLINE_S, AmiPeer, ami_peer, frame
from vochi_agent.asterisk.ami import AmiClient, AmiTimeouts, connect
from vochi_agent.asterisk.ami import AmiPeer as Address
from vochi_agent.errors import ActionFailed, ConnectionLost, LocalProtocolError, NotReachable
from vochi_agent.protocols.ami import Message
from vochi_agent.supervisor import Backoff

SEGMENT_GAP_S = 0.05
PATIENCE_S = 1.0
FROZEN_FOR_S = 5.0

Handler = Callable[[Any], None]


@asynccontextmanager
async def panoramisk(pbx: AmiPeer, on_event: Handler | None = None, **options: object) -> AsyncIterator[Manager]:
    """Its Manager, logged in."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    log = logging.getLogger("panoramisk")
    log.setLevel(logging.CRITICAL)
    manager = Manager(
        loop=asyncio.get_running_loop(),
        host="127.0.0.1",
        port=pbx.port,
        username="vochi",
        secret="secret",
        log=log,
        **options,
    )
    if on_event is not None:
        manager.register_event("*", lambda _, event: on_event(event))
    await manager.connect()
    await pbx.seen("Login")
    yield manager
    manager.close()


def ours(pbx: AmiPeer) -> Address:
    """Our address of the same PBX."""
    return Address(host="127.0.0.1", port=pbx.port, username="vochi", secret="secret")


async def both(pbx: AmiPeer, *segments: bytes) -> tuple[list[Any], list[Message]]:
    """What each of the two makes of events that come in these segments."""
    theirs: list[Any] = []
    mine: list[Message] = []
    async with panoramisk(pbx, theirs.append):
        await in_segments(pbx, segments)
    async with connect(ours(pbx), on_event=mine.append):
        await pbx.seen("Ping")
        await in_segments(pbx, segments)
    return theirs, mine


async def in_segments(pbx: AmiPeer, segments: tuple[bytes, ...]) -> None:
    """Write with a pause after each piece, so that TCP delivers them apart."""
    for segment in segments:
        pbx.send(segment)
        await asyncio.sleep(SEGMENT_GAP_S)


async def split_letter() -> Finding:
    """A letter of two bytes, one in each segment."""
    wire = frame("Event: NewCallerid", "CallerIDName: Ёлка", "Uniqueid: 1")
    cut = wire.index("Ё".encode()) + 1
    async with ami_peer() as pbx:
        theirs, mine = await both(pbx, wire[:cut], wire[cut:])
    peer, our = theirs[0]["CallerIDName"], mine[0]["CallerIDName"]
    return Finding(
        defect="AMI: the name Ёлка, cut by TCP inside a letter",
        peer=f"reads {peer}",
        ours=f"reads {our}",
        reproduced=peer != "Ёлка" and our == "Ёлка",
    )


async def empty_header() -> Finding:
    """An event whose last header is empty."""
    async with ami_peer() as pbx:
        theirs, mine = await both(pbx, frame("Event: Hangup", "Uniqueid: 1", "AccountCode: "))
    lost, kept = "AccountCode" not in theirs[0], "AccountCode" in mine[0]
    return Finding(
        defect="AMI: the last header of an event is empty",
        peer="the header is lost" if lost else "kept",
        ours="kept" if kept else "lost",
        reproduced=lost and kept,
    )


async def repeated_header() -> Finding:
    """Two `Event` headers in one message, then an ordinary event."""
    segments = frame("Event: UserEvent", "Event: Hangup"), frame("Event: Hangup", "Uniqueid: 1")
    async with ami_peer() as pbx:
        theirs, mine = await both(pbx, *segments)
    return Finding(
        defect="AMI: a repeated Event header",
        peer="drops the connection" if not theirs else "goes on",
        ours=f"goes on, {len(mine)} events",
        reproduced=not theirs and len(mine) == len(segments),
    )


async def newline_in_a_value() -> Finding:
    """A name from outside goes into a Setvar."""
    fields = {"Variable": "NAME", "Value": "x\r\n\r\nAction: Originate\r\nActionID: evil"}
    async with ami_peer() as pbx:
        async with panoramisk(pbx) as manager:
            manager.send_action({"Action": "Setvar", **fields})
            await pbx.seen("Setvar")
            await asyncio.sleep(SEGMENT_GAP_S)
        injected = "Originate" in pbx.names()
        refused = False
        async with connect(ours(pbx)) as connection:
            try:
                await connection.action("Setvar", fields)
            except LocalProtocolError:
                refused = True
    return Finding(
        defect="AMI: a newline in the value of a Setvar",
        peer="a second action, Originate, is sent" if injected else "not sent",
        ours="refused, nothing is sent" if refused else "sent",
        reproduced=injected and refused,
    )


async def originate_during_an_outage() -> Finding:
    """Click-to-call while Asterisk restarts."""
    peer = await _placed_after_outage(_panoramisk_originates)
    our = await _placed_after_outage(_client_originates)
    return Finding(
        defect="AMI: an Originate asked for while Asterisk is down",
        peer="placed after the reconnect" if peer else "not placed",
        ours="placed after the reconnect" if our else "refused at once",
        reproduced=peer and not our,
    )


async def _placed_after_outage(client: Callable[[AmiPeer, asyncio.Event], Awaitable[None]]) -> bool:
    async with ami_peer() as pbx:
        down = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(client(pbx, down), name="client")
            await pbx.seen("Login")
            pbx.drop()
            down.set()
            await pbx.seen("Login", times=2)
            # The client waits for this event before it sends what it kept.
            pbx.send(frame("Event: FullyBooted", "Status: Fully Booted"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await pbx.seen("Originate")
            task.cancel()
        return "Originate" in pbx.names()


async def _panoramisk_originates(pbx: AmiPeer, down: asyncio.Event) -> None:
    async with panoramisk(pbx, reconnect_timeout=1) as manager:
        await down.wait()
        manager.send_action({"Action": "Originate", "Channel": "PJSIP/101"})
        await asyncio.sleep(DEADLINE_S)


async def _client_originates(pbx: AmiPeer, down: asyncio.Event) -> None:
    client = AmiClient(ours(pbx), on_event=lambda _: None, backoff=Backoff(0.2, 0.4))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.run(), name="AMI client")
        await down.wait()
        with contextlib.suppress(NotReachable):
            await client.action("Originate", {"Channel": "PJSIP/101"})


async def frozen_peer() -> Finding:
    """Asterisk stops answering, the TCP connection stays: pings every second."""
    lost: list[object] = []
    loop = asyncio.get_running_loop()
    async with ami_peer() as pbx:
        async with panoramisk(pbx, ping_delay=1, ping_interval=1, on_disconnect=lambda *_: lost.append(_)):
            pbx.mute = True
            await asyncio.sleep(FROZEN_FOR_S)
            pings = pbx.names().count("Ping")
        pbx.mute = False
        began = loop.time()
        noticed = False
        try:
            async with connect(ours(pbx), timeouts=AmiTimeouts(ping_every=1, pong=1)) as connection:
                pbx.mute = True
                async with asyncio.timeout(FROZEN_FOR_S):
                    await connection.until_lost()
        except ConnectionLost:
            noticed = True
    return Finding(
        defect="AMI: a frozen Asterisk, one ping a second",
        peer="noticed" if lost else f"not noticed in {FROZEN_FOR_S:g} s and {pings} pings",
        ours=f"noticed after {loop.time() - began:.1f} s" if noticed else "not noticed",
        reproduced=not lost and noticed,
    )


async def failed_list() -> Finding:
    """A list action that Asterisk refuses."""
    async with ami_peer() as pbx:
        async with panoramisk(pbx) as manager:
            answer = manager.send_action({"Action": "CoreShowChannels"}, as_list=True)
            done, _ = await asyncio.wait([answer], timeout=PATIENCE_S)
        failed = False
        async with connect(ours(pbx)) as connection:
            try:
                await connection.list_action("CoreShowChannels", within=PATIENCE_S)
            except ActionFailed:
                failed = True
    return Finding(
        defect="AMI: a list that the PBX refuses",
        peer="answered" if done else "the caller waits for ever",
        ours="raises ActionFailed" if failed else "no answer",
        reproduced=not done and failed,
    )
