"""CEL rows as Asterisk wrote them, read from a cel_custom file. Rows are data from outside: hostile, torn, repeated.

The columns are those of contract §3 in that order, with or without a header line. A row that makes no sense is counted
and passed over, never raised. A row is a line: one that was torn in the middle must not swallow those after it.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from .clock import LATEST, ClockMender

__all__ = ["COLUMNS", "CelRow", "cel_row", "clock_mender", "mended", "read_rows", "read_text"]

COLUMNS: Final = (
    "EventType", "EventTime", "CIDname", "CIDnum", "CIDani", "CIDrdnis", "CIDdnid", "Exten", "Context", "ChanName",
    "AppName", "AppData", "AMAFlags", "AccountCode", "UniqueID", "LinkedID", "Peer", "PeerAccount", "UserField",
    "UserDefType", "EventExtra",
)  # fmt: skip
# A caller's name or an application's arguments have no length of their own; a row of a megabyte is an attack.
MAX_FIELD: Final = 1 << 17
# How a row begins. A row whose writer died is continued by the next one; inside a value every quote stands doubled.
_ROW_START: Final = re.compile(r'"[A-Z_]{4,30}","')


class CelRow(NamedTuple):
    """One row, reduced to what the call machine can use. `at` is seconds since the epoch."""

    event: str
    at: float
    caller_number: str
    exten: str
    channel: str
    app: str
    app_data: str
    uniqueid: str
    linkedid: str
    user_event: str
    extra: Mapping[str, object]


def read_rows(path: Path, timezone: tzinfo, problems: Counter[str]) -> Iterator[CelRow]:
    """The rows of a file, in its order.

    Args:
        timezone: Of the PBX; used when cel.conf has a `dateformat` instead of epoch seconds.
        problems: What was passed over is counted here.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace", newline="\n") as text:
        yield from read_text(text, timezone, problems)


def read_text(lines: Iterable[str], timezone: tzinfo, problems: Counter[str]) -> Iterator[CelRow]:
    """The same from lines of text."""
    csv.field_size_limit(MAX_FIELD)
    columns = 0
    for line in lines:
        fields = _fields(line, problems)
        if not fields or fields[0] == COLUMNS[0]:
            continue
        if not line.endswith("\n") and len(fields) < columns:
            problems["torn row"] += 1  # the last line while Asterisk writes it; it is whole when it is read again
            continue
        columns = len(fields)
        if row := _row(fields, timezone, problems):
            yield row


def _fields(line: str, problems: Counter[str]) -> list[str]:
    """The values of one line, none when it is beyond reading."""
    text = line.replace("\0", "").rstrip("\r\n")
    if text.count('"') % 2:
        problems["torn row"] += 1
        *_, start = [0, *(match.start() for match in _ROW_START.finditer(text))]
        text = text[start:] if start else ""
    try:
        return next(csv.reader([text]), [])
    except csv.Error:
        problems["unreadable row"] += 1
        return []


def mended(rows: Iterable[CelRow]) -> Iterator[CelRow]:
    """The rows, those of a clock that was not set yet at times that can be true."""
    mender = clock_mender()
    for row in rows:
        yield from mender.receive(row)
    yield from mender.flush()


def clock_mender() -> ClockMender[CelRow]:
    """For rows that come one by one."""
    return ClockMender(lambda row: row.at, lambda row, at: row._replace(at=at))


def cel_row(row: Mapping[str, str], at: float | None, problems: Counter[str]) -> CelRow | None:
    """A row from its columns; None when it cannot be used."""
    if at is None or not 0 <= at < LATEST or not row["UniqueID"]:
        problems["row without a time or a channel"] += 1
        return None
    return CelRow(
        event=row["EventType"],
        at=at,
        caller_number=row["CIDnum"],
        exten=row["Exten"],
        channel=row["ChanName"],
        app=row["AppName"],
        app_data=row["AppData"],
        uniqueid=row["UniqueID"],
        linkedid=row["LinkedID"],
        user_event=row.get("UserDefType", ""),
        extra=_extra(row.get("EventExtra", "")),
    )


def _row(fields: list[str], timezone: tzinfo, problems: Counter[str]) -> CelRow | None:
    if len(fields) < COLUMNS.index("LinkedID") + 1:
        problems["short row"] += 1
        return None
    row = dict(zip(COLUMNS, fields, strict=False))
    return cel_row(row, _moment(row["EventTime"], timezone), problems)


def _moment(text: str, timezone: tzinfo) -> float | None:
    """Epoch seconds (the default since Asterisk 1.8), else the date that `dateformat` printed."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone)).timestamp()
    except OverflowError:
        return None  # the first or the last day that `datetime` knows


def _extra(text: str) -> Mapping[str, object]:
    if not text:
        return {}
    try:
        extra = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return extra if isinstance(extra, dict) else {}
