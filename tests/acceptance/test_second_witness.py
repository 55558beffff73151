"""What ARI adds to AMI's own list after a reconnect: how long people have been talking."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.daemon import configuration
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.sipp import RING_S, Sipp
from tests.support.tcp_gate import TcpGate
from vochi_agent.asterisk.ari import Ari, AriPeer
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, CallUpdate
from vochi_agent.config import load
from vochi_agent.metrics import Metrics

pytestmark = pytest.mark.asterisk

# The client comes back up to 3.2 s after it could: it has waited longer each time.
TALK_S, AWAY_S = 8.0, 2.0


class Observer:
    """Follows one PBX through a gate; `records` are the calls that ended."""

    def __init__(self, gate: TcpGate, watch: PbxWatch, records: list[Call]) -> None:
        self.gate = gate
        self.watch = watch
        self.records = records


@asynccontextmanager
async def observer(pbx: Asterisk, folder: Path, *, ari_port: int) -> AsyncIterator[Observer]:
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(TcpGate(pbx.ports.ami))
        config = folder / "config.toml"
        config.write_text(
            configuration(
                state_dir=folder,
                ami_port=gate.port,
                secret=pbx.secret,
                agi_port=free_port(),
                http_port=free_port(),
                ari_port=ari_port,
            )
        )
        enterprise = load(config).enterprises[0]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        peer = AriPeer.of(enterprise.asterisk)
        records: list[Call] = []

        def tell(update: CallUpdate) -> None:
            if isinstance(update, CallFinished):
                records.append(update.call)

        watch = PbxWatch(
            Layout(enterprise),
            enterprise.asterisk,
            ari=Ari(peer, session) if peer else None,
            tell=tell,
            connected=lambda _: None,
            interrupted=lambda: None,
            metrics=Metrics(),
            clock=time.time,
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = tasks.create_task(watch.run(), name="watch")
        seen = Observer(gate, watch, records)
        await until(lambda: _is(watch, connected=True), within=10)
        yield seen
        running.cancel()


async def _is(watch: PbxWatch, *, connected: bool) -> bool:
    return watch.connected is connected


async def answered_while_nobody_listened(pbx: Asterisk, lines: Sipp, seen: Observer) -> Call:
    """The connection breaks while the phone rings and is back two seconds into the conversation."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lines.call("0000101", "375290000022", hold_s=TALK_S))
        await lines.wait_for_invite("101")
        await seen.gate.close()
        await asyncio.sleep(RING_S + AWAY_S)
        await seen.gate.open()
        await until(lambda: _is(seen.watch, connected=True), within=10)
    await pbx.until_idle()
    await until(lambda: _recorded(seen), within=10)
    (call,) = seen.records
    return call


async def _recorded(seen: Observer) -> bool:
    return bool(seen.records)


async def test_with_ari_the_whole_conversation_is_counted(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> None:
    async with observer(pbx, tmp_path, ari_port=pbx.ports.http) as seen:
        call = await answered_while_nobody_listened(pbx, lines, seen)

    assert (call.status.value, call.path, call.partial) == ("answered", ("101",), True)
    assert call.talk_seconds == pytest.approx(TALK_S, abs=0.3)
    assert call.wait_seconds == pytest.approx(RING_S, abs=0.3)


async def test_without_ari_only_what_was_seen_is(asterisk: Asterisk, sipp: Sipp, tmp_path: Path) -> None:
    """Not configured, or nobody there: the call is followed all the same."""
    for folder, port in (("none", 0), ("nobody", asterisk.ports.nobody)):
        (tmp_path / folder).mkdir()
        async with observer(asterisk, tmp_path / folder, ari_port=port) as seen:
            call = await answered_while_nobody_listened(asterisk, sipp, seen)
        assert (call.status.value, call.path) == ("answered", ("101",))
        assert call.talk_seconds < TALK_S - AWAY_S / 2


async def test_a_silent_ari_delays_a_reconnect_by_a_second_at_most(
    asterisk: Asterisk, sipp: Sipp, tmp_path: Path
) -> None:
    async with TcpGate(asterisk.ports.http) as mute:
        mute.freeze()
        began = time.monotonic()
        async with observer(asterisk, tmp_path, ari_port=mute.port) as seen:
            assert 1.0 <= time.monotonic() - began < 4.0
            await sipp.call("0000101", "375290000022", hold_s=0.3)
            await until(lambda: _recorded(seen), within=10)
