"""Messages about several calls: finals that share one in a rush, the digest of a night, the board of calls that go on.

Pure. Invariant: a message is a function of the cards it carries, so that it can be written again when one of them
changes; it is never longer than Telegram takes.
"""

import html
from collections.abc import Sequence
from typing import Final

from vochi_agent.cards import Card
from vochi_agent.customers.names import cut

from .text import MAX_UNITS, plain, units
from .words import counted

__all__ = ["board", "board_of", "in_one_message", "message_of", "recovered_digest", "which_share"]

# More full cards than these nobody reads: they become a list with a line each.
MOST_IN_FULL: Final = 12
MOST_LINES: Final = 30
# The names of customers may come later and are longer than nothing.
ROOM_FOR_NAMES: Final = 600
LINES_ON_A_BOARD: Final = 15
MISSED: Final = "❌"


def which_share(cards: Sequence[Card]) -> Sequence[Card]:
    """The first of these waiting finals that make one message together."""
    topic = cards[0].topic
    cards = [card for card in cards if card.topic == topic]
    if len(cards) > MOST_IN_FULL or any(card.held_until for card in cards):
        return cards[:MOST_LINES]
    fitting = len(cards)
    while fitting > 1 and units(_in_full([card.text for card in cards[:fitting]])) > MAX_UNITS - ROOM_FOR_NAMES:
        fitting -= 1
    return cards[:fitting]


def message_of(cards: Sequence[Card]) -> str:
    """What a message says that carries these cards, oldest first."""
    held = any(card.held_until for card in cards)
    return in_one_message([(card.text, card.brief) for card in cards], held=held)


def in_one_message(cards: Sequence[tuple[str, str]], *, held: bool) -> str:
    """Whole cards as long as there is room for them, else one line each; `held`: they waited for the morning."""
    if len(cards) == 1:
        return cards[0][0]
    in_full = _in_full([text for text, _ in cards])
    if not held and len(cards) <= MOST_IN_FULL and units(in_full) <= MAX_UNITS:
        return in_full
    missed = sum(brief.startswith(MISSED) for _, brief in cards)
    calls = counted(len(cards), "звонок", "звонка", "звонков")
    head = f"🌙 В тихие часы: {calls}" if held else f"📋 {calls}"
    lines = [brief or text.partition("\n")[0] for text, brief in cards]
    return _listed(f"{head}, пропущено: {missed}" if missed else head, lines)


def recovered_digest(lines: Sequence[str]) -> str:
    """Calls that were found again, too many for a card each: their brief forms, the newest when there are very many."""
    missed = sum(line.startswith(MISSED) for line in lines)
    head = f"🔄 Восстановлено: {counted(len(lines), 'звонок', 'звонка', 'звонков')}"
    shown = list(lines[-MOST_LINES:])
    if len(lines) > MOST_LINES:
        shown.insert(0, f"… и ещё {len(lines) - MOST_LINES} раньше")
    return _listed(f"{head}, пропущено: {missed}" if missed else head, shown)


def board(cards: Sequence[Card]) -> str:
    """What stands in the place of single live cards; "" when no call goes on."""
    return board_of([(card.phase, card.brief) for card in cards])


def board_of(calls: Sequence[tuple[str, str]]) -> str:
    """A board of calls that are in a phase and have a brief form."""
    if not calls:
        return ""
    talking = sum(phase == "bridge" for phase, _ in calls)
    ringing = len(calls) - talking
    parts = [counted(talking, "разговор", "разговора", "разговоров")] if talking else []
    if ringing:
        parts.append(counted(ringing, "звонок ждёт", "звонка ждут", "звонков ждут") + " ответа")
    lines = [brief for _, brief in calls[:LINES_ON_A_BOARD]]
    if len(calls) > LINES_ON_A_BOARD:
        lines.append(f"… и ещё {len(calls) - LINES_ON_A_BOARD}")
    return "\n".join([f"🔥 Сейчас {', '.join(parts)}", *lines])


def _listed(head: str, lines: Sequence[str]) -> str:
    """A list; where Telegram does not take it, the longest lines are cut."""
    lines = list(lines)
    while units(text := "\n".join([head, *lines])) > MAX_UNITS:
        at = max(range(len(lines)), key=lambda index: units(lines[index]))
        words = plain(lines[at])
        lines[at] = html.escape(cut(words, len(words) * 3 // 4) + "…", quote=False)
    return text


def _in_full(texts: Sequence[str]) -> str:
    return "\n\n".join(texts)
