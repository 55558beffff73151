"""The rules of the ledger without a database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.calls import NOON, answered, internal, missed
from vochi_agent.calls.ledger import Counts, corrected, counts, customer_phone, free_linkedid, same_call
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (answered(), Counts(total_in=1, answered_in=1)),
        (missed(), Counts(total_in=1, missed_in=1)),
        (missed(reason=Reason.BLOCKED), Counts(total_in=1, missed_in=1)),
        (missed(status=Status.UNKNOWN, reason=Reason.UNKNOWN_END), Counts(total_in=1, missed_in=1)),
        (answered(direction=Direction.OUT), Counts(total_out=1, answered_out=1)),
        (missed(direction=Direction.OUT), Counts(total_out=1, missed_out=1)),
        (answered(phone=None), Counts()),
        (internal(), Counts()),
        (internal(phone="+375290000011"), Counts()),
        (answered(direction=Direction.UNKNOWN), Counts()),
    ],
)
def test_what_a_call_counts(call: Call, expected: Counts) -> None:
    assert counts(call) == expected


def test_an_internal_call_has_no_customer() -> None:
    assert customer_phone(internal(phone="+375290000011")) is None
    assert customer_phone(answered()) == "+375290000011"


@pytest.mark.parametrize(("minutes", "same"), [(0, True), (60, True), (-60, True), (61, False), (-61, False)])
def test_a_linkedid_repeats_itself_after_an_hour(minutes: int, same: bool) -> None:
    assert same_call(answered(), answered(started_at=NOON + timedelta(minutes=minutes))) is same


def test_a_partial_record_that_overlaps_is_the_same_call() -> None:
    whole = answered(ended_at=NOON + timedelta(hours=3))
    middle = answered(started_at=NOON + timedelta(hours=2))

    assert same_call(whole, replace(middle, partial=True))
    assert not same_call(whole, middle)
    assert not same_call(whole, answered(started_at=NOON + timedelta(hours=4), partial=True))


def test_repeated_linkedids_are_numbered() -> None:
    assert free_linkedid("1.1", []) == "1.1"
    assert free_linkedid("1.1", ["1.1"]) == "1.1~2"
    assert free_linkedid("1.1", ["1.1", "1.1~2"]) == "1.1~3"


RANKED = [
    missed(partial=True, source=Source.RECOVERY),
    missed(partial=True, source=Source.LIVE),
    answered(source=Source.RECOVERY),
    answered(source=Source.LIVE),
]


@pytest.mark.parametrize("worse", range(len(RANKED)))
@pytest.mark.parametrize("better", range(len(RANKED)))
def test_the_better_record_stays_whatever_the_order(worse: int, better: int) -> None:
    best = RANKED[max(worse, better)]

    assert corrected(RANKED[worse], RANKED[better]) == best
    assert corrected(RANKED[better], RANKED[worse]) == best


def test_between_equals_the_later_record_is_a_correction() -> None:
    assert corrected(answered(), answered(last_agent="152")).last_agent == "152"


def test_a_recording_once_known_stays_and_the_stored_linkedid_too() -> None:
    stored = answered(linkedid="1.1~2", recording="a.wav")

    assert corrected(stored, answered(linkedid="1.1")) == stored
