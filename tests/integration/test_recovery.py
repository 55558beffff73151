"""Calls that nobody watched, from the CEL of real scenarios into real PostgreSQL."""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.pbx_records import LAYOUT, cel_lines, live_calls, moment_of, utc
from vochi_agent.asterisk.cel_sources import CelFile
from vochi_agent.calls.model import Call, Reason, Source, Status
from vochi_agent.customers.model import Customer, History
from vochi_agent.errors import RecordsUnavailable
from vochi_agent.ports import CardDraft
from vochi_agent.recovery import MOST_CARDS, Recovery, Report
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

THREE = ("inbound-answered", "inbound-noanswer", "outbound-answered")
AWAY, BACK = utc("10:24:00"), utc("10:34:00")
LIVE = live_calls(THREE)


def card(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
    return [CardDraft(chat_id=-100, topic=0, text=f"{call.source} {call.linkedid} {call.status}", silent=False)]


class Office:
    """One company: its CEL file and its recovery."""

    def __init__(self, store: PostgresStore, folder: Path) -> None:
        self.cel = folder / "vochi.csv"
        self.now = BACK
        self.stored: list[Call] = []
        self.announced: list[Call] = []
        self.store = store
        self.recovery = Recovery(
            lambda: LAYOUT,
            CelFile(self.cel, AWAY.tzinfo),
            store.calls,
            store.watched,
            render=card,
            clock=lambda: self.now,
            stored=self.stored.append,
            announce=self._announce,
        )

    async def _announce(self, calls: Sequence[Call]) -> None:
        self.announced.extend(calls)

    def wrote(self, lines: Iterable[str]) -> None:
        """What stands in the CEL file now."""
        self.cel.write_text("".join(lines), encoding="utf-8")

    async def calls(self) -> list[Call]:
        """The ledger, oldest first."""
        return (await self.store.reports.calls(CallFilter(limit=200)))[::-1]

    async def cards(self) -> list[str]:
        """The texts that wait for the chat; asked again, those that came since."""
        cards = (await self.store.cards.work("0901", -100)).open
        await self.store.cards.claim(cards, new_text=None)
        await self.store.cards.given_up(cards, "read")
        return [card.text for card in cards]


@pytest.fixture
def office(store: PostgresStore, tmp_path: Path) -> Office:
    return Office(store, tmp_path)


def facts(call: Call) -> dict[str, object]:
    """What CEL tells as AMI does, times aside."""
    record = call.as_json()
    for key in ("source", "started_at", "answered_at", "ended_at", "wait_seconds", "talk_seconds"):
        del record[key]
    return record


async def test_a_daemon_that_was_away_finds_what_happened_and_a_rerun_changes_nothing(office: Office):
    """Three calls in ten minutes: each is stored once, the customers are right, the cards say that it was recovered."""
    office.wrote(cel_lines(*THREE))

    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, stored=3)

    calls = await office.calls()
    assert [facts(call) for call in calls] == [facts(call) for call in LIVE]
    assert {call.source for call in calls} == {Source.RECOVERY}
    customer = await office.store.customers.customer("0901", "+375290000001")
    assert customer is not None
    assert (customer.history.calls_total_in, customer.history.calls_answered_in) == (1, 1)
    assert office.stored == calls
    cards = await office.cards()
    assert sorted(cards) == sorted(f"recovery {call.linkedid} {call.status}" for call in calls)
    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, known=3)
    assert await office.calls() == calls
    assert (await office.store.customers.customer("0901", "+375290000001")) == customer
    assert await office.cards() == []


async def test_calls_that_are_known_stay_as_they_were_seen(office: Office):
    """Live records know more than CEL; what ended before the gap is not even looked at."""
    for call in LIVE:
        await office.store.calls.record(call, card)
    office.wrote(cel_lines(*THREE))

    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, known=3)
    assert await office.recovery.recover(LIVE[1].ended_at + timedelta(seconds=1), BACK) == Report(found=1, known=1)
    assert await office.calls() == LIVE


async def test_a_call_that_was_live_when_the_daemon_died_becomes_whole(office: Office):
    seen = replace(LIVE[0], partial=True, status=Status.UNKNOWN, reason=Reason.UNKNOWN_END, talk_seconds=0.0, path=())
    await office.store.calls.record(seen, card)
    office.wrote(cel_lines(*THREE))
    middle = seen.started_at + timedelta(seconds=1)

    report = await office.recovery.recover(middle, seen.ended_at)

    assert report == Report(found=1, corrected=1)
    assert [facts(call) for call in await office.calls()] == [facts(LIVE[0])]
    customer = await office.store.customers.customer("0901", "+375290000001")
    assert customer is not None
    assert (customer.history.calls_answered_in, customer.history.calls_missed_in) == (1, 0)


async def test_a_call_that_goes_on_is_left_to_who_watches_now(office: Office):
    lines = cel_lines("inbound-answered")
    office.wrote(lines[:-4])
    uniqueids = {"1795170244.0"}

    assert await office.recovery.recover(AWAY, BACK) == Report()
    assert await office.recovery.recover(AWAY, BACK, alive=uniqueids) == Report()


async def test_a_call_whose_channels_are_gone_without_a_word_is_kept_as_far_as_it_is_known(office: Office):
    """Asterisk was killed: CEL has no end of the call, the PBX has no channel of it. What comes later corrects it."""
    lines = cel_lines("inbound-answered")
    office.wrote(lines[:-4])

    assert await office.recovery.recover(AWAY, BACK, alive=set()) == Report(found=1, stored=1)
    office.now += timedelta(minutes=7)
    assert await office.recovery.recover(AWAY, BACK, alive=set()) == Report(found=1, known=1)

    call = (await office.calls())[0]
    assert (call.reason, call.partial, call.linkedid) == (Reason.UNKNOWN_END, True, "1795170244.0")
    assert call.ended_at.timestamp() == pytest.approx(moment_of(lines[-5]), abs=0.001)
    office.wrote(lines)
    assert await office.recovery.recover(AWAY, BACK, alive=set()) == Report(found=1, corrected=1)
    assert [facts(call) for call in await office.calls()] == [facts(LIVE[0])]


