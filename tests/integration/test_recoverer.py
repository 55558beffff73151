"""Who closes gaps by itself: real PostgreSQL, the CEL of real scenarios."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.pbx_records import LAYOUT, SCENARIOS, cel_lines, live_calls, utc
from tests.support.ports import free_port
from tests.support.renderers import no_cards
from vochi_agent.asterisk.cel_sources import CelFile
from vochi_agent.calls.model import Call
from vochi_agent.config import load
from vochi_agent.daemon import assembled
from vochi_agent.errors import ConnectionLost, RecordsUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.naming import RecoveredNames
from vochi_agent.recoverer import Recoverer
from vochi_agent.recovery import Recovery, Report
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

THREE = ("inbound-answered", "inbound-noanswer", "outbound-answered")

DAEMON = """
[daemon]
state_dir = "{folder}/state"
[database]
url = "{dsn}"
[fastagi]
listen = "127.0.0.1:{agi}"
[http]
listen = "127.0.0.1:{http}"
[[enterprises]]
number = "0901"
country = "BY"
telegram_token = "123456:AAE-s3cret"
  [enterprises.asterisk]
  ami = "127.0.0.1:1"
  ami_username = "vochi"
  ami_secret = "s"
  {kind} = "{place}"
"""
LINE_AND_CHAT = """
  [[enterprises.lines]]
  id = "375172000000"
  endpoint = "PJSIP/trunk"
  number_rule = "+375{9}"
  [[enterprises.chats]]
  id = -100
