"""Where CDR is read from when there is no CEL: a CSV file with its predecessors, or a table.

A call's rows are written one by one, so they are gathered until no further one can come, and then a reduced call is
made of them. Memory holds the rows of some hours, however long the time is that is read.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final

from vochi_agent.calls.events import Event
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.errors import RecordsUnavailable

from .cdr import CdrRow, cdr_row, read_cdr
from .cdr_calls import calls_of, joined
from .clock import PrintedTimes
from .record_files import lines_since
from .record_tables import Row, Table, open_table, text_of

__all__ = ["CdrFile", "CdrTable", "calls_from", "open_cdr"]

BATCH: Final = 200
# A file prints times without a zone: where to begin to read is known no better than this.
ZONES_S: Final = 15 * 3600.0
# Files are in the order of the calls' ends, tables in that of their beginnings; and a consultation is known by the call
# that went on after it, so a call waits for those that may have been going on beside it.
LONGEST_CALL_S: Final = 4 * 3600.0
SWEPT_EVERY: Final = 2000  # rows


def open_cdr(place: str, layout: Callable[[], Layout], timezone: tzinfo) -> "CdrFile | CdrTable":
    """The source that `asterisk.cdr` of the configuration names; `layout` is the PBX as it is configured now.

    Raises:
        ConfigError: the driver of that database is not installed.
    """
    if "://" in place:
        return CdrTable(open_table(place, "cdr"), layout, timezone)
    return CdrFile(Path(place), layout, timezone)


def calls_from(rows: Iterator[CdrRow], layout: Layout, *, since: float, until: float) -> Iterator[Call]:
    """The calls of some time (epoch seconds) that the rows of a file tell of."""
    gathered = _Gathered(layout, since, until)
    while batch := list(islice(rows, BATCH)):
        yield from gathered.receive(batch)
    yield from gathered.rest()


class CdrFile:
    """A file of cdr_custom or cdr_csv.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, path: Path, layout: Callable[[], Layout], timezone: tzinfo) -> None:
        """`timezone` is assumed for printed times until the rows show another."""
        self.problems: Counter[str] = Counter()
        self._path = path
        self._layout = layout
        self._times = PrintedTimes(timezone)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        batches = self._batches(since.timestamp(), until.timestamp())
        while True:
            try:
                batch = await asyncio.to_thread(next, batches, None)
            except OSError as exc:
                raise RecordsUnavailable(f"CDR: {exc}") from exc
            if batch is None:
                return
            yield batch

    def _batches(self, since: float, until: float) -> Iterator[list[Event | Call]]:
        lines = lines_since(self._path, since - ZONES_S, self._moment, self.problems)
        rows = read_cdr(lines, self._times, self.problems)
        calls = calls_from(rows, self._layout(), since=since, until=until)
        while batch := list(islice(calls, BATCH)):
            yield [*batch]

    def _moment(self, line: str) -> float | None:
        return next((row.start for row in read_cdr([line], self._times, Counter())), None)


class CdrTable:
    """A table of cdr_pgsql, cdr_adaptive_odbc or FreePBX.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, table: Table, layout: Callable[[], Layout], timezone: tzinfo) -> None:
        """`timezone` is assumed for printed times until the rows show another."""
        self.problems: Counter[str] = Counter()
        self._table = table
        self._layout = layout
        self._times = PrintedTimes(timezone)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        gathered = _Gathered(self._layout(), since.timestamp(), until.timestamp())
        async with aclosing(self._table.rows(since.timestamp(), until.timestamp())) as batches:
            async for rows in batches:
                for batch in _batches(gathered.receive(filter(None, map(self._row, rows)))):
                    yield batch
        for batch in _batches(gathered.rest()):
            yield batch

    def _row(self, row: Row) -> CdrRow | None:
        found = cdr_row({name: text_of(row, name) for name in row}, self._times)
        self.problems["unreadable row"] += found is None
        return found


class _Gathered:
    """The rows of one time until their calls are complete."""

    def __init__(self, layout: Layout, since: float, until: float) -> None:
        self._layout = layout
        self._since = since
        self._until = until
        self._rows: list[CdrRow] = []
        self._sweep_at = SWEPT_EVERY
        self._latest = 0.0

    def receive(self, rows: Iterable[CdrRow]) -> list[Call]:
        """Take further rows; returns the calls that are complete now."""
        wanted = [row for row in rows if row.end >= self._since and row.start <= self._until]
        self._rows += wanted
        self._latest = max([self._latest, *(row.start for row in wanted)])
        if len(self._rows) < self._sweep_at:
            return []
        calls = self._complete(self._latest - LONGEST_CALL_S)
        self._sweep_at = 2 * len(self._rows) + SWEPT_EVERY
        return calls

    def rest(self) -> list[Call]:
        """There is no more."""
        return calls_of(self._rows, self._layout)

    def _complete(self, before: float) -> list[Call]:
        """Take out the calls whose last row ended before then."""
        self._rows = joined(self._rows)
        open_calls = {row.linkedid for row in self._rows if row.end >= before}
        calls = [call for call in calls_of(self._rows, self._layout) if call.linkedid not in open_calls]
        self._rows = [row for row in self._rows if row.linkedid in open_calls]
        return calls


def _batches(calls: Sequence[Call]) -> Iterator[list[Event | Call]]:
    for start in range(0, len(calls), BATCH):
        yield [*calls[start : start + BATCH]]
