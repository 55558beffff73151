"""What to do next in one chat: a decision table over its open work and what its budget leaves. Pure.

In peace every call has its own message, edited as the call goes on; finals come first, live states only while half of
the minute's budget is left. When a third is left the chat is in a rush: one board shows the calls that go on, finals
share messages, until two thirds are free again and nothing waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vochi_agent.cards import Card, ChatWork, Doubt

from .together import board, message_of, which_share

__all__ = ["Delete", "Edit", "Fold", "Look", "Planner", "Post", "SetBoard", "Step", "TakeBack", "Wait"]

FINAL: Final = "hangup"
BOARD: Final = "board"
# In peace so many finals wait only after an outage or a night: then they share too.
MANY: Final = 5
# In a rush, parts of a minute between shared messages, changes of the board, deletions: 12 + 5 + 1 of 18.
SHARE_EVERY: Final = 1 / 12
BOARD_EVERY: Final = 1 / 5
DELETE_EVERY: Final = 1
# A lost message that the network still carries arrives within this part of a minute.
SETTLES: Final = 1 / 2
IDLE: Final = 1 / 60
# Requests of a minute that corrections and looks leave to what people wait for, and of a burst that live states do.
SPARE: Final = 2


@dataclass(frozen=True, slots=True)
class Post:
    """A new message that carries these cards."""

    cards: Sequence[Card]

    @property
    def text(self) -> str:
        """What it says."""
        return message_of(self.cards)

    @property
    def silent(self) -> bool:
        """None of the cards is to be heard."""
        return all(card.silent for card in self.cards)


@dataclass(frozen=True, slots=True)
class Edit:
    """The message of this card is to say what the card says now."""

    card: Card


@dataclass(frozen=True, slots=True)
class TakeBack:
    """These cards are to show nothing any more."""

    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class Fold:
    """Single live messages have to go: a board shows their calls."""


@dataclass(frozen=True, slots=True)
class SetBoard:
    """What a board is to say, "" for none."""

    topic: int
    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Messages that have to go."""

    message_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Look:
    """A text may stand in the chat without our knowledge. `last`: it cannot arrive any later than now."""

    doubt: Doubt
    last: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing now; look again after so many seconds, or when woken."""

    seconds: float | None


Step = Post | Edit | TakeBack | Fold | SetBoard | Delete | Look | Wait


class Planner:
    """The memory of one chat's decisions.

    Attributes:
        rushing: A board stands for single cards.
    """

    def __init__(self, size: int, *, minute: float = 60.0) -> None:
        """`size`: requests a minute; `minute`: its seconds."""
        self.rushing = False
        self._size = size
        self._minute = minute
        self._posted = self._boarded = self._deleted = float("-inf")
        self._looked: set[str] = set()

    def next(self, work: ChatWork, *, left: int, burst: int, now: float) -> Step:
        """The one thing to do now.

        Args:
            work: What is open.
            left: Requests that this minute leaves.
            burst: Requests that these few seconds leave.
            now: Monotonic seconds.
        """
        if gone := [card for card in work.open if not card.text]:
            return TakeBack(gone)
        self._judge(work, left)
        step = self._in_a_rush(work, left, now) if self.rushing else self._in_peace(work, left, burst)
        match step:
            case Post() if step.cards[0].phase == FINAL:
                self._posted = now
            case SetBoard():
                self._boarded = now
            case Delete():
                self._deleted = now
            case Look():
                self._looked.add(step.doubt.text)
                if step.last:
                    self._looked.clear()
        return step

    def _judge(self, work: ChatWork, left: int) -> None:
        calls = [card for card in work.open if card.kind != BOARD]
        if not self.rushing:
            # A board that stands there is of an earlier life, which was in a rush.
            self.rushing = bool(calls) and (left <= self._size // 3 or any(card.kind == BOARD for card in work.live))
        elif left >= self._size * 2 // 3 and not any(card.phase == FINAL for card in calls):
            self.rushing = False

    def _in_peace(self, work: ChatWork, left: int, burst: int) -> Step:
        finals = [card for card in work.open if card.phase == FINAL]
        fresh = [card for card in finals if _is_new(card)]
        if len(fresh) >= MANY or (fresh and fresh[0].held_until):
            return Post(which_share(fresh))
        if finals:
            return Post(finals[:1]) if _is_new(finals[0]) else Edit(finals[0])
        live = [card for card in work.open if card.kind != BOARD]
        if live and left > self._size // 2 and burst > SPARE:
            return Post(live[:1]) if _is_new(live[0]) else Edit(live[0])
        for card in work.live:
            if card.kind == BOARD:
                return SetBoard(card.topic, "")
        if work.leftovers and min(left, burst) > 1:
            return Delete(work.leftovers)
        return self._look(work.doubt, left) or Wait(self._idle(work))

    def _in_a_rush(self, work: ChatWork, left: int, now: float) -> Step:
        singles = [card for card in (*work.live, *work.open) if card.kind == "call" and card.message_id]
        if any(card.sent_phase != FINAL for card in singles):
            return Fold()
        finals = [card for card in work.open if card.phase == FINAL]
        fresh = [card for card in finals if _is_new(card)]
        if fresh and now - self._posted >= SHARE_EVERY * self._minute:
            return Post(which_share(fresh))
        if work.leftovers and now - self._deleted >= DELETE_EVERY * self._minute:
            return Delete(work.leftovers)
        if step := self._board(work, now):
            return step
        corrections = [card for card in finals if not _is_new(card)]
        if corrections and left > SPARE:
            return Edit(corrections[0])
        return self._look(work.doubt, left) or Wait(IDLE * self._minute)

    def _board(self, work: ChatWork, now: float) -> Step | None:
        """Have each topic's board say what goes on."""
        for card in work.open:
            if card.kind == BOARD:
                return Post([card]) if _is_new(card) else Edit(card)
        if now - self._boarded < BOARD_EVERY * self._minute:
            return None
        said = {card.topic: card.text for card in work.live if card.kind == BOARD}
        calls = [card for card in work.live if card.kind != BOARD]
        for topic in sorted({card.topic for card in calls} | said.keys()):
            text = board([card for card in calls if card.topic == topic])
            if text != said.get(topic, ""):
                return SetBoard(topic, text)
        return None

    def _look(self, doubt: Doubt | None, left: int) -> Step | None:
        """Twice for each doubt: at once, and when nothing can arrive any more."""
        if doubt is None or left <= SPARE:
            return None
        last = doubt.age >= SETTLES * self._minute
        return Look(doubt, last) if last or doubt.text not in self._looked else None

    def _idle(self, work: ChatWork) -> float | None:
        waits = work.open or work.leftovers or work.doubt or self.rushing
        return IDLE * self._minute if waits else None


def _is_new(card: Card) -> bool:
    """No message shows it, or one that a new phase must not edit."""
    return card.message_id is None or (card.anew and card.phase != card.sent_phase)