async def test_rotation_in_the_middle_of_a_call_loses_nothing(office: Office):
    lines = cel_lines(*THREE)
    office.wrote(lines[9:])
    with gzip.open(office.cel.parent / "vochi.csv.2.gz", "wt", encoding="utf-8") as older:
        older.writelines(lines[:5])
    (office.cel.parent / "vochi.csv.1").write_text("".join(lines[5:9]), encoding="utf-8")

    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, stored=3)
    assert [facts(call) for call in await office.calls()] == [facts(call) for call in LIVE]


async def test_a_torn_line_costs_no_call(office: Office):
    """Half of a row of a call that never was stands in the middle, and half of one at the end."""
    lines = cel_lines(*THREE)
    stray = lines[0].replace("1795170244.0", "1795170255.77")
    office.wrote([*lines[:3], stray[:60] + "\n", *lines[3:], stray[:50]])

    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, stored=3)
    assert [facts(call) for call in await office.calls()] == [facts(call) for call in LIVE]


async def test_calls_of_a_clock_that_jumped_to_1970_are_found_once(office: Office):
    """The box lost power, took a call before it knew the time, and then knew it again."""
    first, lost, last = (cel_lines(name) for name in THREE)
    back_by = moment_of(lost[0]) - 30
    in_1970 = [line.replace(str(row[1]), f"{moment_of(line) - back_by:.6f}") for line, row in with_fields(lost)]
    office.wrote([*first, *in_1970, *last])

    assert await office.recovery.recover(AWAY, BACK) == Report(found=3, stored=3)
    calls = await office.calls()
    assert await office.recovery.recover(AWAY - timedelta(minutes=1), BACK) == Report(found=3, known=3)
    assert sorted(call.linkedid for call in calls) == sorted(call.linkedid for call in LIVE)
    mended = next(call for call in calls if call.linkedid == LIVE[1].linkedid)
    assert LIVE[0].ended_at < mended.started_at < mended.ended_at <= LIVE[2].started_at
    assert mended.wait_seconds == LIVE[1].wait_seconds
    assert facts(mended) == facts(LIVE[1])


def with_fields(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    return list(zip(lines, csv.reader(io.StringIO("".join(lines))), strict=True))


async def test_an_old_call_is_stored_without_a_card(office: Office):
    office.wrote(cel_lines(*THREE))
    office.now = LIVE[0].ended_at + timedelta(hours=24, seconds=1)

    assert (await office.recovery.recover(AWAY, BACK)).stored == 3
    assert len(await office.cards()) == 2


def many(number: int) -> list[str]:
    """The same call again and again, a second apart, each with ids of its own."""
    found = []
    for index in range(number):
        for line, fields in with_fields(cel_lines("inbound-answered")):
            moved = line.replace(fields[1], f"{float(fields[1]) + index:.6f}")
            found.append(moved.replace("1795170244.", f"17951702{44 + index}.{index}0"))
    return sorted(found, key=moment_of)


async def test_a_flood_of_recovered_calls_is_announced_together(office: Office):
    office.wrote(many(MOST_CARDS + 1))

    report = await office.recovery.recover(AWAY, BACK)

    assert report == Report(found=MOST_CARDS + 1, stored=MOST_CARDS + 1)
    assert office.announced == await office.calls()
    assert await office.cards() == []
    assert await office.recovery.recover(AWAY, BACK) == Report(found=MOST_CARDS + 1, known=MOST_CARDS + 1)
    assert len(office.announced) == MOST_CARDS + 1


async def test_a_few_new_calls_among_many_known_ones_get_their_cards(office: Office):
    office.wrote(many(MOST_CARDS))
    await office.recovery.recover(AWAY, BACK)
    await office.cards()
    office.wrote(many(MOST_CARDS + 2))

    assert await office.recovery.recover(AWAY, BACK) == Report(found=22, known=20, stored=2)
    assert office.announced == []
    assert len(await office.cards()) == 2


async def test_records_that_cannot_be_read_are_said_to_be(office: Office):
    with pytest.raises(RecordsUnavailable, match=r"vochi\.csv"):
        await office.recovery.recover(AWAY, BACK)


async def test_every_scenario_is_recovered_from_one_file(office: Office):
    """Everything in one stream: what each scenario gives by itself, it gives among the others, in any window."""
    found = {path.parent.name for path in (Path(__file__).parents[1] / "scenarios").glob("*/cel.csv")}
    # As they happened: a file that goes back by a day is another matter.
    names = sorted(found, key=lambda name: min((call.started_at for call in live_calls([name])), default=AWAY))
    calls = live_calls(names)
    expected = {call.linkedid for call in calls}
    office.wrote(cel_lines(*names))
    office.now = max(call.ended_at for call in calls) + timedelta(hours=1)

    total, window = Report(), timedelta(minutes=7)
    for day in sorted({call.started_at.date() for call in calls}):  # they were not all recorded on one
        moment = min(call.started_at for call in calls if call.started_at.date() == day) - window
        end = max(call.ended_at for call in calls if call.started_at.date() == day) + window
        while moment < end:
            total += await office.recovery.recover(moment, moment + window)
            moment += window

    assert {call.linkedid for call in await office.calls()} == expected
    assert not [call for call in await office.calls() if call.partial]
    assert total.stored == len(expected)
    assert total.corrected == 0
