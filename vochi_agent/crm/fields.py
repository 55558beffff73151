"""Values out of a CRM's JSON, which may hold anything. Pure; nothing here raises."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from vochi_agent.calls.numbers import to_e164

__all__ = [
    "dialled_digits",
    "identifier",
    "mapping",
    "numbers",
    "numeric_id",
    "objects",
    "same_number",
    "search_digits",
    "text",
]

PLACEHOLDER_IDS: Final = frozenset({"", "0", "none", "null", "unknown"})
MAX_ID_LENGTH: Final = 64
# Longer ones are not written by people; bounds the work on what a CRM may send.
MAX_TEXT: Final = 10_000
MAX_PHONES_TEXT: Final = 200
# What may stand inside one written number; anything else divides two of them: "…00-01, …00-02", "…00-01 доб. 12".
BETWEEN_NUMBERS: Final = re.compile(r"[^0-9()+\-.\s\u2010-\u2015\u2212]+")
# How one country's numbers are written at home. Only these may precede the national number, so that the American
# +1 900 000-00-01 is not taken for the Russian +7 900 000-00-01 although the last ten digits agree. The second of each
# is how people at home dial.
RUSSIAN_PREFIXES: Final = ("7", "8", "", "007", "8107")
BELARUSIAN_PREFIXES: Final = ("375", "80", "0", "", "00375", "810375")
NATIONAL_FORMS: Final = (("7", 10, RUSSIAN_PREFIXES), ("375", 9, BELARUSIAN_PREFIXES))


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Sequence[Mapping[str, object]]:
    """The objects of a JSON array; PHP prints an array with gaps as an object, so its values count too."""
    if isinstance(value, dict):
        value = list(value.values())
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """One printable line: control characters, NUL and lone surrogates would break handsets and the database."""
    if not isinstance(value, str):
        return ""
    visible = (
        character for character in value[:MAX_TEXT] if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    return " ".join("".join(visible).split())


def identifier(value: object) -> str:
    """An id as text; "" for what is no id: placeholders once joined strangers into one person."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    cleaned = text(value)
    return "" if cleaned.lower() in PLACEHOLDER_IDS or len(cleaned) > MAX_ID_LENGTH else cleaned


def numeric_id(value: object) -> str:
    """An id of a CRM that counts: ASCII digits, "" for anything else; it may stand in a path as it is."""
    cleaned = identifier(value)
    return cleaned if cleaned.isascii() and cleaned.isdigit() else ""


def search_digits(phone: str) -> tuple[str, ...]:
    """What to search a CRM for, best first: the digits of an E.164 number, then its national part."""
    full = _digits(phone)
    for country, length, _ in NATIONAL_FORMS:
        if full.startswith(country) and len(full) == len(country) + length:
            return (full, full[-length:])
    return (full,)


def dialled_digits(phone: str) -> tuple[str, ...]:
    """As `search_digits`, for a CRM that compares whole numbers: the national form is the dialled one, 8… or 80…."""
    full = _digits(phone)
    for country, length, prefixes in NATIONAL_FORMS:
        if full.startswith(country) and len(full) == len(country) + length:
            return (full, prefixes[1] + full[-length:])
    return (full,)


def same_number(written: str, phone: str) -> bool:
    """Whether what somebody typed into a CRM's phone field holds this E.164 number."""
    full = _digits(phone)
    forms = {full} - {""}
    for country, length, prefixes in NATIONAL_FORMS:
        if full.startswith(country) and len(full) == len(country) + length:
            forms |= {prefix + full[-length:] for prefix in prefixes}
    return any(_digits(piece) in forms for piece in BETWEEN_NUMBERS.split(written))


def numbers(written: str, country: str) -> tuple[str, ...]:
    """The E.164 numbers in what somebody typed into a phone field; numbers without a country are read as at home.

    Args:
        country: ISO 3166 code of the enterprise.
    """
    pieces = (piece.strip() for piece in BETWEEN_NUMBERS.split(written[:MAX_PHONES_TEXT]))
    found = (to_e164(piece, country=country) for piece in pieces if piece)
    return tuple(dict.fromkeys(number for number in found if number))


def _digits(written: str) -> str:
    return "".join(character for character in written if character in "0123456789")
