"""A phonebook as cards: vCard 2.1, 3.0 and 4.0 as phones, Outlook, Google and iOS export them. Pure.

Sources: RFC 2425, 2426 and 6350, and the vCard 2.1 specification of versit. Read line by line: a card that is broken
costs itself alone, pictures are passed over.
"""

import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .model import Names
from .phonebook import MAX_LINE, Broken, Entry, Line, Parsed, name_from

__all__ = ["read_vcards"]

_WANTED: Final = frozenset({"BEGIN", "END", "N", "FN", "ORG", "TEL", "UID"})
_NO_PHONE: Final = frozenset({"fax", "pager", "modem"})
# The colon that ends the parameters is the first one outside quotes; so are the semicolons between them.
_HEAD: Final = re.compile(r'((?:[^":]|"[^"]*")*):(.*)', re.DOTALL)
_PARAMETERS: Final = re.compile(r'((?:[^";]|"[^"]*")+)')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_BETWEEN_PARTS: Final = re.compile(r"(?<!\\);")
_BARE_PARAMETERS: Final = {"quoted-printable": "encoding", "base64": "encoding", "b": "encoding"}  # vCard 2.1
MOST_NUMBERS: Final = 100


@dataclass(slots=True)
class _Property:
    """`TEL;TYPE=CELL:+375…` in pieces; `value` is decoded, its backslashes are not."""

    line: int
    name: str
    value: str
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _Card:
    """A card that is being read."""

    line: int
    inner: int = 0  # cards inside this one: an AGENT of vCard 2.1
    texts: dict[str, str] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)

    def receive(self, given: _Property) -> None:
        """A property of this card; of several names or companies the first one counts."""
        if given.name != "TEL":
            self.texts.setdefault(given.name, given.value)
        elif not _NO_PHONE & set(re.split(r'[,"]', given.parameters.get("type", ""))):
            number = _plain(given.value).strip()
            if number.lower().startswith("tel:"):
                number = number[4:].partition(";")[0]  # RFC 3966: what follows is an extension or a context
            if number and len(self.numbers) < MOST_NUMBERS:
                self.numbers.append(number)

    def entry(self) -> Entry:
        """The person on it."""
        family, given, middle, *_ = [*(name_from(_plain(part)) for part in _parts(self.texts.get("N", ""))), "", "", ""]
        company = name_from(_plain(_parts(self.texts.get("ORG", ""))[0]))
        whole = name_from(_plain(self.texts.get("FN", "")))
        if not (family or given or middle) and whole != company:
            given = whole  # nobody knows the order of its words, so they stay together
        names = Names(last_name=family, first_name=given, middle_name=middle, enterprise_name=company)
        numbers = tuple(dict.fromkeys(self.numbers))
        return Entry(line=self.line, names=names, numbers=numbers, uid=name_from(self.texts.get("UID", "")))


def read_vcards(lines: Iterable[Line]) -> Iterator[Parsed]:
    """The people of a file of cards, and what in it is broken."""
    cards = _Cards()
    for given in _properties(lines):
        found = given if isinstance(given, Broken) else cards.receive(given)
        if found is not None:
            yield found
    if cards.open is not None:
        yield Broken(cards.open.line, "begins a card that has no end")


class _Cards:
    """From properties to cards.

    Attributes:
        open: The card that is being read.
    """

    def __init__(self) -> None:
        self.open: _Card | None = None

    def receive(self, given: _Property) -> Parsed | None:
        """What is complete now, or broken."""
        card = self.open
        if given.name == "BEGIN":
            return self._begin(given.line)
        if card is None:
            return Broken(given.line, "stands outside of any card")
        if given.name == "END":
            return self._end(card)
        if not card.inner:
            card.receive(given)
        return None

    def _begin(self, line: int) -> Broken | None:
        unfinished = self.open
        if unfinished is not None and "AGENT" in unfinished.texts:
            unfinished.inner += 1
            return None
        self.open = _Card(line)
        if unfinished is None:
            return None
        return Broken(unfinished.line, f"begins a card that has no end: another begins in line {line}")

    def _end(self, card: _Card) -> Entry | None:
        if card.inner:
            card.inner -= 1
            if not card.inner:
                del card.texts["AGENT"]
            return None
        self.open = None
        return card.entry()


def _properties(lines: Iterable[Line]) -> Iterator[_Property | Broken]:
    """The properties that matter, whatever number of lines they are folded to."""
    pending: Line | None = None
    for line in lines:
        if pending is not None and (folded := _unfolded(pending, line)) is not None:
            pending = folded
            continue
        if pending is not None:
            yield from _property(pending)
        pending = line if line.text.strip() else None
    if pending is not None:
        yield from _property(pending)


def _unfolded(pending: Line, line: Line) -> Line | None:
    """Both lines as one; None when the second begins something of its own."""
    head = pending.text.partition(":")[0].lower()
    if "quoted-printable" in head and pending.text.endswith("="):
        text = pending.text[:-1] + line.text
    elif line.text[:1] in {" ", "\t"}:
        text = pending.text + line.text[1:]
    elif ("base64" in head or "encoding=b" in head) and ":" not in line.text:
        text = pending.text  # Nokia's pictures are not indented
    else:
        return None
    if _name(head) not in _WANTED | {"AGENT"}:
        return pending  # a picture is not worth its memory
    return Line(pending.number, text[:MAX_LINE], pending.why or line.why)


def _property(line: Line) -> Iterator[_Property | Broken]:
    match = _HEAD.fullmatch(line.text)
    if match is None:
        yield Broken(line.number, line.why or "is no property of a card")
        return
    name = _name(match[1])
    if name == "AGENT":
        yield _Property(line.number, name, "", {})
        if match[2].strip().upper() == "BEGIN:VCARD":
            yield _Property(line.number, "BEGIN", "VCARD", {})
        return
    if name not in _WANTED:
        return
    if line.why:
        yield Broken(line.number, line.why)
        return
    parameters = _parameters(match[1])
    value = match[2]
    if parameters.get("encoding") == "quoted-printable":
        value = _from_quoted_printable(value, parameters.get("charset", "utf-8"))
    if name in {"BEGIN", "END"} and value.strip().upper() != "VCARD":
        return
    yield _Property(line.number, name, value, parameters)


def _name(head: str) -> str:
    """`TEL` of `item1.TEL;TYPE=CELL`: Apple groups what belongs together."""
    return head.partition(";")[0].rpartition(".")[2].strip().upper()


def _parameters(head: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in _PARAMETERS.findall(head.lower())[1:]:
        name, equals, value = text.partition("=")
        if not equals:
            name, value = _BARE_PARAMETERS.get(text, "type"), text
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _from_quoted_printable(value: str, charset: str) -> str:
    raw = quopri.decodestring(value.encode("utf-8"))
    for encoding in (charset, "utf-8", "cp1251"):
        try:
            return raw.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return raw.decode("utf-8", "replace")


def _parts(value: str) -> list[str]:
    return _BETWEEN_PARTS.split(value)


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)
