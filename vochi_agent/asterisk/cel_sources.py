"""Where CEL is read from: a cel_custom file with its rotated predecessors, or a table. Fulfils `recovery.CallRecords`.

The rows of a time become facts in the order they were written, in bounded batches; a file is read in a thread. What a
clock wrote that was not set yet gets a time that can be true (`clock.ClockMender`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final

from vochi_agent.calls.events import Event
from vochi_agent.calls.model import Call
from vochi_agent.errors import RecordsUnavailable

from .cel import COLUMNS, CelRow, cel_row, clock_mender, read_text
from .clock import PrintedTimes
from .record_files import lines_since
from .record_tables import Row, Table, open_table, text_of
from .translate_cel import CelTranslator

__all__ = ["TABLE_COLUMNS", "CelFile", "CelTable", "open_cel"]

BATCH: Final = 200  # rows; the call machine takes a few milliseconds for them
_USER_EVENT: Final = "VOCHI_MARK"
# Names of the same column in the tables of cel_pgsql, cel_odbc and FreePBX.
TABLE_COLUMNS: Final = {
    "EventType": ("eventtype",),
    "CIDnum": ("cid_num",),
    "Exten": ("exten",),
    "ChanName": ("channame",),
    "AppName": ("appname",),
    "AppData": ("appdata",),
    "UniqueID": ("uniqueid",),
    "LinkedID": ("linkedid",),
    "UserDefType": ("userdeftype",),
    "EventExtra": ("extra", "eventextra"),
}


def open_cel(place: str, timezone: tzinfo) -> "CelFile | CelTable":
    """The source that `asterisk.cel` of the configuration names.

    Raises:
        ConfigError: the driver of that database is not installed.
    """
    return CelTable(open_table(place, "cel"), timezone) if "://" in place else CelFile(Path(place), timezone)


class CelFile:
    """A file that cel_custom writes.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, path: Path, timezone: tzinfo) -> None:
        """`timezone` is the PBX's; it matters when cel.conf has a `dateformat`."""
        self.problems: Counter[str] = Counter()
        self._path = path
        self._timezone = timezone

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        batches = _facts(self._rows(since.timestamp()), since.timestamp(), until.timestamp())
        while True:
            try:
                batch = await asyncio.to_thread(next, batches, None)
            except OSError as exc:
                raise RecordsUnavailable(f"CEL: {exc}") from exc
            if batch is None:
                return
            yield batch

    def _rows(self, since: float) -> Iterator[CelRow]:
        return read_text(lines_since(self._path, since, self._moment, self.problems), self._timezone, self.problems)

    def _moment(self, line: str) -> float | None:
        return next((row.at for row in read_text([f"{line.rstrip()}\n"], self._timezone, Counter())), None)


class CelTable:
    """A table that cel_pgsql or cel_odbc fills.

    Attributes:
        problems: What was passed over, by kind.
    """

    def __init__(self, table: Table, timezone: tzinfo) -> None:
        """`timezone` is assumed for printed times until the rows show another."""
        self.problems: Counter[str] = Counter()
        self._table = table
        self._times = PrintedTimes(timezone)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Event | Call], None]:
        """See `recovery.CallRecords.read`."""
        start, end = since.timestamp(), until.timestamp()
        window = _Window(start, end)
        async with aclosing(self._table.rows(start, end)) as batches:
            async for rows in batches:
                if facts := window.facts(filter(None, map(self._row, rows))):
                    yield facts
        if facts := window.rest():
            yield facts

    def _row(self, row: Row) -> CelRow | None:
        fields = dict.fromkeys(COLUMNS, "") | {name: text_of(row, *there) for name, there in TABLE_COLUMNS.items()}
        if fields["EventType"] == _USER_EVENT:
            # Without `show_user_defined` the name of a user event stands in place of its type.
            fields |= {"EventType": "USER_DEFINED", "UserDefType": _USER_EVENT}
        printed = row.get("eventtime") or ""
        if fields["EventType"] == "CHAN_START":
            self._times.learn(printed, fields["UniqueID"])
        return cel_row(fields, self._times.epoch(printed), self.problems)


class _Window:
    """From rows to the facts of one time."""

    def __init__(self, since: float, until: float) -> None:
        self._since = since
        self._until = until
        self._mender = clock_mender()
        self._translator = CelTranslator()

    def facts(self, rows: Iterable[CelRow]) -> list[Event | Call]:
        return [fact for row in rows for mended in self._mender.receive(row) for fact in self._translated(mended)]

    def rest(self) -> list[Event | Call]:
        return [fact for mended in self._mender.flush() for fact in self._translated(mended)]

    def _translated(self, row: CelRow) -> Iterator[Event]:
        if self._since <= row.at <= self._until:
            yield from self._translator.translate(row)


def _facts(rows: Iterator[CelRow], since: float, until: float) -> Iterator[list[Event | Call]]:
    window = _Window(since, until)
    while batch := list(islice(rows, BATCH)):
        if facts := window.facts(batch):
            yield facts
    if facts := window.rest():
        yield facts
