"""CEL rows as Asterisk wrote them, read from a cel_custom file. Rows are data from outside: hostile, torn, repeated.

The columns are those of contract §3 in that order, with or without a header line. A row that makes no sense is counted
and passed over, never raised.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["COLUMNS", "CelRow", "read_rows", "read_text"]

COLUMNS: Final = (
    "EventType", "EventTime", "CIDname", "CIDnum", "CIDani", "CIDrdnis", "CIDdnid", "Exten", "Context", "ChanName",
    "AppName", "AppData", "AMAFlags", "AccountCode", "UniqueID", "LinkedID", "Peer", "PeerAccount", "UserField",
    "UserDefType", "EventExtra",
)  # fmt: skip
# A caller's name or an application's arguments have no length of their own; a row of a megabyte is an attack.
MAX_FIELD: Final = 1 << 17


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
    with path.open(encoding="utf-8", errors="replace", newline="") as text:
        yield from read_text(text, timezone, problems)


def read_text(lines: Iterable[str], timezone: tzinfo, problems: Counter[str]) -> Iterator[CelRow]:
    """The same from lines of text."""
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(line.replace("\0", "") for line in lines)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            problems["unreadable row"] += 1
            continue
        if fields and fields[0] != COLUMNS[0] and (row := _row(fields, timezone, problems)):
            yield row


def _row(fields: list[str], timezone: tzinfo, problems: Counter[str]) -> CelRow | None:
    if len(fields) < COLUMNS.index("LinkedID") + 1:
        problems["short row"] += 1
        return None
    row = dict(zip(COLUMNS, fields, strict=False))
    at = _moment(row["EventTime"], timezone)
    if at is None or not row["UniqueID"]:
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
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone)).timestamp()


def _extra(text: str) -> Mapping[str, object]:
    if not text:
        return {}
    try:
        extra = json.loads(text)
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}
