"""The files of the spool: an append-only sequence of lines, cut into segments that are deleted when they are done with.

    0000000007-1795165024.lines   number of the segment, and a moment (epoch seconds) that none of its calls precedes
    position                      how far the lines are done with
    lost                          since when calls are missing that could not be kept
    lock                          held while a process uses the folder; holds its pid

Every method blocks on the disk and raises OSError. Invariants: a line is on the disk when `append` returns; the
position never runs ahead of what was done; a segment that a process did not finish writing is never continued, so a
torn line can only be the last of its file. A position that is lost or old only repeats lines.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from .spool_format import framed, unframed

__all__ = ["Line", "Position", "Segments"]

SUFFIX = ".lines"
SEGMENT_BYTES = 1 << 20
MAX_PART_OF_LIMIT = 8  # space comes back by whole segments


class Position(NamedTuple):
    """Behind a line: the segment's number, the offset in bytes, and how many lines of the segment precede it."""

    segment: int
    offset: int
    lines: int


class Line(NamedTuple):
    """A line and the position behind it; `text` is None for `lines` that the disk does not give back."""

    text: bytes | None
    behind: Position
    begun: datetime
    lines: int = 1


@dataclass(slots=True)
class _Segment:
    """`size` and `lines` count what is known to be on the disk; `begun` is a moment that none of its calls precedes."""

    path: Path
    number: int
    begun: datetime
    size: int = 0
    lines: int = 0


class Segments:
    """The lines of one folder. One thread at a time."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = min(SEGMENT_BYTES, limit_bytes // MAX_PART_OF_LIMIT)
        self._segments: list[_Segment] = []
        self._last_number = 0
        self._writing: int | None = None
        self._lock: int | None = None
        self.opened = False

    @property
    def size(self) -> int:
        """Bytes that the segments take."""
        return sum(segment.size for segment in self._segments)

    def open(self) -> tuple[Position, int]:
        """Take the folder, made when missing; returns where to go on and how many lines wait.

        Raises:
            BlockingIOError: another process uses it; the message names it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        done = self._stored_position()
        self._segments = [_scanned(path) for path in sorted(self._folder.glob(f"[0-9]*-[0-9]*{SUFFIX}"))]
        numbers = [segment.number for segment in self._segments]
        # Never a number twice: a position that is older than its segment would skip lines of the new one.
        self._last_number = max([*numbers, done.segment])
        if done.segment not in numbers:
            done = Position(min(numbers, default=self._last_number + 1), 0, 0)
        self.opened = True
        waiting = sum(segment.lines for segment in self._segments if segment.number >= done.segment) - done.lines
        return done, waiting

    def close(self) -> None:
        """Let the folder go."""
        self._stop_writing()
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None
        self.opened = False

    def append(self, lines: Sequence[bytes], begun: datetime) -> int:
        """Put lines at the end and wait until the disk has them; returns how many there was room for.

        Args:
            begun: A moment that no call in `lines` precedes, nor will one of a later append.

        Raises:
            OSError: none of them counts as kept.
        """
        room = self._limit_bytes - self.size
        fitting = 0
        for line in lines:
            room -= len(line)
            if room < 0:
                break
            fitting += 1
        if fitting:
            self._write(b"".join(lines[:fitting]), fitting, begun)
        return fitting

    def read(self, start: Position, limit: int) -> list[Line]:
        """Up to `limit` lines behind `start`; none when there are none."""
        found: list[Line] = []
        for segment in [each for each in self._segments if each.number >= start.segment]:
            if len(found) == limit:
                break
            here = start if segment.number == start.segment else Position(segment.number, 0, 0)
            try:
                for line in _lines(segment, here, limit - len(found)):
                    found.append(line)
                    here = line.behind
            except OSError:
                # A bad sector, or somebody has deleted the file: what it held is lost, what follows is not.
                behind = Position(segment.number, segment.size, segment.lines)
                found.append(Line(None, behind, segment.begun, segment.lines - here.lines))
        return found

    def forget(self, done: Position) -> None:
        """The lines before `done` are no longer needed, even after a crash."""
        while self._segments and _is_done(self._segments[0], done):
            if len(self._segments) == 1:
                self._stop_writing()
            self._segments[0].path.unlink(missing_ok=True)
            del self._segments[0]
        self._replace("position", framed({"position": done}))

    def lost_since(self) -> datetime | None:
        """What `note_loss` has kept."""
        try:
            return datetime.fromisoformat(unframed((self._folder / "lost").read_bytes())["since"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def note_loss(self, since: datetime | None) -> None:
        """Keep since when calls are missing; None: no longer."""
        if since is None:
            (self._folder / "lost").unlink(missing_ok=True)
        else:
            self._replace("lost", framed({"since": since.astimezone(UTC).isoformat()}))

    def _write(self, block: bytes, lines: int, begun: datetime) -> None:
        writing = self._writing
        if writing is None or self._segments[-1].size >= self._segment_bytes:
            self._stop_writing()
            writing = self._begin_segment(begun)
        segment = self._segments[-1]
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(writing, rest) :]
            os.fsync(writing)
        except OSError:
            # After a failed fsync nobody knows what the disk has; the next lines get a file of their own.
            self._abandon(segment)
            raise
        segment.size += len(block)
        segment.lines += lines

    def _begin_segment(self, begun: datetime) -> int:
        self._last_number += 1
        path = self._folder / f"{self._last_number:010d}-{int(begun.timestamp())}{SUFFIX}"
        self._writing = writing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._segments.append(_Segment(path=path, number=self._last_number, begun=begun))
        try:
            _sync_folder(self._folder)
        except OSError:
            self._abandon(self._segments[-1])
            raise
        return writing

    def _abandon(self, segment: _Segment) -> None:
        """Stop writing a segment at its last good line."""
        with suppress(OSError):  # what stays behind is a torn line, or lines that are stored twice: both harmless
            os.truncate(segment.path, segment.size)
        self._stop_writing()
        if not segment.size:
            self._segments.remove(segment)
            with suppress(OSError):
                segment.path.unlink()

    def _stop_writing(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
        self._writing = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as exc:
            owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise BlockingIOError(exc.errno, f"{self._folder} is used by process {owner}") from exc
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _stored_position(self) -> Position:
        try:
            segment, offset, lines = unframed((self._folder / "position").read_bytes())["position"]
            return Position(int(segment), int(offset), int(lines))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Position(0, 0, 0)

    def _replace(self, name: str, content: bytes) -> None:
        """A whole file or the one before it, whatever happens."""
        draft = self._folder / f"{name}.new"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / name)
        _sync_folder(self._folder)


def _scanned(path: Path) -> _Segment:
    """A segment of an earlier process; its torn last line does not count."""
    number, _, begun = path.name.removesuffix(SUFFIX).partition("-")
    content = path.read_bytes()
    return _Segment(
        path=path,
        number=int(number),
        begun=datetime.fromtimestamp(int(begun), UTC),
        size=content.rfind(b"\n") + 1,
        lines=content.count(b"\n"),
    )


def _lines(segment: _Segment, start: Position, limit: int) -> Iterator[Line]:
    offset, lines = start.offset, start.lines
    with segment.path.open("rb") as file:
        file.seek(offset)
        while offset < segment.size and lines < start.lines + limit:
            text = file.readline()
            if not text:
                raise OSError(f"{segment.path} is shorter than it was")
            offset, lines = offset + len(text), lines + 1
            yield Line(text, Position(segment.number, offset, lines), segment.begun)


def _is_done(segment: _Segment, done: Position) -> bool:
    return segment.number < done.segment or (segment.number == done.segment and done.offset >= segment.size)


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
