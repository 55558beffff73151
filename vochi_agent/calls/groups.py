"""Which channels are one call: the legs of one PBX in groups, found by channel and by linkedid. Pure.

A group begins with its linkedid. Groups merge when a channel's linkedid changes, an event names channels of two of
them, or they meet in a bridge. One that is over is remembered for a while: stragglers still belong to it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from vochi_agent.calls.layout import Layout
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.live import LiveCall

__all__ = ["REMEMBER_S", "Groups"]

# How long a finished call waits for stragglers, and how many wait at most. What comes later is another call, or a
# correction that recovery finds.
REMEMBER_S: Final = 30.0
REMEMBER_CALLS: Final = 2000


class Groups:
    """The calls that live or are remembered.

    Args:
        merged: Called with what became of two calls that turned out to be one.
    """

    def __init__(self, merged: Callable[[LiveCall], None]) -> None:
        self._merged = merged
        self._by_linkedid: dict[str, LiveCall] = {}  # a merged call stands under each of its linkedids
        self._by_channel: dict[str, LiveCall] = {}  # by uniqueid
        self._met: dict[str, str] = {}  # bridge -> uniqueid of who entered it last
        self._remembered: OrderedDict[int, tuple[float, LiveCall]] = OrderedDict()

    def __iter__(self) -> Iterator[LiveCall]:
        """Every call once."""
        return iter({id(call): call for call in self._by_linkedid.values()}.values())

    def __getitem__(self, leg: Leg) -> LiveCall:
        """The call of a leg that is known."""
        return self._by_channel[leg.uniqueid]

    def of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel."""
        return self._by_channel.get(uniqueid)

    def under(self, linkedid: str) -> LiveCall | None:
        """The call that has, or had, a linkedid."""
        return self._by_linkedid.get(linkedid)

    def legs(self) -> Iterator[tuple[LiveCall, Leg]]:
        """Every channel that is known, with its call."""
        for uniqueid, call in self._by_channel.items():
            yield call, call.legs[uniqueid]

    def add(self, leg: Leg, layout: Layout) -> LiveCall:
        """A channel that was not known; its call begins with it when nobody else has its linkedid."""
        call = self._by_linkedid.get(leg.linkedid)
        if call is None:
            call = self._by_linkedid[leg.linkedid] = LiveCall(layout, linkedids=[leg.linkedid])
        call.legs[leg.uniqueid] = leg
        self._by_channel[leg.uniqueid] = call
        return call

    def relink(self, leg: Leg, linkedid: str, at: float) -> LiveCall:
        """A channel carries another linkedid than before: its call became part of that one, without a word."""
        leg.linkedid = linkedid
        call = self[leg]
        other = self._by_linkedid.get(linkedid)
        if other is None:
            self._by_linkedid[linkedid] = call
            call.linkedids.append(linkedid)
            return call
        return self.merge(call, other, at)

    def merge(self, one: LiveCall, two: LiveCall, at: float) -> LiveCall:
        """Make one call of two; the older one stays."""
        if one is two:
            return one
        older, younger = sorted((one, two), key=lambda call: call.started)
        older.absorb(younger)
        older.last_event = at
        for linkedid in younger.linkedids:
            self._by_linkedid[linkedid] = older
        for uniqueid in younger.legs:
            self._by_channel[uniqueid] = older
        self._remembered.pop(id(younger), None)
        self._merged(older)
        return older

    def meet(self, leg: Leg, at: float) -> LiveCall:
        """Who talk in one bridge are in one call, however each came there.

        Asterisk gives them one linkedid in the bridges of Dial() and Queue() only, not in a conference room, and in a
        bridge of ARI only when the application names an originator (seen on 16.28 and 22.10).
        """
        call = self[leg]
        other = self._by_channel.get(self._met.get(leg.bridge, ""), call)
        if other is not call and any(waiting.bridge == leg.bridge for waiting in other.legs.values()):
            call = self.merge(call, other, at)
        self._met[leg.bridge] = leg.uniqueid
        return call

    def over(self, call: LiveCall, at: float) -> None:
        """The last channel of a call is gone."""
        self._remembered[id(call)] = (at, call)
        self._remembered.move_to_end(id(call))
        self.forget(at)

    @property
    def forgets_at(self) -> float | None:
        """When the next call is forgotten, None while none waits for that."""
        return next(iter(self._remembered.values()))[0] + REMEMBER_S if self._remembered else None

    def forget(self, now: float) -> None:
        """Let go of what was over long enough ago, or of the oldest of too many."""
        while self._remembered:
            key, (since, call) = next(iter(self._remembered.items()))
            if now - since < REMEMBER_S and len(self._remembered) <= REMEMBER_CALLS:
                return
            del self._remembered[key]
            if not call.open:  # else a straggler brought it back to life
                self._drop(call)

    def shrink(self) -> None:
        """Give the room of a busy hour back: a dict that has become empty keeps it."""
        if not self._by_channel:
            for table in (self._by_channel, self._by_linkedid, self._met, self._remembered):
                table.clear()

    def _drop(self, call: LiveCall) -> None:
        for linkedid in call.linkedids:
            if self._by_linkedid.get(linkedid) is call:
                del self._by_linkedid[linkedid]
        for uniqueid, leg in call.legs.items():
            self._by_channel.pop(uniqueid, None)
            for stay in leg.bridges:
                if self._met.get(stay.place) in call.legs:
                    del self._met[stay.place]
