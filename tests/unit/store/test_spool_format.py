"""The lines of the spool: nothing is lost on the way to the disk and back, and damage is noticed."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import answered, missed
from vochi_agent.calls.evidence import LegEvidence, LegRole, StayEvidence
from vochi_agent.calls.model import Call, CallFinished, CallMerged
from vochi_agent.store.spool_format import decode, encode, framed, unframed

# Numbers and ids come from telephone lines: newlines, NULs and lone surrogates included.
HOSTILE = st.text(st.characters(exclude_categories=()), max_size=12)
# Fixed offsets: a moment that a clock change skips or repeats equals nothing in another zone (PEP 495).
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS)  # noqa: DTZ001
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
LEGS = st.builds(
    LegEvidence,
    endpoint=HOSTILE,
    extension=HOSTILE,
    role=st.sampled_from(LegRole),
    entered=st.booleans(),
    started=SECONDS,
    rang=st.none() | SECONDS,
    dial_status=HOSTILE,
    stays=st.lists(st.builds(StayEvidence, HOSTILE, SECONDS, st.none() | SECONDS), max_size=3).map(tuple),
)
CALLS = st.builds(
    Call,
    enterprise_number=HOSTILE,
    linkedid=HOSTILE,
    phone=st.none() | HOSTILE,
    raw_number=HOSTILE,
    line=st.none() | HOSTILE,
    started_at=MOMENTS,
    answered_at=st.none() | MOMENTS,
    ended_at=MOMENTS,
    wait_seconds=st.floats(allow_nan=False),
    talk_seconds=st.floats(allow_nan=False),
    first_agent=st.none() | HOSTILE,
    last_agent=st.none() | HOSTILE,
    path=st.lists(HOSTILE, max_size=4).map(tuple),
    rung=st.lists(HOSTILE, max_size=4).map(tuple),
    recording=st.none() | HOSTILE,
    evidence=st.lists(LEGS, max_size=3).map(tuple),
)
ENTRIES = st.builds(CallFinished, CALLS) | st.builds(
    CallMerged, enterprise_number=HOSTILE, linkedid=HOSTILE, into=HOSTILE
)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: CallFinished | CallMerged) -> None:
    line = encode(entry)

    found = decode(line)
    assert found == entry
    if isinstance(found, CallFinished) and isinstance(entry, CallFinished):
        assert found.call.evidence == entry.call.evidence  # which is no part of being equal
    assert line.index(b"\n") == len(line) - 1


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_is_noticed(place: int, bit: int) -> None:
    line = bytearray(encode(CallFinished(answered())))
    line[place % (len(line) - 1)] ^= 1 << bit

    with pytest.raises(ValueError, match="checksum"):
        decode(bytes(line))


@given(st.integers(min_value=0))
def test_a_torn_line_is_noticed(length: int) -> None:
    line = encode(CallFinished(missed()))

    with pytest.raises(ValueError, match="checksum"):
        decode(line[: length % (len(line) - 1)])


def test_a_time_of_another_zone_is_kept_as_the_same_moment() -> None:
    minsk = answered().started_at.astimezone(timezone(timedelta(hours=3))) + timedelta(microseconds=1)
    entry = decode(encode(CallFinished(answered(started_at=minsk))))

    assert isinstance(entry, CallFinished)
    assert entry.call.started_at == minsk


def test_a_line_of_another_version_is_read() -> None:
    values = unframed(encode(CallFinished(answered(recording="a.wav"))))
    del values["finished"]["recording"], values["finished"]["source"]
    values["finished"]["unheard_of"] = [1]

    assert decode(framed(values)) == CallFinished(answered())


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"finished": None},
        {"finished": {}},
        {"merged": {"linkedid": 1}},
        {"finished": {**json.loads(encode(CallFinished(answered()))[9:])["finished"], "status": "sleeping"}},
        {"finished": {**json.loads(encode(CallFinished(answered()))[9:])["finished"], "path": None}},
    ],
)
def test_what_is_no_call_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no call|neither|not a valid"):
        decode(framed(values))
