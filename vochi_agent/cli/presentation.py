"""How commands print: tables for people, one JSON value for programs, local times, lengths.

Invariant: nothing that came from a line, a CRM or the database reaches the terminal with a control character in it.
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vochi_agent.customers.names import printable

__all__ = [
    "WIDEST",
    "GrowingList",
    "add_json",
    "length",
    "local",
    "print_facts",
    "print_json",
    "print_json_line",
    "print_table",
    "progress_bar",
]

WIDEST: Final = 100
GAP: Final = "  "


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`, which every command that prints a table has."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def print_json(value: object) -> None:
    """One JSON value."""
    print(_json(value))


def print_json_line(value: object) -> None:
    """One of many JSON values, each on a line."""
    print(_json(value, indent=None))


class GrowingList:
    """A table that is printed while it is being found, a JSON list for programs: nothing is kept.

    Args:
        columns: Key in JSON, heading for people, and how wide the column is at least.
        as_json: A list of objects.
        key: The list is not the whole JSON value but the first value of an object.
    """

    def __init__(self, columns: Sequence[tuple[str, str, int]], *, as_json: bool, key: str = "") -> None:
        self._columns = columns
        self._as_json = as_json
        self._opening = f'{{\n  "{key}": [' if key else "["
        self._indent = "\n    " if key else "\n  "
        self._empty = True

    def add(self, *row: str | int | None, shown: Sequence[str] | None = None) -> None:
        """One row; `shown` are the texts for people where they differ."""
        if self._as_json:
            text = _json({key: value for (key, _, _), value in zip(self._columns, row, strict=True)})
            # Indented as `print_json` would have it.
            begin = self._opening if self._empty else ","
            print(begin, text.replace("\n", self._indent), sep=self._indent, end="")
        else:
            if self._empty:
                self._print([heading for _, heading, _ in self._columns])
            self._print(shown or ["" if value is None else str(value) for value in row])
        self._empty = False

    def close(self, rest: Mapping[str, object] | None = None) -> None:
        """There is no more; `rest` are the further values of the object."""
        if not self._as_json:
            return
        print(f"{self._opening}]" if self._empty else f"{self._indent[:-2]}]", end="")
        print(f",\n{_json(rest)[2:]}" if rest else "")

    def _print(self, texts: Sequence[str]) -> None:
        cells = [printable(text) for text in texts]
        padded = (
            text.ljust(width - cell_len(text) + len(text))
            for text, (_, _, width) in zip(cells, self._columns, strict=True)
        )
        print(GAP.join(padded).rstrip())


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on the terminal, below what is printed; nothing where nobody looks at stderr."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal) as bar:
        yield bar


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """A table for a terminal; into a pipe one line a row, whatever its length.

    Args:
        columns: Headings.
        rows: As many texts in each.
        right: Headings of the columns that are aligned at their right side.
    """
    cells = [[printable(text) for text in row] for row in rows]
    if not sys.stdout.isatty():
        _print_plain(columns, cells, right)
        return
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console()
    console.print(table, width=min(WIDEST, console.width))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """`name  value` lines; a fact without a value is left out."""
    known = [(name, printable(value)) for name, value in facts if value]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name:{width}}{GAP}{value}")


def local(moment: datetime | None, timezone: str) -> str:
    """`2026-11-20 15:00:07` on the wall of the enterprise; "" for a moment that never was."""
    return "" if moment is None else f"{moment.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S}"


def length(seconds: float) -> str:
    """`1:02`, `1:00:07`; "" for nothing."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}" if whole else ""


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> None:
    lines = [columns, *rows]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (
            text.rjust(width - cell_len(text) + len(text))
            if column in right
            else text.ljust(width - cell_len(text) + len(text))
            for column, text, width in zip(columns, line, widths, strict=True)
        )
        print(GAP.join(padded).rstrip())


def _json(value: object, indent: int | None = 2) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # Outside its strings JSON is ASCII, so whatever is not printable stands in one and may be escaped there.
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)
