"""Who talks with whom: two legs talk while a chain of bridges and Local pairs joins them.

A Local channel is two halves; what enters one half leaves by the other, so a pair joins the bridges of its halves.
Holding bridges (parking, waiting music) never reach this module: nobody talks in them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf, nextafter

from vochi_agent.calls.legs import Leg, Stay

__all__ = ["Talk", "connected", "talks", "total"]


@dataclass(frozen=True, slots=True)
class Talk:
    """One unbroken time in which `leg` and the customer heard each other; epoch seconds."""

    leg: Leg
    start: float
    end: float


def connected(start: Leg, members: dict[str, set[Leg]], twins: dict[str, Leg]) -> set[Leg]:
    """Every leg that hears `start` now.

    Args:
        members: Who is in which bridge.
        twins: Channel name to leg, of the Local halves.
    """
    where = {leg: bridge for bridge, legs in members.items() for leg in legs}
    seen: set[Leg] = {start}
    todo = [start]
    while todo:
        leg = todo.pop()
        near: set[Leg] = set(members.get(where.get(leg, ""), ()))
        twin = twins.get(leg.twin_name()) if leg.channel.endswith((";1", ";2")) else None
        if twin is not None and twin in where:
            near.add(twin)
        todo.extend(near - seen)
        seen |= near
    return seen


def talks(customers: Collection[Leg], humans: Collection[Leg], legs: Iterable[Leg], until: float) -> list[Talk]:
    """Every time a human leg talked with a customer's leg, by start. `until` closes what is still open."""
    moments: list[tuple[float, bool, str, Leg]] = []
    twins: dict[str, Leg] = {}
    for leg in legs:
        if leg.twin_name():
            twins[leg.channel] = leg
        for stay in leg.bridges:
            moments.append((stay.entered, True, stay.place, leg))
            moments.append((_closing(leg, stay), False, stay.place, leg))
    moments.sort(key=lambda moment: moment[:3])
    members: dict[str, set[Leg]] = {}
    since: dict[Leg, float] = {}
    found: list[Talk] = []
    for index, (at, enters, bridge, leg) in enumerate(moments):
        if enters:
            members.setdefault(bridge, set()).add(leg)
        else:
            members.get(bridge, set()).discard(leg)
        if index + 1 < len(moments) and moments[index + 1][0] == at:
            continue
        heard = {leg for customer in customers for leg in connected(customer, members, twins)}.intersection(humans)
        found.extend(Talk(gone, since.pop(gone), min(at, until)) for gone in [*since] if gone not in heard)
        for human in heard:
            since.setdefault(human, at)
    return sorted(found, key=lambda talk: (talk.start, talk.end))


def _closing(leg: Leg, stay: Stay) -> float:
    """When a stay ended; one whose end nobody saw lasts as long as its leg, and longer than all else of its moment."""
    if stay.left is not None:
        return stay.left
    if leg.ended is not None and leg.end_unseen:
        return nextafter(leg.ended, inf)  # it was still there when it was last heard of
    return leg.ended if leg.ended is not None and leg.ended > stay.entered else inf


def total(times: Sequence[Talk]) -> float:
    """Seconds covered by the talks, overlaps once."""
    seconds, covered = 0.0, float("-inf")
    for talk in times:
        start = max(talk.start, covered)
        if talk.end > start:
            seconds += talk.end - start
            covered = talk.end
    return seconds
