"""Where CDR is read from when there is no CEL: a CSV file with its predecessors, or a table.

A call's rows are written one by one, so those of the time are gathered before reduced calls are made of them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final

from vochi_agent.calls.events import Event
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.errors import RecordsUnavailable

from .cdr import CdrRow, cdr_row, read_cdr
from .cdr_calls import calls_of
from .clock import PrintedTimes
from .record_files import lines_since
from .record_tables import Row, Table, open_table, text_of

__all__ = ["CdrFile", "CdrTable", "open_cdr"]

BATCH: Final = 200
# A file prints times without a zone: where to begin to read is known no better than this.
ZONES_S: Final = 15 * 3600.0


def open_cdr(place: str, layout: Layout, timezone: tzinfo) -> "CdrFile | CdrTable":
    """The source that `asterisk.cdr` of the configuration names.

    Raises:
        ConfigError: the driver of that database is not installed.
    """
    if "://" in place:
        return CdrTable(open_table(place, "cdr"), layout, timezone)
    return CdrFile(Path(place), layout, timezone)


class CdrFile:
    """A file of cdr_custom or cdr_csv.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, path: Path, layout: Layout, timezone: tzinfo) -> None:
        """`timezone` is assumed for printed times until the rows show another."""
        self.problems: Counter[str] = Counter()
        self._path = path
        self._layout = layout
        self._times = PrintedTimes(timezone)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        try:
            calls = await asyncio.to_thread(self._calls, since.timestamp(), until.timestamp())
        except OSError as exc:
            raise RecordsUnavailable(f"CDR: {exc}") from exc
        for batch in _batches(calls):
            yield batch

    def _calls(self, since: float, until: float) -> list[Call]:
        lines = lines_since(self._path, since - ZONES_S, self._moment, self.problems)
        rows = read_cdr(lines, self._times, self.problems)
        return calls_of((row for row in rows if _touches(row, since, until)), self._layout)

    def _moment(self, line: str) -> float | None:
        return next((row.start for row in read_cdr([line], self._times, Counter())), None)


class CdrTable:
    """A table of cdr_pgsql, cdr_adaptive_odbc or FreePBX.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, table: Table, layout: Layout, timezone: tzinfo) -> None:
        """`timezone` is assumed for printed times until the rows show another."""
        self.problems: Counter[str] = Counter()
        self._table = table
        self._layout = layout
        self._times = PrintedTimes(timezone)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        found: list[CdrRow] = []
        async with aclosing(self._table.rows(since.timestamp(), until.timestamp())) as batches:
            async for rows in batches:
                found += (row for row in map(self._row, rows) if row is not None)
        wanted = (row for row in found if _touches(row, since.timestamp(), until.timestamp()))
        for batch in _batches(calls_of(wanted, self._layout)):
            yield batch

    def _row(self, row: Row) -> CdrRow | None:
        found = cdr_row({name: text_of(row, name) for name in row}, self._times)
        self.problems["unreadable row"] += found is None
        return found


def _touches(row: CdrRow, since: float, until: float) -> bool:
    return row.end >= since and row.start <= until


def _batches(calls: Sequence[Call]) -> Iterator[list[Event | Call]]:
    for start in range(0, len(calls), BATCH):
        yield [*calls[start : start + BATCH]]
