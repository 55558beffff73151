"""From CDR alone: less, but nothing false about who called whom and whether they talked."""

import json
from collections import Counter
from datetime import UTC
from pathlib import Path

import pytest

from vochi_agent.asterisk.cdr import CdrRow, cdr_row, read_cdr
from vochi_agent.asterisk.cdr_calls import calls_of
from vochi_agent.asterisk.clock import PrintedTimes
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, Direction, Status
from vochi_agent.config import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ROOM = "conference"
NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/cdr.csv") if path.parent.name != ROOM)
LAYOUT = Layout(load(SCENARIOS / "lab.toml").enterprises[0])
# What CDR has no column for: who gave up, that a phone declined or never rang, who rang and did not pick up.
REASONS = {
    "inbound-caller-hangup-while-ringing": "no_answer",
    "inbound-declined": "no_answer",
    "inbound-unreachable": "no_answer",
    "outbound-caller-cancels": "no_answer",
    "outbound-wrong-number": "no_answer",
}


def rows_of(name: str) -> list[CdrRow]:
    with (SCENARIOS / name / "cdr.csv").open() as lines:
        return list(read_cdr(lines, PrintedTimes(UTC), Counter()))


def read(name: str) -> list[Call]:
    return calls_of(rows_of(name), LAYOUT)


@pytest.mark.parametrize("name", NAMES)
def test_cdr_alone_gives_the_calls_and_their_verdicts(name):
    expected = json.loads((SCENARIOS / name / "expected.json").read_text())

    calls = read(name)

    assert len(calls) == len(expected)
    for call, facts in zip(calls, expected, strict=True):
        record = call.as_json()
        wanted = {key: facts[key] for key in ("direction", "status", "phone", "line", "first_agent", "path")}
        wanted["reason"] = REASONS.get(name, facts["reason"])
        assert {key: record[key] for key in wanted} == wanted
        assert (record["source"], record["partial"]) == ("recovery", True)
        # Of an answering queue, a consultation, an originated leg the row does not say when people talked.
        assert record["talk_seconds"] == pytest.approx(facts["talk_seconds"], abs=1.6)
        assert record["wait_seconds"] + record["talk_seconds"] <= (call.ended_at - call.started_at).seconds + 1


def test_of_two_customers_in_a_room_cdr_knows_one_conversation_and_nobody_is_said_to_have_dialled_the_other():
    """The row of who left last pairs 104, who had come by himself, with the second customer's trunk."""
    calls = [(call.direction, call.phone, call.status, call.path) for call in read(ROOM)]

    assert calls == [
        (Direction.IN, "+375290000002", Status.MISSED, ()),
        (Direction.IN, "+375290000001", Status.ANSWERED, ("104",)),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_without_linkedids_the_calls_are_the_same(name):
    """As cdr_csv writes them; FreePBX's queues dial Local channels, which have uniqueids of their own."""
    rows = [row._replace(linkedid=row.uniqueid) for row in rows_of(name)]

    assert calls_of(rows, LAYOUT) == read(name)


def test_a_local_channel_of_the_same_name_belongs_to_the_call_of_its_own_day():
    """Names of channels begin anew with Asterisk."""
    rows = rows_of("inbound-queue-local-members")
    later = [row._replace(start=row.start + 86400, answer=row.answer and row.answer + 86400, end=row.end + 86400,
                          uniqueid=f"9{row.uniqueid}", linkedid=f"9{row.uniqueid}") for row in rows]  # fmt: skip
    today, tomorrow = calls_of([*(row._replace(linkedid=row.uniqueid) for row in rows), *later], LAYOUT)

    assert today.path == tomorrow.path == ("101",)


def test_rows_that_were_dialled_by_one_another_end_nowhere():
    """No Asterisk writes that."""
    template = rows_of("inbound-queue-local-members")[0]
    pairs = [("Local/1@x-01;2", "Local/2@x-02;1"), ("Local/2@x-02;2", "Local/1@x-01;1")]
    rows = [template._replace(channel=one, dstchannel=two, uniqueid=one, linkedid=one) for one, two in pairs]

    assert calls_of(rows, LAYOUT) == []


def test_a_master_csv_without_a_header_is_read_too():
    """cdr_csv writes no linkedid unless it is asked for: the uniqueid of the customer's channel stands for it."""
    line = (
        '"","375290000001","0001","did","""Иван"" <375290000001>","PJSIP/trunk-00000000","PJSIP/101-00000001","Dial",'
        '"PJSIP/101,20,tT","2026-11-20 13:24:04","2026-11-20 13:24:05","2026-11-20 13:24:07",3,2,"ANSWERED",'
        '"DOCUMENTATION","1795170244.0",""\n'
    )
    call = calls_of(read_cdr([line], PrintedTimes(UTC), Counter()), LAYOUT)[0]

    assert (call.linkedid, call.phone, call.path, call.talk_seconds) == ("1795170244.0", "+375290000001", ("101",), 2.0)
    assert call.started_at.isoformat() == "2026-11-20T10:24:04+00:00"  # the uniqueid shows that the box is at +3


def test_freepbx_tables_say_when_a_call_began_and_how_long_it_was():
    row = cdr_row(
        {
            "calldate": "2026-11-20 10:24:04", "src": "375290000001", "dst": "s", "channel": "PJSIP/trunk-00000000",
            "dstchannel": "PJSIP/101-00000001", "lastapp": "Dial", "lastdata": "PJSIP/101", "duration": "9",
            "billsec": "5", "disposition": "ANSWERED", "uniqueid": "1795170244.0", "linkedid": "1795170244.0",
            "did": "375172000000",
        },
        PrintedTimes(UTC),
    )  # fmt: skip
    assert row is not None

    assert (row.start, row.answer, row.end, row.did) == (1795170244, 1795170248, 1795170253, "375172000000")


def test_whom_we_called_stays_the_customer_when_he_is_handed_on_outside():
    """Rows as Asterisk 22.10 writes them of a blind transfer to another number."""
    columns = ("channel", "dstchannel", "dst", "start", "answer", "end", "uniqueid")
    legs = [
        ("PJSIP/111-00", "PJSIP/trunk-01", "80290000310", "23:22:06", "23:22:06", "23:22:08", "1795303326.0"),
        ("PJSIP/trunk-01", "PJSIP/trunk-02", "80290000394", "23:22:08", "23:22:08", "23:22:11", "1795303326.1"),
    ]
    rows = [
        cdr_row(
            dict(zip(columns, leg, strict=True))
            | {column: f"2026-11-21 {leg[columns.index(column)]}" for column in ("start", "answer", "end")}
            | {"src": "111", "lastapp": "Dial", "lastdata": f"PJSIP/{leg[2]}@trunk,4", "disposition": "ANSWERED"}
            | {"linkedid": "1795303326.0"},
            PrintedTimes(UTC),
        )
        for leg in legs
    ]

    (call,) = calls_of([row for row in rows if row is not None], LAYOUT)

    assert (call.direction, call.phone, call.path) == (Direction.OUT, "+375290000310", ("111",))
    assert call.talk_seconds == 5.0


@pytest.mark.parametrize("line", ["", "\0", "a,b,c\n", '"' * 50, "," * 40, '"x",' * 13 + '"ANSWERED"\n'])
def test_what_is_no_row_is_passed_over(line):
    good = (SCENARIOS / "inbound-answered" / "cdr.csv").read_text().splitlines(keepends=True)

    assert len(calls_of(read_cdr([*good, line], PrintedTimes(UTC), Counter()), LAYOUT)) == 1
