"""The ledger of watched time in real PostgreSQL."""

from datetime import timedelta

from tests.support.calls import answered
from tests.support.pbx_records import utc
from tests.support.renderers import no_cards
from vochi_agent.calls.model import Source
from vochi_agent.calls.watched import Gap, Span
from vochi_agent.store.postgres import PostgresStore

NOON = utc("12:00:00")
MINUTE = timedelta(minutes=1)


async def test_what_was_not_watched_is_a_gap_until_it_is_closed(store: PostgresStore):
    watched = store.watched
    assert await watched.complete_until("0901") is None
    first = await watched.open_span("0901", NOON)
    assert await watched.advance(first, NOON + 5 * MINUTE)
    second = await watched.open_span("0901", NOON + 9 * MINUTE)
    assert await watched.advance(second, NOON + 20 * MINUTE)

    gap = Gap(NOON + 5 * MINUTE, NOON + 9 * MINUTE)
    assert await watched.gaps("0901", NOON + 20 * MINUTE) == [gap]
    assert await watched.complete_until("0901") == gap.since
    for _ in range(2):
        await watched.close_gap("0901", gap.since, gap.until)
    assert await watched.gaps("0901", NOON + 20 * MINUTE) == []
    assert await watched.complete_until("0901") == NOON + 20 * MINUTE
    assert await watched.gaps("0902", NOON + 20 * MINUTE) == []


async def test_a_span_never_goes_back_and_is_opened_once(store: PostgresStore):
    span = await store.watched.open_span("0901", NOON)
    await store.watched.advance(span, NOON + 5 * MINUTE)

    assert await store.watched.open_span("0901", NOON) == span
    assert await store.watched.advance(span, NOON + MINUTE)
    assert await store.watched.complete_until("0901") == NOON + 5 * MINUTE
    assert await store.watched.advance(span + 99, NOON) is False


async def test_old_rows_are_joined_and_say_the_same(store: PostgresStore):
    """A PBX that comes and goes every minute; after a week its rows are few, and the same gaps are there."""
    for minute in range(0, 60, 2):
        span = await store.watched.open_span("0901", NOON + minute * MINUTE)
        await store.watched.advance(span, NOON + (minute + 1) * MINUTE)
        if minute != 30:
            await store.watched.close_gap("0901", NOON + (minute + 1) * MINUTE, NOON + (minute + 2) * MINUTE)
    later = NOON + timedelta(days=8)
    before = await store.watched.gaps("0901", later)

    await store.watched.open_span("0901", later)

    assert await store.watched.gaps("0901", later) == before
    assert before == [Gap(NOON + 31 * MINUTE, NOON + 32 * MINUTE), Gap(NOON + 60 * MINUTE, later)]
    assert await store.watched.advance(span, later) is False
    assert len(await store.watched._spans("0901")) == 3


async def test_calls_that_were_seen_in_part_are_remembered(store: PostgresStore):
    whole, part = answered(linkedid="1.1"), answered(linkedid="1.2", partial=True)
    old = answered(linkedid="1.3", partial=True, started_at=part.started_at - timedelta(days=2))
    recovered = answered(linkedid="1.4", partial=True, source=Source.RECOVERY)
    for call in (whole, part, old, recovered):
        await store.calls.record(call, no_cards)

    since = part.started_at - timedelta(days=1)
    assert await store.watched.partial_calls("0901", since) == [Span(part.started_at, part.ended_at)]
    assert await store.watched.known("0901", ["1.1", "1.9"]) == {"1.1"}
