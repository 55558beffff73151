"""A phonebook as a table: CSV as Excel, Google and Outlook export it, with Russian or English headings. Pure.

Invariant: a row that is broken costs itself alone. A quote that nobody closes would swallow all the rest of the file,
so a row may go on for `MOST_LINES`, and then its first line is the broken one.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from .model import Names
from .phonebook import MAX_LINE, Broken, Entry, Line, Parsed, name_from

__all__ = ["NoPhoneColumn", "read_csv"]

MOST_LINES: Final = 50
_DELIMITERS: Final = ";,\t"
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)", re.IGNORECASE)  # what Excel writes and reads before the headings
_QUOTED: Final = re.compile(r'"[^"]*"')
_WORDS: Final = re.compile(r"[^\w]+")
# Several numbers in one cell; Google puts ` ::: ` between them.
_BETWEEN_NUMBERS: Final = re.compile(r":::|[;,/\n]")

# Headings by what stands in the column, without case, spaces and signs.
_HEADINGS: Final[Mapping[str, frozenset[str]]] = {
    "last_name": frozenset({"фамилия", "lastname", "surname", "familyname", "last"}),
    "first_name": frozenset({"имя", "firstname", "givenname", "first"}),
    "middle_name": frozenset({"отчество", "middlename", "additionalname", "patronymic", "middle"}),
    "enterprise_name": frozenset({
        "компания", "организация", "фирма", "названиекомпании", "предприятие", "юрлицо", "company", "companyname",
        "контрагент", "organization", "organisation", "organizationname", "organization1name", "org", "enterprisename",
    }),
    # In this order of words, as the heading says.
    "fio": frozenset({"фио", "фамилияимяотчество", "фамилияимя", "контактноелицо"}),
    "name": frozenset({
        "name", "fullname", "displayname", "fileas", "имяконтакта", "контакт", "клиент", "абонент", "название",
        "наименование", "полноенаименование",
        "contact", "contactname", "customer",
    }),
    "uid": frozenset({"id", "uid", "код", "ид", "externalid"}),
    "number": frozenset({"номер", "тел", "моб", "number", "tel", "cell", "phones", "msisdn", "phonee164"}),
}  # fmt: skip
_NUMBER: Final = re.compile(r"телефон|^тел(?!е)|phone|мобильн|mobile|сотов")
# Whose assistant calls is not calling himself. `Телефон/факс` is one column for both, `Рабочий факс` is not.
_NO_NUMBER: Final = re.compile(
    r"type|label|тип|метка|(?<!phone)fax|(?<!телефон)(?<!тел)факс|pager|пейджер|phonetic|добав|ext|assistant|помощник"
)
# What a program that took numbers for amounts has written: `80290000011.0`.
_OF_AN_AMOUNT: Final = re.compile(r"(?<=\d{6})\.0$")
_FIO_WORDS: Final = 3


class NoPhoneColumn(ValueError):
    """No heading of the table is known to be that of telephone numbers; the text names those that are there."""


def read_csv(lines: Iterable[Line]) -> Iterator[Parsed]:
    """The people of a table whose first line has the headings.

    Raises:
        NoPhoneColumn: this is no phonebook.
    """
    source = _Lines(lines)
    delimiter, headings = _headings(source)
    columns = [_meaning(heading) for heading in headings]
    if "number" not in columns:
        raise NoPhoneColumn(", ".join(name_from(heading) for heading in headings) or "nothing")
    while (line := source.take()) is not None:
        if line.why:
            yield Broken(line.number, line.why)
        elif line.text.strip():
            yield _entry(line.number, _row(line, source, delimiter), columns)


class _Lines:
    """Lines that may be put back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._returned: deque[Line] = deque()

    def take(self) -> Line | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def put_back(self, lines: Sequence[Line]) -> None:
        self._returned.extendleft(reversed(lines))


def _headings(source: _Lines) -> tuple[str, list[str]]:
    said = ""
    while (line := source.take()) is not None:
        text = line.text
        if match := _SEPARATOR_LINE.fullmatch(text.strip(" \r")):
            said = match[1]
        elif text.strip():
            bare = _QUOTED.sub("", text)
            delimiter = said or max(_DELIMITERS, key=bare.count)
            return delimiter, _row(line, source, delimiter) or []
    return ",", []


def _row(line: Line, source: _Lines, delimiter: str) -> list[str] | None:
    """The cells of a row that begins with this line; None when a quote in it is never closed."""
    text, more = line.text, list[Line]()
    while text.count('"') % 2:
        further = source.take()
        if further is not None:
            more.append(further)
        if further is None or further.why or len(more) == MOST_LINES or len(text) > MAX_LINE:
            source.put_back(more)
            return None
        text += f"\n{further.text}"
    try:
        # Two lines with a stray quote each are no row of two lines; within one line people forget to double them.
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=bool(more)))
    except csv.Error:
        rows = []
    if len(rows) != 1:
        source.put_back(more)
        return None
    return rows[0]


def _meaning(heading: str) -> str:
    words = _WORDS.sub("", heading.casefold().replace("ё", "е")).replace("_", "")
    known = next((meaning for meaning, headings in _HEADINGS.items() if words in headings), "")
    return known or ("number" if _NUMBER.search(words) and not _NO_NUMBER.search(words) else "")


def _entry(number: int, cells: list[str] | None, columns: Sequence[str]) -> Parsed:
    if cells is None:
        return Broken(number, "has a quote that is never closed")
    if any(cell.strip() for cell in cells[len(columns) :]):
        return Broken(number, f"has {len(cells)} cells, the headings are {len(columns)}")
    found: dict[str, list[str]] = {}
    for meaning, cell in zip(columns, cells, strict=False):
        if meaning and cell.strip():
            found.setdefault(meaning, []).append(cell.strip())
    parts = (part.strip() for cell in found.get("number", ()) for part in _BETWEEN_NUMBERS.split(cell))
    numbers = (_OF_AN_AMOUNT.sub("", part) for part in parts)
    texts = {meaning: name_from(cells[0]) for meaning, cells in found.items() if meaning != "number"}
    return Entry(
        line=number,
        names=_names(texts),
        numbers=tuple(dict.fromkeys(part for part in numbers if part)),
        uid=texts.get("uid", ""),
    )


def _names(texts: Mapping[str, str]) -> Names:
    company = texts.get("enterprise_name", "")
    parts = {name: texts.get(name, "") for name in ("last_name", "first_name", "middle_name")}
    if any(parts.values()):
        return Names(**parts, enterprise_name=company)
    words = texts.get("fio", "").split()
    if 1 < len(words) <= _FIO_WORDS:
        last, first, *middle = words
        return Names(last_name=last, first_name=first, middle_name=" ".join(middle), enterprise_name=company)
    # Nobody knows the order of its words, so they stay together.
    whole = " ".join(words) or texts.get("name", "")
    return Names(first_name=whole if whole != company else "", enterprise_name=company)
