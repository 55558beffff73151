"""CallLedger against real PostgreSQL: one call, one count, whatever happens."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from tests.support.calls import NOON, answered, internal, missed
from tests.support.renderers import no_cards
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status
from vochi_agent.customers.model import Customer, History, Names, Profile
from vochi_agent.ports import CardDraft, Recorded
from vochi_agent.store import database
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

PHONE = "+375290000011"
OTHER = "+375290000022"
MINUTE = timedelta(minutes=1)


def name_card(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
    """A card that shows everything a renderer is given."""
    name = customer.names.display if customer else "-"
    earlier = before.calls_total_in if before else "-"
    return [CardDraft(chat_id=-100, topic=0, text=f"{call.status}|{name}|{earlier}", silent=False)]


async def customer(store: PostgresStore, phone: str = PHONE) -> Customer:
    found = await store.customers.customer("0901", phone)
    assert found is not None
    return found


async def card_texts(store: PostgresStore) -> list[tuple[str, int]]:
    return [(card.text, card.revision) for card in (await store.cards.work("0901", -100)).open]


async def test_an_answered_call_makes_the_customer(store: PostgresStore) -> None:
    call = answered()

    assert await store.calls.record(call, no_cards) == Recorded(inserted=True, changed=True)
    assert await store.reports.call(call.linkedid) == call
    row = await customer(store)
    assert row.history == History(
        calls_total_in=1,
        calls_answered_in=1,
        last_call_at=call.ended_at,
        last_call_direction="in",
        last_call_status="answered",
        last_success_at=call.ended_at,
        last_agent_internal="151",
        last_line="0001701",
    )
    assert (row.first_seen_at, row.last_seen_at) == (call.started_at, call.ended_at)


async def test_a_missed_call_keeps_who_talked_last(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(missed(linkedid="1.2", started_at=NOON + 5 * MINUTE, line=""), no_cards)

    history = (await customer(store)).history
    assert (history.calls_total_in, history.calls_answered_in, history.calls_missed_in) == (2, 1, 1)
    assert (history.last_call_status, history.last_agent_internal, history.last_line) == ("missed", "151", "0001701")
    assert history.last_success_at == NOON + timedelta(seconds=67)


async def test_outgoing_calls_count_apart(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(
        missed(linkedid="1.2", direction=Direction.OUT, reason=Reason.CANCELLED, started_at=NOON + MINUTE * 5), no_cards
    )

    history = (await customer(store)).history
    assert (history.calls_total_in, history.calls_total_out, history.calls_missed_out) == (1, 1, 1)
    assert history.last_call_direction == "out"


async def test_an_exact_repetition_changes_nothing(store: PostgresStore) -> None:
    await store.calls.record(answered(), name_card)
    before = await customer(store)

    assert await store.calls.record(answered(), name_card) == Recorded(inserted=False, changed=False)
    assert await customer(store) == before
    assert await card_texts(store) == [("answered||0", 1)]


async def test_a_correction_changes_the_counters_by_the_difference(store: PostgresStore) -> None:
    await store.calls.record(missed(), no_cards)

    assert await store.calls.record(answered(), no_cards) == Recorded(inserted=False, changed=True)
    history = (await customer(store)).history
    assert (history.calls_total_in, history.calls_answered_in, history.calls_missed_in) == (1, 1, 0)
    assert history.last_agent_internal == "151"


async def test_a_corrected_number_moves_the_call_to_the_other_customer(store: PostgresStore) -> None:
    await store.calls.record(answered(), no_cards)
    await store.calls.record(answered(phone=OTHER), no_cards)

    old, new = await customer(store), await customer(store, OTHER)
    assert old.history == History()
    assert (old.first_seen_at, old.last_seen_at) == (None, None)
    assert new.history.calls_answered_in == 1


async def test_hidden_callers_and_internal_calls_have_no_customer(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1", phone=None, raw_number="anonymous"), no_cards)
    await store.calls.record(internal(linkedid="1.2"), no_cards)

    assert len(await store.reports.calls(CallFilter())) == 2
    assert await store.customers.customer("0901", PHONE) is None


async def test_an_older_call_that_arrives_late_does_not_become_the_last(store: PostgresStore) -> None:
    newest = missed(linkedid="1.9", started_at=NOON + 60 * MINUTE)
    await store.calls.record(newest, no_cards)
    await store.calls.record(answered(linkedid="1.1", source=Source.RECOVERY), no_cards)

    row = await customer(store)
    assert (row.history.last_call_at, row.history.last_call_status) == (newest.ended_at, "missed")
    assert (row.history.last_agent_internal, row.history.last_success_at) == ("151", NOON + timedelta(seconds=67))
    assert (row.first_seen_at, row.last_seen_at) == (NOON, newest.ended_at)
    assert row.history.calls_total_in == 2


async def test_a_linkedid_that_comes_again_hours_later_is_another_call(store: PostgresStore) -> None:
    for hours in (0, 2, 4):
        await store.calls.record(answered(started_at=NOON + timedelta(hours=hours)), no_cards)
    repeated = await store.calls.record(answered(started_at=NOON + timedelta(hours=2)), no_cards)

    linkedids = [call.linkedid for call in await store.reports.calls(CallFilter())]
    assert linkedids == ["1795165024.84~3", "1795165024.84~2", "1795165024.84"]
    assert repeated == Recorded(inserted=False, changed=False)
    assert (await customer(store)).history.calls_total_in == 3


async def test_a_partial_record_from_the_middle_of_a_long_call_is_the_same_call(store: PostgresStore) -> None:
    whole = answered(source=Source.RECOVERY, ended_at=NOON + timedelta(hours=3))
    seen = replace(whole, started_at=NOON + timedelta(hours=2), source=Source.LIVE, partial=True)
    await store.calls.record(seen, no_cards)
    await store.calls.record(whole, no_cards)

    assert await store.reports.calls(CallFilter()) == [whole]


async def test_a_poorer_record_does_not_spoil_a_better_one(store: PostgresStore) -> None:
    await store.calls.record(answered(), no_cards)
    recovered = answered(source=Source.RECOVERY, rung=(), reason=Reason.TALKED)
    partial = missed(partial=True, reason=Reason.UNKNOWN_END, status=Status.UNKNOWN)

    assert await store.calls.record(recovered, no_cards) == Recorded(inserted=False, changed=False)
    assert await store.calls.record(partial, no_cards) == Recorded(inserted=False, changed=False)
    assert await store.reports.call("1795165024.84") == answered()


async def test_a_recovered_record_mends_a_partial_one(store: PostgresStore) -> None:
    unknown = missed(partial=True, reason=Reason.UNKNOWN_END, status=Status.UNKNOWN, recording="a.wav")
    await store.calls.record(unknown, no_cards)
    assert (await customer(store)).history.calls_missed_in == 1
    await store.calls.record(answered(source=Source.RECOVERY), no_cards)

    assert await store.reports.call("1795165024.84") == answered(source=Source.RECOVERY, recording="a.wav")
    history = (await customer(store)).history
    assert (history.calls_answered_in, history.calls_missed_in) == (1, 0)


async def test_a_call_that_is_part_of_another_counts_no_more(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(answered(linkedid="1.2", started_at=NOON + MINUTE), no_cards)

    assert await store.calls.merge("0901", "1.2", "1.1") is True
    assert await store.calls.merge("0901", "1.2", "1.1") is False
    await store.calls.record(missed(linkedid="1.2", started_at=NOON + MINUTE), name_card)
    assert (await customer(store)).history.calls_total_in == 1
    assert (await customer(store)).history.last_call_at == NOON + timedelta(seconds=67)
    assert [call.linkedid for call in await store.reports.calls(CallFilter())] == ["1.1"]
    assert await card_texts(store) == []


async def test_the_card_shows_the_counters_before_the_call(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(missed(linkedid="1.2", started_at=NOON + MINUTE * 5), name_card)

    assert await card_texts(store) == [("missed||1", 1)]


async def test_a_correction_shows_the_counters_the_card_had_at_first(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(missed(linkedid="1.2", started_at=NOON + MINUTE * 5), name_card)
    await store.calls.record(answered(linkedid="1.3", started_at=NOON + MINUTE * 9), no_cards)
    await store.calls.record(answered(linkedid="1.2", started_at=NOON + MINUTE * 5), name_card)

    assert await card_texts(store) == [("answered||1", 2)]


async def test_a_correction_of_a_call_without_cards_counts_what_was_before_it(store: PostgresStore) -> None:
    shown: list[History | None] = []

    def render(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
        shown.append(before)
        return ()

    await store.calls.record(answered(linkedid="1.1", started_at=NOON), no_cards)
    second = missed(linkedid="1.2", started_at=NOON + MINUTE * 2, line="", direction=Direction.OUT)
    await store.calls.record(second, no_cards)
    known = (await customer(store)).history
    await store.calls.record(missed(linkedid="1.3", started_at=NOON + MINUTE * 4), no_cards)
    await store.calls.record(answered(linkedid="1.4", started_at=NOON + MINUTE * 6), no_cards)
    await store.calls.record(answered(linkedid="1.3", started_at=NOON + MINUTE * 4), render)

    assert shown == [known]
    assert (known.calls_total_out, known.last_line, known.last_agent_internal) == (1, "0001701", "151")


async def test_a_name_that_arrives_late_rewrites_the_card(store: PostgresStore) -> None:
    await store.calls.record(missed(), name_card)
    profile = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Тестов", first_name="Тест"))
    await store.customers.enrich("0901", PHONE, profile, primary=True)

    assert await store.calls.refresh_cards("0901", "1795165024.84", name_card) == 1
    assert await store.calls.refresh_cards("0901", "1795165024.84", name_card) == 0
    assert await store.calls.refresh_cards("0901", "no such call", name_card) == 0
    assert await card_texts(store) == [("missed|Тестов Тест|0", 2)]


async def test_a_renderer_that_fails_stores_nothing(store: PostgresStore) -> None:
    def broken(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await store.calls.record(answered(), broken)

    assert await store.reports.calls(CallFilter()) == []
    assert await store.customers.customer("0901", PHONE) is None


async def test_hostile_text_is_stored_as_far_as_it_can_be(store: PostgresStore) -> None:
    hostile = answered(raw_number="'; DROP TABLE calls; --\0\udc80", line="0001701\0", path=("1\0", "'{\"}"))
    await store.calls.record(hostile, no_cards)

    stored = await store.reports.call(hostile.linkedid)
    assert stored is not None
    assert (stored.raw_number, stored.line, stored.path) == ("'; DROP TABLE calls; --?", "0001701", ("1", "'{\"}"))
    assert await store.calls.record(hostile, no_cards) == Recorded(inserted=False, changed=False)


async def test_the_reports_filter_and_order(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1"), no_cards)
    await store.calls.record(missed(linkedid="1.2", started_at=NOON + MINUTE), no_cards)
    await store.calls.record(answered(linkedid="1.3", phone=OTHER, started_at=NOON + MINUTE * 2), no_cards)

    async def listed(wanted: CallFilter) -> list[str]:
        return [call.linkedid for call in await store.reports.calls(wanted)]

    assert await listed(CallFilter()) == ["1.3", "1.2", "1.1"]
    assert await listed(CallFilter(missed=True)) == ["1.2"]
    assert await listed(CallFilter(since=NOON + MINUTE, limit=1)) == ["1.3"]
    assert await listed(CallFilter(phone=PHONE)) == ["1.2", "1.1"]
    assert await listed(CallFilter(enterprise_number="0902")) == []
    top = await store.reports.top(NOON, limit=10)
    assert [(each.customer.phone_e164, each.calls) for each in top] == [(PHONE, 2), (OTHER, 1)]
    assert (await store.reports.server_version()).split(".")[0] in {"15", "18"}


async def test_lists_for_people_may_take_longer_than_what_calls_wait_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger of years is read through, from its disk; here somebody is in the way."""
    monkeypatch.setitem(database.SERVER_SETTINGS, "statement_timeout", "100ms")
    other = await asyncpg.connect(dsn)
    async with PostgresStore(dsn) as store:
        async with other.transaction():
            await other.execute("LOCK TABLE calls, customers")
            asked = [
                asyncio.create_task(asking)
                for asking in (
                    store.reports.calls(CallFilter(missed=True)),
                    store.reports.top(NOON, limit=3),
                    store.reports.count_nameless("0901"),
                )
            ]
            await asyncio.wait(asked, timeout=0.4)
        await other.close()

        assert await asyncio.gather(*asked) == [[], [], 0]
