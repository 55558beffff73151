"""CEL rows are data from outside: whatever stands in the file, the good rows around it are read."""

from collections import Counter
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.asterisk.cel import read_text

SCENARIO = Path(__file__).parents[2] / "scenarios" / "inbound-answered" / "cel.csv"
LINES = SCENARIO.read_text(encoding="utf-8").splitlines(keepends=True)
ROWS = LINES[1:]


def read(*lines: str) -> tuple[list[str], Counter[str]]:
    problems: Counter[str] = Counter()
    return [row.event for row in read_text(lines, UTC, problems)], problems


EVENTS = [row.event for row in read_text(LINES, UTC, Counter())]


def test_the_scenario_is_read_whole():
    assert EVENTS[0] == "CHAN_START"
    assert len(EVENTS) == len(ROWS)


@pytest.mark.parametrize("cut", range(1, len(ROWS[0]) - 1))
def test_a_row_that_was_torn_costs_itself_only(cut):
    """Power was lost while it was written; the next row follows on the next line."""
    events, _ = read(ROWS[0][:cut] + "\n", *ROWS[1:])

    assert events[-len(ROWS) + 1 :] == EVENTS[1:]


@pytest.mark.parametrize("cut", range(1, len(ROWS[0]) - 1))
def test_a_torn_row_that_the_next_one_continues_costs_that_one_at_most(cut):
    """Asterisk died in the middle of a line; the one that came after it went on there."""
    events, _ = read(ROWS[0][:cut] + ROWS[1], *ROWS[2:])

    assert events[-len(ROWS) + 2 :] == EVENTS[2:]


def test_a_row_that_is_being_written_waits():
    events, problems = read(*ROWS[:-1], ROWS[-1][:-8])

    assert events == EVENTS[:-1]
    assert problems["torn row"]


def test_a_last_line_without_its_end_is_read_when_nothing_is_missing():
    assert read(*ROWS[:-1], ROWS[-1].rstrip("\n"))[0] == EVENTS


@pytest.mark.parametrize("time", ["nan", "inf", "-1", "1e300", "", "yesterday", "0001-01-01 00:00:00", "9" * 400])
def test_a_row_without_a_time_is_counted(time):
    events, problems = read(ROWS[0].replace("1795170244.448676", time), *ROWS[1:])

    assert events == EVENTS[1:]
    assert sum(problems.values()) == 1


@pytest.mark.parametrize("extra", ["{", "[]", "[" * 100_000, '{"hangupcause":true}', "null", "\0\0"])
def test_an_extra_that_is_no_object_says_nothing(extra):
    quoted = '"' + extra.replace('"', '""') + '"'
    events, _ = read(ROWS[0].rstrip("\n").removesuffix('""') + quoted + "\n", *ROWS[1:])

    assert events == EVENTS


def test_a_huge_field_and_zero_bytes_cost_their_row_at_most():
    events, _ = read(ROWS[0].replace("375290000001", "9" * 200_000), *ROWS[1:2], ROWS[2].replace("101", "1\0001"))

    assert events == EVENTS[1:3]


@given(st.lists(st.text(max_size=80), max_size=8))
def test_any_text_between_the_rows_is_passed_over(junk):
    lines = [f"{text}\n" for text in junk]
    events, _ = read(*lines, *ROWS)

    assert events[-len(EVENTS) :] == EVENTS
