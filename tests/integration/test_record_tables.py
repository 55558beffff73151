"""CEL and CDR in tables: real PostgreSQL with the tables of Asterisk's own manual, real rows."""

import csv
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from tests.support.pbx_records import LAYOUT, SCENARIOS, cel_lines, live_calls, utc
from tests.support.renderers import no_cards
from vochi_agent.asterisk.cdr_sources import CdrFile, CdrTable, open_cdr
from vochi_agent.asterisk.cel import COLUMNS
from vochi_agent.asterisk.cel_sources import CelFile, CelTable, open_cel
from vochi_agent.calls.model import Call
from vochi_agent.errors import RecordsUnavailable
from vochi_agent.recovery import CallRecords, Recovery, Report
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

THREE = ("inbound-answered", "inbound-noanswer", "outbound-answered")
SINCE, UNTIL = utc("10:24:00"), utc("10:34:00")
MINSK = timezone(timedelta(hours=3))
# FreePBX's columns; the type of `eventtime` is filled in.
CEL_TABLE = """
CREATE TABLE cel (
    id serial PRIMARY KEY, eventtype varchar(30), eventtime {kind}, cid_name varchar(80), cid_num varchar(80),
    cid_ani varchar(80), cid_rdnis varchar(80), cid_dnid varchar(80), exten varchar(80), context varchar(80),
    channame varchar(80), appname varchar(80), appdata varchar(255), amaflags int, accountcode varchar(20),
    uniqueid varchar(32), linkedid varchar(32), peer varchar(80), userdeftype varchar(255), extra text
)
"""
CDR_TABLE = """
CREATE TABLE cdr (
    calldate timestamp, clid varchar(80), src varchar(80), dst varchar(80), dcontext varchar(80), channel varchar(80),
    dstchannel varchar(80), lastapp varchar(80), lastdata varchar(80), duration int, billsec int,
    disposition varchar(45), amaflags int, accountcode varchar(20), uniqueid varchar(32), linkedid varchar(32)
)
"""
_TEXTS = {"eventtype": "EventType", "cid_num": "CIDnum", "exten": "Exten", "channame": "ChanName", "appname": "AppName",
          "appdata": "AppData", "uniqueid": "UniqueID", "linkedid": "LinkedID", "userdeftype": "UserDefType",
          "extra": "EventExtra"}  # fmt: skip


async def fill_cel(dsn: str, kind: str, printed_in: timezone | None) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(CEL_TABLE.format(kind=kind))
    marks = ", ".join(f"${number + 2}" for number in range(len(_TEXTS)))
    for fields in csv.reader(cel_lines(*THREE)):
        row = dict(zip(COLUMNS, fields, strict=True))
        moment = datetime.fromtimestamp(float(row["EventTime"]), printed_in or UTC)
        printed = moment if printed_in is None else moment.replace(tzinfo=None)
        await connection.execute(
            f"INSERT INTO cel (eventtime, {', '.join(_TEXTS)}) VALUES ($1, {marks})",
            printed,
            *(row[column] for column in _TEXTS.values()),
        )
    await connection.close()


async def recovered(store: PostgresStore, records: CallRecords) -> tuple[Report, list[Call]]:
    recovery = Recovery(lambda: LAYOUT, records, store.calls, store.watched, render=no_cards, clock=lambda: UNTIL)
    report = await recovery.recover(SINCE, UNTIL)
    return report, (await store.reports.calls(CallFilter()))[::-1]


@pytest.mark.parametrize(
    ("kind", "printed_in"),
    [("timestamp", UTC), ("timestamp", MINSK), ("timestamp", timezone(timedelta(hours=-8))), ("timestamptz", None)],
    ids=["utc", "minsk", "los angeles", "with zone"],
)
async def test_a_table_gives_what_the_file_gives(store: PostgresStore, dsn: str, tmp_path: Path, kind, printed_in):
    """In whatever zone the box prints, and whatever zone we were told: the uniqueids show it."""
    await fill_cel(dsn, kind, printed_in)

    report, calls = await recovered(store, open_cel(dsn, ZoneInfo("Europe/Minsk")))

    assert report == Report(found=3, stored=3)
    (tmp_path / "vochi.csv").write_text("".join(cel_lines(*THREE)))
    assert await recovered(store, CelFile(tmp_path / "vochi.csv", UTC)) == (Report(found=3, known=3), calls)


async def test_a_table_of_whole_seconds_gives_the_same_verdicts(store: PostgresStore, dsn: str):
    """FreePBX keeps no fractions; the order in which the rows were written does not need them."""
    await fill_cel(dsn, "timestamp(0)", UTC)

    _, calls = await recovered(store, CelTable(open_cel(dsn, UTC)._table, UTC))

    expected = live_calls(THREE)
    assert [(call.linkedid, call.status, call.reason, call.path, call.rung) for call in calls] == [
        (call.linkedid, call.status, call.reason, call.path, call.rung) for call in expected
    ]


async def test_cdr_of_a_table_gives_reduced_calls_and_cel_replaces_them(store: PostgresStore, dsn: str, tmp_path: Path):
    connection = await asyncpg.connect(dsn)
    await connection.execute(CDR_TABLE)
    for name in THREE:
        with (SCENARIOS / name / "cdr.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                await connection.execute(
                    "INSERT INTO cdr (calldate, src, dst, channel, dstchannel, lastapp, lastdata, duration, billsec,"
                    " disposition, uniqueid, linkedid) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                    datetime.fromisoformat(row["start"]) + timedelta(hours=3),
                    *(row[column] for column in ("src", "dst", "channel", "dstchannel", "lastapp", "lastdata")),
                    int(row["duration"]),
                    int(row["billsec"]),
                    *(row[column] for column in ("disposition", "uniqueid", "linkedid")),
                )
    await connection.close()

    source = open_cdr(dsn, lambda: LAYOUT, UTC)
    assert isinstance(source, CdrTable)
    report, reduced = await recovered(store, source)

    assert report == Report(found=3, stored=3)
    assert all(call.partial for call in reduced)
    expected = live_calls(THREE)
    assert [(call.linkedid, call.status, call.phone) for call in reduced] == [
        (call.linkedid, call.status, call.phone) for call in expected
    ]
    assert all(
        abs((one.started_at - two.started_at).total_seconds()) < 1 for one, two in zip(reduced, expected, strict=True)
    )
    (tmp_path / "vochi.csv").write_text("".join(cel_lines(*THREE)))
    report, whole = await recovered(store, CelFile(tmp_path / "vochi.csv", UTC))
    assert report == Report(found=3, corrected=3)
    assert not any(call.partial for call in whole)


async def test_cdr_of_a_file_gives_reduced_calls(store: PostgresStore, tmp_path: Path):
    lines = [(SCENARIOS / name / "cdr.csv").read_text(encoding="utf-8").splitlines(keepends=True) for name in THREE]
    (tmp_path / "Master.csv").write_text("".join(line for each in lines for line in each[1:]))

    source = open_cdr(str(tmp_path / "Master.csv"), lambda: LAYOUT, UTC)
    assert isinstance(source, CdrFile)

    assert (await recovered(store, source))[0] == Report(found=3, stored=3)
    assert (await recovered(store, source))[0] == Report(found=3, known=3)


async def test_a_table_that_is_not_there_is_a_foreseen_failure(store: PostgresStore, dsn: str):
    with pytest.raises(RecordsUnavailable, match="cel table"):
        await recovered(store, open_cel(dsn, UTC))
    with pytest.raises(RecordsUnavailable, match="cel table"):
        await recovered(store, open_cel("postgresql://vochi@127.0.0.1:1/cel", UTC))
