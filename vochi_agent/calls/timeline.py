"""The evidence of a call as a time line: who rang, who answered, who talked with whom, who hung up. Pure, wordless.

Readers differ: a command tells it in English to who looks for a fault, a chat in Russian to who missed a customer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from .evidence import LegEvidence, LegRole
from .model import Call, Direction

__all__ = ["Happening", "What", "Who", "happenings"]


class What(StrEnum):
    """What a channel did, or was done to."""

    DIALLED = "dialled"
    """The PBX began to call it."""
    CAME_IN = "came_in"
    """The customer came in from outside."""
    DIALS = "dials"
    """Somebody of ours picked up and dialled."""
    RINGS = "rings"
    ANSWERED_BY_PBX = "answered_by_pbx"
    """The PBX took the call: a greeting, a menu, a queue."""
    ANSWERS = "answers"
    QUEUED = "queued"
    LEFT_QUEUE = "left_queue"
    HANGS_UP = "hangs_up"
    """Its far side ended it."""
    REFUSES = "refuses"
    """Its far side ended it before it was picked up."""
    LOST = "lost"
    """It was gone when somebody looked; the end was not seen."""
    ENDS = "ends"
    """The PBX ended it."""
    TOGETHER = "together"
    """Two channels were in one bridge."""


@dataclass(frozen=True, slots=True)
class Who:
    """A channel as readers know it.

    Attributes:
        channel: 1 for the first one of this endpoint, 2 for the second.
    """

    role: LegRole
    extension: str
    endpoint: str
    channel: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One entry of a time line.

    Attributes:
        at: Seconds from the start of the call.
        other: Who was in the bridge beside him.
        seconds: For how long they were; None: the end was not seen.
        cause: Q.850, 0 when not told.
        dial_status: Of a channel that was dialled and never picked up, "" when not told.
    """

    at: float
    what: What
    who: Who
    other: Who | None = None
    seconds: float | None = None
    cause: int = 0
    dial_status: str = ""


def happenings(call: Call) -> list[Happening]:
    """Everything that the evidence of a call says, in order; nothing for a record without evidence."""
    people = _people(call)
    found: list[Happening] = []
    for leg, who in zip(call.evidence, people, strict=True):
        found.extend(_of_leg(leg, who, call.direction))
    found.extend(_together(call.evidence, people))
    return sorted(found, key=lambda each: each.at)


def _people(call: Call) -> list[Who]:
    seen: dict[Who, int] = {}
    found = []
    for leg in call.evidence:
        # A call has one customer, whatever channels he came through; inbound they bear his name, not the trunk's.
        incoming = leg.role is LegRole.CUSTOMER and call.direction is Direction.IN
        key = Who(leg.role, "" if leg.role is LegRole.CUSTOMER else leg.extension, "" if incoming else leg.endpoint)
        seen[key] = seen.get(key, 0) + 1
        found.append(Who(leg.role, leg.extension, leg.endpoint, seen[key]))
    return found


def _of_leg(leg: LegEvidence, who: Who, direction: Direction) -> Iterator[Happening]:
    if not leg.entered:
        yield Happening(at=leg.started, what=What.DIALLED, who=who)
    elif leg.role is LegRole.CUSTOMER and direction is Direction.IN:
        yield Happening(at=leg.started, what=What.CAME_IN, who=who)
    else:
        yield Happening(at=leg.started, what=What.DIALS, who=who)
    if leg.rang is not None:
        yield Happening(at=leg.rang, what=What.RINGS, who=who)
    if leg.up is not None:
        yield Happening(at=leg.up, what=What.ANSWERED_BY_PBX if leg.entered else What.ANSWERS, who=who)
    for stay in leg.stays:
        if stay.place == "queue":
            yield Happening(at=stay.since, what=What.QUEUED, who=who)
            if stay.until is not None:
                yield Happening(at=stay.until, what=What.LEFT_QUEUE, who=who)
    dial_status = leg.dial_status if leg.up is None else ""
    if leg.hung_up is not None:
        what = What.HANGS_UP if leg.up is not None or leg.entered else What.REFUSES
        yield Happening(at=leg.hung_up, what=what, who=who, cause=leg.cause, dial_status=dial_status)
    elif leg.ended is not None:
        what = What.LOST if leg.end_unseen else What.ENDS
        yield Happening(at=leg.ended, what=what, who=who, cause=leg.cause, dial_status=dial_status)


def _together(legs: Sequence[LegEvidence], people: Sequence[Who]) -> Iterator[Happening]:
    """Every time that two channels were in one bridge."""
    for (one, who), (two, other) in combinations(zip(legs, people, strict=True), 2):
        for here in one.stays:
            for there in two.stays:
                if here.place != there.place or here.place == "queue":
                    continue
                since = max(here.since, there.since)
                ends = [stay.until for stay in (here, there) if stay.until is not None]
                if not ends:
                    yield Happening(at=since, what=What.TOGETHER, who=who, other=other)
                elif min(ends) > since:
                    yield Happening(at=since, what=What.TOGETHER, who=who, other=other, seconds=min(ends) - since)
