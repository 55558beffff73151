"""Telegram's HTML as the Bot API reads it: the text it shows, or the error it answers. Pure.

Messages are those of the Bot API server (tdlib, MessageEntity.cpp); offsets count UTF-8 bytes.
"""

import html
import re
from typing import Final

__all__ = ["MarkupError", "shown_text"]

TAGS: Final = frozenset(
    {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "a", "code", "pre", "span", "tg-spoiler"}
    | {"blockquote", "tg-emoji", "tg-time"}
)
_PIECE = re.compile(r"<(?P<end>/?)(?P<tag>[a-zA-Z0-9-]*)(?P<rest>[^>]*)(?P<close>>?)|&(?P<name>#?[a-zA-Z0-9]+);")
_KNOWN_ENTITY = re.compile(r"lt|gt|amp|quot|#[0-9]+|#x[0-9a-fA-F]+")


class MarkupError(ValueError):
    """The markup is not understood; the text is what the server adds to `can't parse entities: `."""


def shown_text(source: str) -> str:
    """What people see of a message.

    Raises:
        MarkupError: as the Bot API would refuse it.
    """
    shown: list[str] = []
    opened: list[str] = []
    position = 0
    for piece in _PIECE.finditer(source):
        shown.append(source[position : piece.start()])
        position = piece.end()
        offset = len(source[: piece.start()].encode())
        if piece["name"] is not None:
            # An unknown entity is shown as it is written.
            shown.append(html.unescape(piece[0]) if _KNOWN_ENTITY.fullmatch(piece["name"]) else piece[0])
        elif piece["end"]:
            _close(piece, opened, offset)
        else:
            opened.append(_open(piece, offset))
    if opened:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{opened[-1]}"')
    return "".join([*shown, source[position:]])


def _open(piece: re.Match[str], offset: int) -> str:
    tag = piece["tag"].lower()
    if tag not in TAGS:
        raise MarkupError(f'Unsupported start tag "{tag}" at byte offset {offset}')
    if not piece["close"]:
        raise MarkupError(f"Unclosed start tag at byte offset {offset}")
    return tag


def _close(piece: re.Match[str], opened: list[str], offset: int) -> None:
    tag = piece["tag"].lower()
    if not opened:
        raise MarkupError(f"Unexpected end tag at byte offset {offset}")
    if tag and tag != opened[-1]:
        raise MarkupError(f'Unmatched end tag at byte offset {offset}, expected "</{opened[-1]}>", found "</{tag}>"')
    opened.pop()
