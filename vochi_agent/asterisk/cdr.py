"""CDR rows as Asterisk wrote them, from CSV files and tables. Data from outside: hostile, torn, repeated. Pure.

A row that makes no sense is counted or None, never raised.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .clock import LATEST, PrintedTimes

__all__ = ["CdrRow", "cdr_row", "read_cdr", "read_nameless_cdr"]

# The order of cdr_custom as we ship it, and that of cdr_csv's Master.csv (the last three when `newcdrcolumns` is set).
CUSTOM: Final = (
    "clid", "src", "dst", "dcontext", "channel", "dstchannel", "lastapp", "lastdata", "start", "answer", "end",
    "duration", "billsec", "disposition", "amaflags", "accountcode", "uniqueid", "linkedid", "userfield", "sequence",
    "peeraccount",
)  # fmt: skip
MASTER: Final = (
    "accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata", "start", "answer",
    "end", "duration", "billsec", "disposition", "amaflags", "uniqueid", "userfield", "peeraccount", "linkedid",
    "sequence",
)  # fmt: skip
DISPOSITIONS: Final = frozenset({"ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CONGESTION"})


class CdrRow(NamedTuple):
    """One row; times are epoch seconds, `answer` is None when nobody answered.

    `uniqueid` and `linkedid` are "" where cdr_csv was not told to write them (`loguniqueid`).
    """

    src: str
    dst: str
    channel: str
    dstchannel: str
    app: str
    data: str
    start: float
    answer: float | None
    end: float
    disposition: str
    uniqueid: str
    linkedid: str
    did: str


def read_cdr(lines: Iterable[str], times: PrintedTimes, problems: Counter[str]) -> Iterator[CdrRow]:
    """The rows of a CSV file, with or without a header line; what makes no sense is counted and passed over."""
    for row in read_nameless_cdr(lines, times, problems):
        if row.linkedid:
            yield row
        else:
            problems["row without a unique id"] += 1


def read_nameless_cdr(lines: Iterable[str], times: PrintedTimes, problems: Counter[str]) -> Iterator[CdrRow]:
    """The same, and rows that do not say which call they belong to."""
    columns: Sequence[str] = ()
    for line in lines:
        try:
            fields = next(csv.reader([line.replace("\0", "").rstrip("\r\n")]), [])
        except csv.Error:
            fields = []
        if "dstchannel" in fields:
            columns = fields
            continue
        if not columns and len(fields) > CUSTOM.index("disposition"):
            columns = CUSTOM if fields[CUSTOM.index("disposition")] in DISPOSITIONS else MASTER
        row = _row(dict(zip(columns, fields, strict=False)), times)
        if row is None:
            problems["unreadable row"] += 1
        else:
            yield row


def cdr_row(fields: Mapping[str, str], times: PrintedTimes) -> CdrRow | None:
    """A row from its columns, as files and FreePBX's tables name them; None when it cannot be used."""
    row = _row(fields, times)
    return row if row and row.linkedid else None


def _row(fields: Mapping[str, str], times: PrintedTimes) -> CdrRow | None:
    printed = fields.get("start") or fields.get("calldate", "")
    uniqueid = fields.get("uniqueid", "")
    linkedid = fields.get("linkedid") or uniqueid
    if uniqueid == linkedid:
        times.learn(printed, uniqueid)
    start = times.epoch(printed)
    if start is None or not 0 <= start < LATEST or fields.get("disposition") not in DISPOSITIONS:
        return None
    duration, talk = _seconds(fields.get("duration", "")), _seconds(fields.get("billsec", ""))
    end = times.epoch(fields.get("end", "")) or start + duration
    answer = times.epoch(fields.get("answer", ""))
    if answer is None and "answer" not in fields and talk:
        answer = end - talk
    return CdrRow(
        src=fields.get("src", ""),
        dst=fields.get("dst", ""),
        channel=fields.get("channel", ""),
        dstchannel=fields.get("dstchannel", ""),
        app=fields.get("lastapp", ""),
        data=fields.get("lastdata", ""),
        start=start,
        answer=answer if answer is not None and start <= answer else None,
        end=max(end, start),
        disposition=fields["disposition"],
        uniqueid=uniqueid,
        linkedid=linkedid,
        did=fields.get("did", ""),
    )


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0
