"""What was not watched, by arithmetic."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.calls.watched import Gap, Span, gaps_between, joined

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LAST = 60

spans_of_minutes = st.lists(
    st.tuples(st.integers(0, LAST), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=12
)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def span(pair: tuple[int, int]) -> Span:
    return Span(at(pair[0]), at(pair[1]))


def halves(pairs: list[tuple[int, int]]) -> set[int]:
    """The minutes that lie wholly inside some span."""
    return {minute for since, until in pairs for minute in range(since, until)}


@given(spans_of_minutes, st.integers(0, LAST + 12))
def test_gaps_are_the_minutes_that_no_span_covers(pairs, horizon):
    """From the first span to the horizon, each uncovered minute is in exactly one gap, and no other is."""
    found = gaps_between(map(span, pairs), at(horizon))

    first = min((since for since, _ in pairs), default=horizon)
    uncovered = set(range(min(first, horizon), horizon)) - halves(pairs)
    minutes = [
        minute
        for gap in found
        for minute in range(round((gap.since - START).seconds / 60), round((gap.until - START).seconds / 60))
    ]
    assert sorted(minutes) == sorted(uncovered)
    assert all(gap.length > timedelta(0) for gap in found)
    assert found == sorted(found)


@given(spans_of_minutes, st.integers(0, LAST + 12))
def test_closing_every_gap_leaves_none(pairs, horizon):
    spans = [span(pair) for pair in pairs]
    closed = [Span(gap.since, gap.until) for gap in gaps_between(spans, at(horizon))]

    assert gaps_between(spans + closed, at(horizon)) == []


@given(spans_of_minutes, st.integers(0, 5))
def test_joining_keeps_what_is_covered(pairs, within):
    """Joined spans cover the old ones and stand further apart than what was joined."""
    found = joined(map(span, pairs), within=timedelta(minutes=within))

    assert all(any(one.since <= span(pair).since and span(pair).until <= one.until for one in found) for pair in pairs)
    assert all(two.since - one.until > timedelta(minutes=within) for one, two in itertools.pairwise(found))
    if not within:
        assert gaps_between(found, at(99)) == gaps_between(map(span, pairs), at(99))


def test_nothing_is_missing_before_the_first_span():
    assert gaps_between([], at(5)) == []
    assert gaps_between([span((10, 20))], at(5)) == []


def test_the_time_after_the_last_span_is_a_gap():
    assert gaps_between([span((0, 10)), span((4, 6))], at(12)) == [Gap(at(10), at(12))]
