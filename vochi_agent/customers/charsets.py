"""What a telephone's charset can show of a text: Cyrillic becomes Latin letters, the rest is left out. Pure.

`latin` knows the letters of the Latin script with their accents, `ascii` the 95 printable characters of ASCII alone.
Names are transliterated by Wikipedia's rules for Russian: they need no signs outside of ASCII and are read aloud right.
"""

import unicodedata
from functools import lru_cache
from typing import Final, Literal

import iuliia

__all__ = ["Charset", "fitted"]

Charset = Literal["utf-8", "latin", "ascii"]

CACHED: Final = 4096
# Letters of the neighbours' alphabets, which a scheme for Russian does not know.
_NEIGHBOURS: Final = {
    "і": "i",
    "ї": "yi",
    "є": "ye",
    "ґ": "g",
    "ў": "u",
    "ј": "j",
    "љ": "lj",
    "њ": "nj",
    "ћ": "c",
    "ђ": "dj",
    "џ": "dz",
    "ѕ": "dz",
    "ѓ": "gj",
    "ќ": "kj",
    "ә": "a",
    "ғ": "g",
    "қ": "q",
    "ң": "ng",
    "ө": "o",
    "ұ": "u",
    "ү": "u",
    "һ": "h",
    "ҳ": "h",
    "ҷ": "j",
    "ӯ": "u",
    "ӣ": "i",
}
_SIGNS: Final = {"–": "-", "—": "-", "‑": "-", "−": "-", "‐": "-", "•": "*", "№": "No"}
_PLAIN_SIGNS: Final = str.maketrans(_SIGNS)
_AS_LATIN: Final = str.maketrans(
    _NEIGHBOURS | {letter.upper(): latin.capitalize() for letter, latin in _NEIGHBOURS.items()}
)
# Latin letters that are no letter with an accent to Unicode.
_UNACCENTED: Final = {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i"}
_TO_ASCII: Final = str.maketrans(
    _UNACCENTED | {letter.upper(): latin.capitalize() for letter, latin in _UNACCENTED.items() if letter not in "ßı"}
)


@lru_cache(CACHED)
def fitted(text: str, charset: Charset) -> str:
    """The text in the characters of a charset; "" when none of it can be shown."""
    if charset == "utf-8" or text.isascii():
        return text
    latin = "".join(char for char in _transliterated(text) if _is_latin(char))
    if charset == "ascii":
        parted = unicodedata.normalize("NFKD", latin.translate(_TO_ASCII))
        latin = "".join(char for char in parted if char.isascii())
    return " ".join(latin.split())


def _transliterated(text: str) -> str:
    """Full-width, ligated and raised forms become plain ones on the way."""
    words = unicodedata.normalize("NFKC", text.translate(_PLAIN_SIGNS)).split()
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    latin: str = iuliia.WIKIPEDIA.translate(word.translate(_AS_LATIN))
    return latin.upper() if len(word) > 1 and word.isupper() else latin


def _is_latin(char: str) -> bool:
    return char.isascii() or unicodedata.name(char, "").startswith("LATIN ")
