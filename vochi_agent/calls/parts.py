"""Who is who in a group of legs: which records it will be, who placed a call, for whom a phone was dialled. Pure.

Read from the legs alone, alike while they live and when they are over: what is told of a call meanwhile has the names
and the customers of its records.
"""

from collections.abc import Collection, Iterable
from math import inf
from typing import NamedTuple

from vochi_agent.calls.events import Origin
from vochi_agent.calls.layout import Role
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.model import Direction

__all__ = ["Part", "customers_of", "parts_of", "placed_by", "serves_customer"]


class Part(NamedTuple):
    """What will be one record.

    Attributes:
        linkedid: The one it began with.
        main: The leg it is about: the customer who came in, else the phone that placed the call.
        customers: The legs of its customer: how he came in, or every attempt to reach him; none internally.
        started: When it began, epoch seconds.
    """

    linkedid: str
    direction: Direction
    main: Leg
    customers: tuple[Leg, ...]
    started: float


def parts_of(legs: Collection[Leg]) -> list[Part]:
    """One for every customer who came in, one for him who was called before; without customers the whole is one."""
    entered = customers_of(legs)
    parts = [Part(leg.first_linkedid, Direction.IN, leg, (leg,), leg.started) for leg in entered]
    if called := _called(legs, before=entered[0].started if entered else inf):
        parts.insert(0, _placed(legs, called))
    if parts:
        return parts
    main = placed_by(legs) or _first(legs)
    return [Part(main.first_linkedid, Direction.INTERNAL, main, (), main.started)]


def customers_of(legs: Iterable[Leg]) -> list[Leg]:
    """Trunk legs that came in from outside, oldest first."""
    found = [leg for leg in legs if leg.role is Role.TRUNK and leg.origin is Origin.ENTERED]
    return sorted(found, key=lambda leg: leg.started)


def _called(legs: Iterable[Leg], *, before: float) -> tuple[Leg, ...]:
    """The attempts to reach the customer of a call of ours, oldest first.

    Whom somebody dials while a customer is on the line (to ask him, to hand the call over) is somebody else.
    """
    trunks = [leg for leg in legs if _outside(leg) and leg.origin is not Origin.ENTERED and leg.started < before]
    attempts: list[Leg] = []
    for leg in sorted(trunks, key=lambda leg: leg.started):
        if not any(other.talks_at(leg.started) for other in attempts):
            attempts.append(leg)
    return tuple(attempts)


def _placed(legs: Collection[Leg], called: tuple[Leg, ...]) -> Part:
    """A call of ours. What its agent talked of before, in a call of colleagues, does not belong to it."""
    own = [leg for leg in legs if leg.first_linkedid == called[0].first_linkedid]
    if not any(leg.agent for leg in own):
        own = list(legs)  # an ARI application gives each its own linkedid
    first = _first(own)
    return Part(first.first_linkedid, Direction.OUT, placed_by(own) or called[0], called, first.started)


def placed_by(legs: Collection[Leg]) -> Leg | None:
    """The agent's leg that began a call of ours: the phone that entered, else the one originated first.

    None when nobody's did: a dialler called the customer, and phones were dialled for him.
    """
    agents = sorted((leg for leg in legs if leg.agent), key=lambda leg: leg.started)
    if entered := next((leg for leg in agents if leg.origin is Origin.ENTERED), None):
        return entered
    known = {leg.uniqueid: leg for leg in legs}
    halves = {leg.channel: leg for leg in legs if leg.role is Role.LOCAL}
    for leg in agents:
        source = known.get(_dialled_through(leg, known, halves)[-1].dialled_by)
        if source is None or not _outside(source):
            return leg
    return None


def serves_customer(leg: Leg, customer: Leg, known: dict[str, Leg], halves: dict[str, Leg]) -> bool:
    """The leg was dialled on behalf of the customer, not for a colleague's question (a consultation).

    Args:
        known: The legs by uniqueid.
        halves: Those of Local pairs by channel name.
    """
    through = _dialled_through(leg, known, halves)
    source = known.get(through[-1].dialled_by)
    if source is customer or any(each.completed for each in through):
        return True
    if source is None:
        # Dialled by nobody's channel (ARI, Originate) serves the call. The half of a Local pair that a transfer by
        # feature code makes is never dialled at all: it belongs to the agent who asks.
        return through[-1].dialled or through[-1].role is not Role.LOCAL
    # What another customer's channel dials is for him.
    return source.completed and source.role is not Role.LOCAL and not _outside(source)


def _dialled_through(leg: Leg, known: dict[str, Leg], halves: dict[str, Leg]) -> list[Leg]:
    """The leg and the Local pairs through which it was dialled, the one that was dialled first at the end."""
    through = [leg]
    while (source := known.get(through[-1].dialled_by)) is not None and source.role is Role.LOCAL:
        outer = halves.get(source.twin_name(), source)
        if outer in through:
            break
        through.append(outer)
    return through


def _outside(leg: Leg) -> bool:
    """A trunk's, and no agent's mobile."""
    return leg.role is Role.TRUNK and not leg.agent


def _first(legs: Iterable[Leg]) -> Leg:
    return min(legs, key=lambda leg: leg.started)
