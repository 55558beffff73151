"""The name on a handset: parts in the line's order, cleaned, cut to the width, joined by ` | `. Pure.

Invariant: what comes out holds nothing that can break a SIP header, an AGI command or a dialplan argument list, and is
never wider than asked. Every part is hostile: it comes from CRMs and telephone lines.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vochi_agent.customers.charsets import Charset, fitted
from vochi_agent.customers.legal_forms import without_legal_form
from vochi_agent.customers.model import Names

__all__ = ["SEPARATOR", "CallerName", "Handset", "clean", "compose", "cut", "printable"]

SEPARATOR: Final = " | "
# A part cut below this tells nothing: rather one part fewer.
NARROWEST_PART: Final = 6
# A word boundary is a sensible place unless it costs more than this share of the room.
ROOM_TO_KEEP: Final = 0.6
# Nothing people are called is longer; bounds the work on what a CRM may send.
LONGEST: Final = 1000
CACHED: Final = 1024

# Format characters turn the reading direction or are invisible; surrogates are undecodable bytes.
_INVISIBLE: Final = frozenset({"Cf", "Cs", "Co"})
_SPACES: Final = frozenset({"Cc", "Zs", "Zl", "Zp"})
# Quotes and angle brackets end a display name, the bar is our separator, the backslash escapes.
_BREAKERS = re.compile(r"""["<>|\\«»“”„‟‹›`]""")
_APOSTROPHES = re.compile(r"[’‘‛ʼ]")
# An apostrophe inside a word is a letter of the name (О'Нил), elsewhere a quote.
_QUOTING = re.compile(r"(?<!\w)'|'(?!\w)")
_LOOSE_END = re.compile(r"[\s,.;:(\[{/&+-]+$")


def printable(text: str) -> str:
    """One line of visible text: control characters become spaces, invisible ones vanish, spaces collapse."""
    composed = unicodedata.normalize("NFC", text[:LONGEST])
    # Nearly everything is printable as it is.
    return " ".join((composed if composed.isprintable() else _visible(composed)).split())


def _visible(text: str) -> str:
    """Sign by sign, where something is not as it should be."""
    return "".join(
        " " if category in _SPACES else char
        for char in text
        if (category := unicodedata.category(char)) not in _INVISIBLE
    )


def clean(text: str) -> str:
    """A part of a name without what breaks headers: control and bidi characters, quotes, `<>`, `|`."""
    return _clean(text[:LONGEST])  # the cache must not keep what a CRM sends by the kilobyte


@lru_cache(CACHED)
def _clean(text: str) -> str:
    bare = _BREAKERS.sub(" ", _APOSTROPHES.sub("'", printable(text)))
    return " ".join(_QUOTING.sub(" ", bare).split())


def cut(text: str, width: int) -> str:
    """The beginning of a text, at most `width` characters, ended between words where that costs little."""
    if len(text) <= width:
        return text
    end = width
    while end and unicodedata.combining(text[end]):
        end -= 1  # never between a letter and its accent
    space = text.rfind(" ", 0, end + 1)
    if space >= width * ROOM_TO_KEEP:
        end = space
    return _LOOSE_END.sub("", text[:end])


def compose(parts: Sequence[str], *, width: int, keep: str = "") -> str:
    """The non-empty parts in their order, each once; the longest are cut first, then the last ones left out.

    Args:
        parts: As they come.
        width: Characters.
        keep: The part that is neither cut nor left out while another one is there.
    """
    wanted = [part for part in dict.fromkeys(clean(part) for part in parts) if part]
    whole = SEPARATOR.join(wanted)
    if len(whole) <= width:
        return whole
    kept = clean(keep)
    while wanted:
        others = [part for part in wanted if part != kept]
        room = width - len(SEPARATOR) * (len(wanted) - 1) - sum(len(part) for part in wanted if part == kept)
        limit = _limit([len(part) for part in others], room)
        if not others:
            return cut(kept, width)
        if len(wanted) == 1 or limit >= min(NARROWEST_PART, max(map(len, others))):
            pieces = (part if part == kept else cut(part, limit) for part in wanted)
            return SEPARATOR.join(piece for piece in pieces if piece)
        wanted.remove(others[-1])
    return ""


@dataclass(frozen=True, slots=True)
class Handset:
    """What a telephone can show: `width` in characters."""

    charset: Charset = "utf-8"
    width: int = 60

    @property
    def key(self) -> str:
        """Names this kind of telephone in a channel variable: `latin_16`."""
        return f"{self.charset.replace('-', '')}_{self.width}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerName:
    """What there is to show of one call; `on` tells how it looks on a telephone.

    Attributes:
        parts: `caller_name` of the line: customer, company, person, number, line, shop, in any order.
        names: Of the customer; empty for a stranger.
        label: Of the line.
        shop: Of the line, "" for none.
        number: As people read it, "" for a hidden caller.
        one_of_lines: There are several lines, so the line's part is what must not be lost; else the customer's is.
        legal_forms: Companies are shown with theirs.
    """

    parts: Sequence[str]
    names: Names
    label: str = ""
    shop: str = ""
    number: str = ""
    one_of_lines: bool = False
    legal_forms: bool = True

    def on(self, handset: Handset) -> str:
        """The name; "" when there is nothing to show."""
        company = self.names.enterprise_name
        company = company if self.legal_forms else without_legal_form(company)
        person = self.names.person
        known = {
            "customer": company or person,
            "company": company,
            "person": person,
            "number": self.number,
            "line": self.label,
            "shop": self.shop,
        }
        # Longer in Latin letters: so first the letters, then the width.
        shown = {part: fitted(clean(known[part]), handset.charset) for part in self.parts}
        keep = shown.get("line") if self.one_of_lines else None
        return compose([*shown.values()], width=handset.width, keep=keep or next(filter(None, shown.values()), ""))


def _limit(lengths: Sequence[int], room: int) -> int:
    """The greatest length that every part may have so that all fit into the room; short parts leave theirs to long."""
    left = sorted(lengths)
    while left:
        share = room // len(left)
        if left[0] > share:
            return share
        room -= left.pop(0)
    return max(lengths, default=0)
