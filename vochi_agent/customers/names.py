"""The name on a handset: parts in the line's order, cleaned, cut to the width, joined by ` | `. Pure.

Invariant: what comes out holds nothing that can break a SIP header, an AGI command or a dialplan argument list, and is
never wider than asked. Every part is hostile: it comes from CRMs and telephone lines.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from vochi_agent.customers.model import Names

__all__ = ["SEPARATOR", "caller_name", "clean", "compose", "cut", "printable"]

SEPARATOR: Final = " | "
WIDTH: Final = 60  # characters, unless the phone says otherwise
# A part cut below this tells nothing: rather one part fewer.
NARROWEST_PART: Final = 4
# A word boundary is a sensible place unless it costs more than this share of the room.
ROOM_TO_KEEP: Final = 0.6
# Nothing people are called is longer; bounds the work on what a CRM may send.
LONGEST: Final = 1000

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
    visible = (
        " " if category in _SPACES else char
        for char in unicodedata.normalize("NFC", text[:LONGEST])
        if (category := unicodedata.category(char)) not in _INVISIBLE
    )
    return " ".join("".join(visible).split())


def clean(text: str) -> str:
    """A part of a name without what breaks headers: control and bidi characters, quotes, `<>`, `|`."""
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


def compose(parts: Sequence[str], *, width: int) -> str:
    """The non-empty parts in their order, each once; the longest are cut first, then the last ones left out."""
    wanted = [part for part in dict.fromkeys(clean(part) for part in parts) if part]
    while wanted:
        room = width - len(SEPARATOR) * (len(wanted) - 1)
        limit = _limit([len(part) for part in wanted], room)
        if len(wanted) == 1 or limit >= NARROWEST_PART:
            return SEPARATOR.join(shown for part in wanted if (shown := cut(part, limit)))
        wanted.pop()
    return ""


def caller_name(parts: Sequence[str], names: Names, *, label: str, shop: str, number: str, width: int = WIDTH) -> str:
    """What a handset shows; "" when there is nothing to show and the name should be left alone.

    Args:
        parts: `caller_name` of the line: customer, company, person, number, line, shop, in any order.
        names: Of the customer; empty for a stranger.
        label: Of the line.
        shop: Of the line, "" for none.
        number: As people read it, "" for a hidden caller.
        width: Characters.
    """
    known = {
        "customer": names.display,
        "company": names.enterprise_name,
        "person": names.person,
        "number": number,
        "line": label,
        "shop": shop,
    }
    return compose([known[part] for part in parts], width=width)


def _limit(lengths: Sequence[int], room: int) -> int:
    """The greatest length that every part may have so that all fit into the room; short parts leave theirs to long."""
    left = sorted(lengths)
    while left:
        share = room // len(left)
        if left[0] > share:
            return share
        room -= left.pop(0)
    return max(lengths)
