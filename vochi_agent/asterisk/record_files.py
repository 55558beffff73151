"""The lines of a log that grows and is rotated (vochi.csv, vochi.csv.1, vochi.csv-20261119.gz), from a moment on.

Invariant: memory does not grow with the files. A line longer than MAX_LINE is passed over; of a plain file only the end
is read: blocks are looked at backwards until one begins before the wanted moment.
"""

import bz2
import gzip
import lzma
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from .clock import EARLIEST_TRUSTED

__all__ = ["Moment", "lines_of", "lines_since", "tail_of"]

MAX_LINE: Final = 1 << 17
BLOCK: Final = 1 << 20
PROBED_LINES: Final = 2000
_OPENERS: Final[dict[str, Callable[[BinaryIO], BinaryIO]]] = {
    ".gz": lambda raw: cast("BinaryIO", gzip.GzipFile(fileobj=raw)),
    ".bz2": lambda raw: cast("BinaryIO", bz2.BZ2File(raw)),
    ".xz": lambda raw: cast("BinaryIO", lzma.open(raw)),  # noqa: SIM115 - lives as long as the file below it
}
_TORN_ARCHIVE: Final = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)

# Epoch seconds of a line, None when it has none.
Moment = Callable[[str], float | None]


@dataclass(slots=True)
class _Part:
    """One file of the family; `first` is its first trusted moment, None while it has none."""

    raw: BinaryIO
    suffix: str
    changed: float
    first: float | None = None

    @property
    def plain(self) -> bool:
        return self.suffix not in _OPENERS

    def open(self) -> BinaryIO:
        """From its beginning, decompressed."""
        self.raw.seek(0)
        return self.raw if self.plain else _OPENERS[self.suffix](self.raw)


def lines_since(path: Path, since: float, moment: Moment, problems: Counter[str]) -> Iterator[str]:
    """The lines of a file and its rotated predecessors, oldest first, beginning no later than `since`.

    Earlier lines may come too. What is damaged is counted in `problems` and passed over.

    Raises:
        OSError: the file cannot be read.
    """
    with ExitStack() as stack:
        parts = [_opened(stack, file) for file in _family(path)]
        if not parts:
            raise FileNotFoundError(f"{path} does not exist")
        parts = list({os.fstat(part.raw.fileno())[1:3]: part for part in parts}.values())  # inode, device
        for part in parts:
            part.first = next((at for at in _probe(part, moment, problems) if at >= EARLIEST_TRUSTED), None)
        parts.sort(key=lambda part: (part.first if part.first is not None else part.changed, part.changed))
        for part in _needed(parts, since):
            stream = part.open()
            if part.plain:
                stream.seek(_offset(part.raw, since, moment))
            yield from _lines(stream, problems)


def lines_of(path: Path, problems: Counter[str]) -> Iterator[str]:
    """Every line of one file, decompressed. What is damaged is counted in `problems` and passed over.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as raw:
        yield from _lines(_Part(raw=raw, suffix=path.suffix, changed=0.0).open(), problems)


def tail_of(path: Path) -> Iterator[str]:
    """The last lines of a file, a mebibyte of them; all of a compressed one, which has no end to begin at.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as raw:
        part = _Part(raw=raw, suffix=path.suffix, changed=0.0)
        stream = part.open()
        if part.plain and raw.seek(0, os.SEEK_END) > BLOCK:
            raw.seek(-BLOCK, os.SEEK_END)
            raw.readline(BLOCK)  # the end of a line that began before
        elif part.plain:
            raw.seek(0)
        yield from _lines(stream, Counter())


def _family(path: Path) -> list[Path]:
    """The file and what logrotate makes of it: `.1`, `.2.gz`, `-20261119`, `-20261119.xz`."""
    rotated = (file for file in path.parent.iterdir() if file.name.startswith((f"{path.name}.", f"{path.name}-")))
    return [file for file in (path, *sorted(rotated)) if file.is_file()]


def _opened(stack: ExitStack, file: Path) -> _Part:
    raw = stack.enter_context(file.open("rb"))
    return _Part(raw=raw, suffix=file.suffix, changed=os.fstat(raw.fileno()).st_mtime)


def _needed(parts: list[_Part], since: float) -> list[_Part]:
    """From the last file that begins before `since` on."""
    begins_before = [index for index, part in enumerate(parts) if part.first is not None and part.first <= since]
    return parts[begins_before[-1] :] if begins_before else parts


def _probe(part: _Part, moment: Moment, problems: Counter[str]) -> Iterator[float]:
    for _, line in zip(range(PROBED_LINES), _lines(part.open(), problems), strict=False):
        at = moment(line)
        if at is not None:
            yield at


def _offset(raw: BinaryIO, since: float, moment: Moment) -> int:
    """Where to begin: a line start with nothing wanted before it."""
    start = raw.seek(0, os.SEEK_END)
    while start > 0:
        start = max(0, start - BLOCK)
        raw.seek(start)
        if start:
            raw.readline(BLOCK)  # the end of a line that began before
        place = raw.tell()
        # A block may open with lines of a clock that was never set; they do not say where we are.
        for _ in range(PROBED_LINES):
            at = moment(raw.readline(MAX_LINE).decode(errors="replace"))
            if at is not None and at >= EARLIEST_TRUSTED:
                if at < since:
                    return place
                break
    return 0


def _lines(stream: BinaryIO, problems: Counter[str]) -> Iterator[str]:
    try:
        while line := stream.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                problems["endless line"] += 1
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)
                continue
            yield line.decode(errors="replace")
    except _TORN_ARCHIVE:
        problems["torn archive"] += 1
