"""The buttons below cards: which there are, what stands on them, what they carry. Pure.

Invariant: a button carries a verb and the token of its card, which is random: nothing that can be guessed or read.
"""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from vochi_agent.cards import Button, Card, Keyboard

__all__ = ["CALL", "TAKE", "WHY", "keyboard_of", "labels_of_buttons", "pressed"]

WHY, CALL, TAKE = "why", "call", "take"
LABELS: Final = {WHY: "Почему?", CALL: "Перезвонить", TAKE: "Взял(а)"}
# What waits for somebody stands in a row of its own, where a thumb finds it.
ROWS: Final = ((TAKE,), (WHY, CALL))
FINAL: Final = "hangup"
_DATA: Final = re.compile(r"(?P<verb>[a-z]{1,8}):(?P<token>[0-9a-f]{32})")


def keyboard_of(cards: Sequence[Card]) -> Keyboard:
    """What stands below a message; nothing below one that carries several cards: which of them would be meant?"""
    if len(cards) != 1 or cards[0].phase != FINAL:
        return ()
    (card,) = cards
    return tuple(
        tuple(Button(label, f"{verb}:{card.token.hex}") for verb, label in row)
        for row in labels_of_buttons(card.buttons.split(","))
    )


def labels_of_buttons(names: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Rows of verbs and what stands on them."""
    rows = [[(verb, LABELS[verb]) for verb in row if verb in names] for row in ROWS]
    return [row for row in rows if row]


def pressed(data: str) -> tuple[str, UUID] | None:
    """The verb and the token of a button; None for what no button of ours carries."""
    match = _DATA.fullmatch(data)
    return (match["verb"], UUID(hex=match["token"])) if match and match["verb"] in LABELS else None
