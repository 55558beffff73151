"""A phonebook file: what one is made of, and its bytes as lines of text. Pure; every file is hostile.

Invariant: memory does not grow with the file nor with its lines, and nothing in it stops the reading: what cannot be
used is a `Broken` with the number of its line and a reason for people.
"""

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .model import Names
from .names import printable

__all__ = ["MAX_LINE", "Broken", "Entry", "Line", "Parsed", "encoding_of", "name_from", "read_lines"]

MAX_LINE: Final = 1 << 16  # characters; photographs stand in longer ones, people do not
_BOMS: Final = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_SAMPLE: Final = 1 << 12
# Of every two bytes of Russian or Latin text in UTF-16 without a mark, nearly always one is 0 or 4.
_UTF16_SHARE: Final = 0.8
# So few lines out of a hundred may be damaged in a file that is UTF-8 otherwise.
_DAMAGED_SHARE: Final = 0.1
_CYRILLIC: Final = re.compile(r"[А-Яа-яЁёІіЎўЇїЄєҐґ]")
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]")
# What CP1251 has besides letters and people do write.
_CYRILLIC_SIGNS: Final = frozenset("№«»–—…“”„’‘\xa0°•§")
_CYRILLIC_SHARE: Final = 0.95
# Read as CP1251, the accents of western names are Cyrillic letters within Latin words.
_MIXED: Final = re.compile(r"[A-Za-z][А-яЁё]|[А-яЁё][A-Za-z]")
_MIXED_SHARE: Final = 0.1
# Read as CP1251, KOI8-R turns upper and lower case around: «иВАНОВ».
_TURNED: Final = re.compile(r"\b[а-яё][А-ЯЁ]{2,}")
_WRITTEN: Final = re.compile(r"\b[А-ЯЁ][а-яё]{2,}")
# Every second letter of Russian and Belarusian text is one of these; in another encoding's letters few are.
_FREQUENT: Final = re.compile(r"[оеаинтсрвл]", re.IGNORECASE)
_FREQUENT_SHARE: Final = 0.4
_ENOUGH_LETTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, without its end; `why` says what is wrong with it, "" when nothing is."""

    number: int
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One person as the file has him.

    Attributes:
        line: Where he begins.
        names: Printable, not cut to any column yet.
        numbers: As written.
        uid: The file's own id of him, "" when it has none.
    """

    line: int
    names: Names
    numbers: tuple[str, ...]
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that could not be used, and why, in words."""

    line: int
    why: str


Parsed = Entry | Broken


def encoding_of(chunks: Iterable[bytes]) -> str | None:
    """How a file is written: utf-8, cp1251, utf-16-le or utf-16-be; None when it cannot be told.

    A wrong guess would write nonsense over good names, so a text that is not UTF-8 must look like Russian in CP1251.
    """
    found = _Bytes()
    for number, chunk in enumerate(chunks):
        if number == 0:
            for mark, encoding in _BOMS.items():
                if chunk.startswith(mark):
                    return encoding
            if encoding := _utf16(chunk[:_SAMPLE]):
                return encoding
        found.receive(chunk)
    found.end()
    if found.damaged <= _DAMAGED_SHARE * (found.damaged + found.foreign):
        return "utf-8"
    return "cp1251" if _looks_russian(found.sample.decode("cp1251", "replace")) else None


def read_lines(chunks: Iterable[bytes], encoding: str) -> Iterator[Line]:
    """The lines of a file in a known encoding, whatever ends them."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    pending = _Pending()
    for chunk in chunks:
        yield from pending.receive(decoder.decode(chunk))
    yield from pending.receive(decoder.decode(b"", final=True))
    if pending.text or pending.dropped:
        yield pending.line()


def name_from(text: str) -> str:
    """A part of a name as it may be stored: one line, nothing invisible, nothing that turns the reading direction."""
    return printable(text)


@dataclass(slots=True)
class _Bytes:
    """What kind of bytes a file has, line by line."""

    foreign: int = 0  # lines in UTF-8 beyond ASCII
    damaged: int = 0  # lines that are not UTF-8
    sample: bytearray = field(default_factory=bytearray)
    _rest: bytes = b""

    def receive(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._look(line)
        if len(self._rest) > MAX_LINE:
            self._rest = b""  # such a line is nobody's, whatever it is written in

    def end(self) -> None:
        self._look(self._rest)

    def _look(self, line: bytes) -> None:
        if line.isascii():
            return
        try:
            line.decode("utf-8")
            self.foreign += 1
        except UnicodeDecodeError:
            self.damaged += 1
            if len(self.sample) < MAX_LINE:
                self.sample += line[:_SAMPLE] + b"\n"


@dataclass(slots=True)
class _Pending:
    """The line that is being read."""

    number: int = 1
    text: str = ""
    dropped: bool = False

    def receive(self, text: str) -> Iterator[Line]:
        first, *others = text.split("\n")
        self._add(first)
        for other in others:
            yield self.line()
            self.number, self.text, self.dropped = self.number + 1, "", False
            self._add(other)

    def line(self) -> Line:
        text = self.text.removeprefix("\ufeff") if self.number == 1 else self.text
        if self.dropped:
            return Line(self.number, text, f"is longer than {MAX_LINE} characters")
        if "\ufffd" in text:
            return Line(self.number, text, "has bytes that are no text in the encoding of the file")
        return Line(self.number, text.replace("\0", ""))

    def _add(self, text: str) -> None:
        room = MAX_LINE - len(self.text)
        self.dropped = self.dropped or len(text) > room
        self.text += text[:room]


def _utf16(sample: bytes) -> str:
    pairs = len(sample) // 2
    if not pairs or b"\0" not in sample:
        return ""
    for encoding, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if sum(byte in (0, 4) for byte in high) >= _UTF16_SHARE * pairs:
            return encoding
    return ""


def _looks_russian(text: str) -> bool:
    letters = _CYRILLIC.findall(text)
    foreign = [sign for sign in _FOREIGN.findall(text) if sign not in _CYRILLIC_SIGNS]
    if not letters or len(letters) < _CYRILLIC_SHARE * len(foreign):
        return False
    if len(_MIXED.findall(text)) > _MIXED_SHARE * len(letters):
        return False
    if len(_TURNED.findall(text)) > len(_WRITTEN.findall(text)):
        return False
    return len(letters) < _ENOUGH_LETTERS or len(_FREQUENT.findall(text)) >= _FREQUENT_SHARE * len(letters)
