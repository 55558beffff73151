"""Finished calls out of CSV files that somebody hands us: CDR, and CEL for the time it covers. Nothing else is needed.

Invariant: memory does not grow with the files; a line that makes no sense is counted and its place told, never raised.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import chain, islice
from pathlib import Path
from typing import Final

from vochi_agent.calls.groups import REMEMBER_S
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallUpdate, Source
from vochi_agent.calls.tracker import Tracker

from .cdr import CdrRow, read_nameless_cdr
from .cdr_calls import HANDED_OVER_S
from .cdr_sources import calls_from
from .cel import mended, read_text
from .clock import EARLIEST_TRUSTED, PrintedTimes
from .record_files import lines_of, tail_of
from .translate_cel import CelTranslator

__all__ = ["Records", "cdr_calls", "cel_beginning", "cel_calls", "newest_of"]

PLACES: Final = 5
# Channels that may be in use beside one another, and more.
MOST_NAMES: Final = 10_000


@dataclass(slots=True)
class Records:
    """Files of one kind, oldest first, and what in them made no sense.

    Attributes:
        lines: How many lines were read.
        kinds: How many were passed over, by kind.
        places: Where the first few of each kind stand, `Master.csv:17`.
    """

    files: Sequence[Path]
    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    _noted: Counter[str] = field(default_factory=Counter)

    def read(self) -> Iterator[str]:
        """Their lines. What is counted in `kinds` before the next one is asked for, this one gave rise to.

        Raises:
            OSError: a file cannot be read.
        """
        for file in self.files:
            number = 0
            for number, line in enumerate(lines_of(file, self.kinds), start=1):
                self._note(file, number)
                self.lines += 1
                yield line
                self._note(file, number)
            self._note(file, number + 1)  # an endless line or a torn archive has no further line behind it

    def _note(self, file: Path, number: int) -> None:
        if self.kinds == self._noted:
            return
        for kind, count in self.kinds.items():
            places = self.places.setdefault(kind, [])
            if count != self._noted[kind] and len(places) < PLACES:
                places.append(f"{file.name}:{number}")
        self._noted = self.kinds.copy()


def newest_of(path: Path, zone: tzinfo) -> float | None:
    """When the newest call of a CDR file began, epoch seconds; None when its end has no row of CDR. Raises OSError."""
    headings = islice(lines_of(path, Counter()), 1)  # if there are any, they say what the rows at the end mean
    rows = read_nameless_cdr(chain(headings, tail_of(path)), PrintedTimes(zone), Counter())
    return max((row.start for row in rows), default=None)


def cdr_calls(records: Records, layout: Layout, zone: tzinfo, *, since: float, until: float) -> Iterator[Call]:
    """The calls that CDR tells of, of some time (epoch seconds). Raises OSError."""
    rows = _named(read_nameless_cdr(records.read(), PrintedTimes(zone), records.kinds))
    yield from calls_from(rows, layout, since=since, until=until)


def _named(rows: Iterable[CdrRow]) -> Iterator[CdrRow]:
    """Rows without a unique id get one, all of one channel the same.

    A channel's rows follow one another or overlap; the same name much later is another channel, of an Asterisk that was
    started again.
    """
    names: OrderedDict[str, tuple[str, float]] = OrderedDict()
    for row in rows:
        if row.linkedid:
            yield row
            continue
        name, end = names.pop(row.channel, ("", 0.0))
        if row.start > end + HANDED_OVER_S:
            name = f"{row.channel} {row.start:.0f}"
        names[row.channel] = name, max(row.end, end)
        if len(names) > MOST_NAMES:
            names.popitem(last=False)
        yield row._replace(uniqueid=name, linkedid=name)


def cel_beginning(file: Path, zone: tzinfo) -> float | None:
    """When a CEL file begins, epoch seconds; None when it has no row. Raises OSError."""
    problems: Counter[str] = Counter()
    rows = read_text(lines_of(file, problems), zone, problems)
    return next((row.at for row in rows if row.at >= EARLIEST_TRUSTED), None)


def cel_calls(records: Records, layout: Layout, zone: tzinfo) -> Iterator[Call]:
    """The calls that CEL tells of, each once, as it is after its last correction. Raises OSError."""
    tracker, translator = Tracker(layout, source=Source.RECOVERY), CelTranslator()
    settling = _Settling()
    at = 0.0
    for row in mended(read_text(records.read(), zone, records.kinds)):
        for event in translator.translate(row):
            at = max(at, event.at)
            yield from settling.receive(tracker.receive(event), at)
        yield from settling.receive(tracker.expire(at), at)
    yield from settling.receive(tracker.close(at), at)
    yield from settling.rest()


class _Settling:
    """Holds a finished call back until nothing can correct it any more."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[float, Call]] = OrderedDict()

    def receive(self, updates: Iterable[CallUpdate], now: float) -> Iterator[Call]:
        for update in updates:
            match update:
                case CallFinished(call):
                    self._held[call.linkedid] = now, call
                    self._held.move_to_end(call.linkedid)
                case CallMerged(linkedid=linkedid):
                    self._held.pop(linkedid, None)
        while self._held:
            since, call = next(iter(self._held.values()))
            if now - since < REMEMBER_S:
                return
            del self._held[call.linkedid]
            yield call

    def rest(self) -> Iterator[Call]:
        for _, call in self._held.values():
            yield call
