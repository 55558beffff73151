"""CEL and CDR where FreePBX keeps them: a real MariaDB, real rows."""

import csv
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.mariadb import MariaDb
from tests.support.pbx_records import LAYOUT, SCENARIOS, cel_lines, live_calls, utc
from tests.support.renderers import no_cards
from tests.support.required import require
from vochi_agent.asterisk.cdr_sources import open_cdr
from vochi_agent.asterisk.cel import COLUMNS
from vochi_agent.asterisk.cel_sources import open_cel
from vochi_agent.errors import RecordsUnavailable
from vochi_agent.recovery import CallRecords, Recovery, Report
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

# The driver is an optional dependency, also of the tests.
aiomysql = pytest.importorskip("aiomysql")
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

THREE = ("inbound-answered", "inbound-noanswer", "outbound-answered")
SINCE, UNTIL = utc("10:24:00"), utc("10:34:00")
CEL_COLUMNS = {"eventtype": "EventType", "cid_num": "CIDnum", "exten": "Exten", "channame": "ChanName",
               "appname": "AppName", "appdata": "AppData", "uniqueid": "UniqueID", "linkedid": "LinkedID",
               "userdeftype": "UserDefType", "extra": "EventExtra"}  # fmt: skip
CDR_COLUMNS = ("src", "dst", "channel", "dstchannel", "lastapp", "lastdata", "duration", "billsec", "disposition",
               "uniqueid", "linkedid")  # fmt: skip


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with MariaDb(require("mariadb"), tmp_path_factory.mktemp("maria")) as server:
        yield server


@pytest.fixture
async def cursor(mariadb: MariaDb) -> AsyncIterator[Any]:
    connection = await aiomysql.connect(host="127.0.0.1", port=mariadb.port, user="root", autocommit=True)
    cursor = await connection.cursor()
    if not await cursor.execute("SHOW DATABASES LIKE 'asteriskcdrdb'"):
        await cursor.execute("CREATE DATABASE asteriskcdrdb CHARACTER SET utf8mb4")
    await cursor.execute("USE asteriskcdrdb")
    yield cursor
    await cursor.execute("SHOW TABLES")
    for (table,) in await cursor.fetchall():
        await cursor.execute(f"DROP TABLE {table}")
    await connection.ensure_closed()


async def recovered(store: PostgresStore, records: CallRecords) -> Report:
    recovery = Recovery(lambda: LAYOUT, records, store.calls, store.watched, render=no_cards, clock=lambda: UNTIL)
    return await recovery.recover(SINCE, UNTIL)


@pytest.mark.parametrize("kind", ["datetime", "datetime(6)"])
async def test_freepbx_cel_gives_the_calls(mariadb: MariaDb, cursor: Any, store: PostgresStore, kind: str):
    """FreePBX prints the box's own time without a zone, in whole seconds."""
    columns = ", ".join(f"{name} text" for name in CEL_COLUMNS)
    await cursor.execute(f"CREATE TABLE cel (id int AUTO_INCREMENT PRIMARY KEY, eventtime {kind}, {columns})")
    for fields in csv.reader(cel_lines(*THREE)):
        row = dict(zip(COLUMNS, fields, strict=True))
        printed = datetime.fromtimestamp(float(row["EventTime"]), timezone(timedelta(hours=3))).replace(tzinfo=None)
        values = (
            printed.replace(microsecond=0) if kind == "datetime" else printed,
            *map(row.get, CEL_COLUMNS.values()),
        )
        marks = ", ".join(["%s"] * len(values))
        await cursor.execute(f"INSERT INTO cel (eventtime, {', '.join(CEL_COLUMNS)}) VALUES ({marks})", values)

    assert await recovered(store, open_cel(mariadb.url, UTC)) == Report(found=3, stored=3)

    found = (await store.reports.calls(CallFilter()))[::-1]
    live = live_calls(THREE)
    assert [(call.linkedid, call.status, call.reason, call.path, call.phone) for call in found] == [
        (call.linkedid, call.status, call.reason, call.path, call.phone) for call in live
    ]
    assert all(abs((one.started_at - two.started_at).total_seconds()) < 1 for one, two in zip(found, live, strict=True))
    assert await recovered(store, open_cel(mariadb.url, UTC)) == Report(found=3, known=3)


async def test_freepbx_cdr_gives_reduced_calls(mariadb: MariaDb, cursor: Any, store: PostgresStore):
    columns = ", ".join(f"{name} text" for name in CDR_COLUMNS)
    await cursor.execute(f"CREATE TABLE cdr (calldate datetime, {columns})")
    for name in THREE:
        with (SCENARIOS / name / "cdr.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                values = (row["start"], *map(row.get, CDR_COLUMNS))
                marks = ", ".join(["%s"] * len(values))
                await cursor.execute(f"INSERT INTO cdr (calldate, {', '.join(CDR_COLUMNS)}) VALUES ({marks})", values)

    assert await recovered(store, open_cdr(mariadb.url, lambda: LAYOUT, UTC)) == Report(found=3, stored=3)
    assert all(call.partial for call in await store.reports.calls(CallFilter()))


async def test_a_table_that_is_not_there_is_a_foreseen_failure(mariadb: MariaDb, cursor: Any, store: PostgresStore):
    with pytest.raises(RecordsUnavailable, match="cel table"):
        await recovered(store, open_cel(mariadb.url, UTC))
    with pytest.raises(RecordsUnavailable, match="cel table"):
        await recovered(store, open_cel("mysql://freepbx:secret@127.0.0.1:1/asteriskcdrdb", UTC))