"""


class Names:
    """Notes who is asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wanted = 3
        self.all_asked = asyncio.Event()

    def prefetch(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> None:
        """As `Enrichment.prefetch`."""
        self.asked.append(f"{enterprise_number} {phone}{linkedid}")
        if len(self.asked) == self.wanted:
            self.all_asked.set()


class Branch:
    """One enterprise that recovers by itself."""

    def __init__(self, store: PostgresStore, cel: Path, *, configured: bool = True) -> None:
        self.store = store
        self.cel = cel
        self.names = Names()
        self.metrics = Metrics()
        self.ready = asyncio.Event()
        self.closed = asyncio.Event()
        self.horizon = utc("10:34:00")
        names = RecoveredNames("0901", self.names, period_s=0.0)
        recovery = Recovery(
            lambda: LAYOUT,
            CelFile(cel, UTC),
            store.calls,
            store.watched,
            render=no_cards,
            clock=lambda: self.horizon,
            stored=names.add,
        )
        self.recoverer = Recoverer(
            "0901",
            recovery if configured else None,
            store.watched,
            horizon=lambda: self.horizon,
            alive=self.alive,
            names=names,
            metrics=self.metrics,
            ready=self.ready,
            filled=self.filled,
            delay_s=0.0,
        )

    async def alive(self) -> set[str] | None:
        """The PBX cannot be asked."""
        raise ConnectionLost("the PBX is gone")

    async def filled(self) -> None:
        """No gap is left."""
        self.closed.set()

    async def was_away(self, since: datetime) -> None:
        """The daemon watched until then, and watches again from the horizon on."""
        span = await self.store.watched.open_span("0901", since - timedelta(hours=1))
        await self.store.watched.advance(span, since)
        await self.store.watched.open_span("0901", self.horizon)

    def gap_seconds(self) -> float | None:
        """What the metric says."""
        return self.metrics.registry.get_sample_value("vochi_gap_seconds", {"enterprise": "0901"})

    def recovered(self, outcome: str) -> float | None:
        """What the metric says."""
        return self.metrics.registry.get_sample_value(
            "vochi_recovered_calls_total", {"enterprise": "0901", "outcome": outcome}
        )

    async def calls(self) -> list[Call]:
        """The ledger, oldest first."""
        return (await self.store.reports.calls(CallFilter()))[::-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The recoverer works while the block runs."""
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            task = tasks.create_task(self.recoverer.run(), name="recoverer")
            yield
            task.cancel()


@pytest.fixture
def branch(store: PostgresStore, tmp_path: Path) -> Branch:
    return Branch(store, tmp_path / "vochi.csv")


async def test_a_gap_closes_by_itself_and_customers_get_their_names(branch: Branch, caplog):
    caplog.set_level(logging.INFO)
    await branch.was_away(utc("10:24:00"))
    branch.cel.write_text("".join(cel_lines(*THREE)))

    async with branch.running():
        branch.ready.set()
        await branch.closed.wait()
        await branch.names.all_asked.wait()

    assert len(await branch.calls()) == 3
    assert await branch.store.watched.gaps("0901", branch.horizon) == []
    assert (branch.gap_seconds(), branch.recovered("stored")) == (0, 3)
    assert branch.names.asked == [f"0901 {call.phone}" for call in await branch.calls()]
    said = [record.getMessage() for record in caplog.records if record.action == "gap_closed"]
    assert said == ["Closed a gap of 600 s of 0901: 3 calls found, 3 stored, 0 corrected"]


async def test_a_partial_live_call_is_made_whole(branch: Branch):
    await branch.was_away(branch.horizon)
    branch.cel.write_text("".join(cel_lines(*THREE)))
    seen = replace(live_calls(THREE)[0], partial=True, path=(), rung=())
    await branch.store.calls.record(seen, no_cards)
    async with branch.running():
        branch.ready.set()
        await branch.closed.wait()

        assert (await branch.calls())[0].path == ("101",)
        await branch.store.calls.record(replace(seen, linkedid="1795170257.6"), no_cards)
        branch.closed.clear()
        branch.recoverer.live_call_stored(live_calls(THREE)[1])
        branch.recoverer.live_call_stored(replace(live_calls(THREE)[1], partial=True))
        await branch.closed.wait()

    assert not any(call.partial for call in await branch.calls())


async def test_a_gap_stays_until_the_records_can_be_read(branch: Branch):
    await branch.was_away(utc("10:24:00"))
    with pytest.raises(RecordsUnavailable):
        await branch.recoverer.close_gaps()
    assert branch.gap_seconds() == 600
    assert len(await branch.store.watched.gaps("0901", branch.horizon)) == 1
    branch.cel.write_text("".join(cel_lines(*THREE)))

    assert await branch.recoverer.close_gaps() == Report(found=3, stored=3)
    assert await branch.recoverer.close_gaps() == Report()
    assert branch.gap_seconds() == 0


async def test_without_records_a_gap_stays_and_is_told_once(store: PostgresStore, tmp_path: Path, caplog):
    branch = Branch(store, tmp_path / "vochi.csv", configured=False)
    await branch.was_away(utc("10:24:00"))
    for _ in range(2):
        assert await branch.recoverer.close_gaps() == Report()

    assert branch.gap_seconds() == 600
    assert [record.action for record in caplog.records] == ["gap_stays"]
    assert not branch.closed.is_set()


async def test_gaps_of_a_pbx_that_comes_and_goes_are_read_together(branch: Branch, caplog):
    caplog.set_level(logging.INFO)
    for second in range(0, 60, 5):
        span = await branch.store.watched.open_span("0901", utc("10:24:00") + timedelta(seconds=second))
        await branch.store.watched.advance(span, utc("10:24:02") + timedelta(seconds=second))
    branch.cel.write_text("".join(cel_lines(*THREE)))

    assert (await branch.recoverer.close_gaps()).stored == 3
    assert await branch.store.watched.gaps("0901", branch.horizon) == []
    assert [record.action for record in caplog.records] == ["gap_closed"]


@pytest.mark.parametrize("records", ["cel", "cdr"])
async def test_after_a_reload_calls_are_recovered_by_the_new_lines_for_the_new_chats(
    store: PostgresStore, dsn: str, tmp_path: Path, records: str
):
    """A daemon that began without the line."""
    place = tmp_path / f"{records}.csv"
    place.write_text((SCENARIOS / "inbound-answered" / f"{records}.csv").read_text())
    before, after = tmp_path / "before.toml", tmp_path / "after.toml"
    values = {"dsn": dsn, "folder": tmp_path, "agi": free_port(), "http": free_port(), "kind": records, "place": place}
    before.write_text(DAEMON.format_map(values))
    after.write_text(before.read_text() + LINE_AND_CHAT)
    span = await store.watched.open_span("0901", utc("00:00:00"))
    await store.watched.advance(span, utc("00:01:00"))

    async with assembled(load(before)) as daemon:
        daemon.reload(load(after))
        await daemon.sites["0901"].recoverer.close_gaps()
        (call,) = await store.reports.calls(CallFilter())
        await daemon.chats.tell_recovered("0901", [call])

    assert (call.line, call.direction, call.phone, call.path) == ("375172000000", "in", "+375290000001", ("101",))
    assert (await store.cards.work("0901", -100)).open
