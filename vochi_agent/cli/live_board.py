"""The calls of a PBX as cards: which go on, and each once more when it is over. The texts are those of the chats."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallProgress, CallUpdate, Direction, Phase
from vochi_agent.telegram.text import Labels, final_card, live_card, plain

__all__ = ["LiveBoard"]

MOST_CALLS: Final = 2000
# A record may be corrected shortly after the end; nobody wants to read it twice for that.
REMEMBERED: Final = 2000


class LiveBoard:
    """Takes updates and keeps what there is to show.

    Args:
        labels: Names, lines, zone.
        changed: Told the card of a call that went on.
        finished: Told the card of a call that is over.
    """

    def __init__(self, labels: Labels, *, changed: Callable[[str], None], finished: Callable[[str], None]) -> None:
        self._labels = labels
        self._changed = changed
        self._finished = finished
        self._live: OrderedDict[str, tuple[CallProgress, str]] = OrderedDict()
        self._told: OrderedDict[str, Call] = OrderedDict()

    def cards(self) -> Iterator[str]:
        """Of the calls that go on, oldest first."""
        for progress, placed_by in self._live.values():
            yield self._card(progress, placed_by)

    def tell(self, update: CallUpdate) -> None:
        """What became of a call."""
        match update:
            case CallProgress():
                self._go_on(update)
            case CallMerged():
                self._live.pop(update.linkedid, None)
            case CallFinished():
                self._end(update.call)

    def _go_on(self, progress: CallProgress) -> None:
        known = self._live.get(progress.linkedid)
        placed_by = known[1] if known else ""
        if not placed_by and progress.phase is Phase.START and progress.direction is not Direction.IN:
            placed_by = next(iter(progress.agents), "")
        self._live[progress.linkedid] = progress, placed_by
        if len(self._live) > MOST_CALLS:
            self._live.popitem(last=False)
        self._changed(self._card(progress, placed_by))

    def _end(self, call: Call) -> None:
        self._live.pop(call.linkedid, None)
        if self._told.get(call.linkedid) == call:
            return
        self._told[call.linkedid] = call
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        self._finished(plain(final_card(call, customer=None, before=None, labels=self._labels)))

    def _card(self, progress: CallProgress, placed_by: str) -> str:
        return plain(live_card(progress, customer=None, before=None, labels=self._labels, placed_by=placed_by))
