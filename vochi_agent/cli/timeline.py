"""The evidence of a call as a time line in English: who rang, who answered, who talked with whom, who hung up. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.calls.model import Call, Direction

__all__ = ["timeline"]

# Q.850, in the words that a person who looks for a fault would use; a cause of 0 says nothing.
CAUSES: Final[Mapping[int, str]] = {
    1: "no such number",
    3: "not reachable",
    16: "normal end",
    17: "busy",
    18: "no reply",
    19: "rang out",
    20: "not registered",
    21: "declined",
    26: "answered elsewhere",
    27: "out of order",
    28: "no valid number",
    34: "no circuit",
    38: "network out of order",
    127: "cancelled",
}


def timeline(call: Call) -> list[tuple[float, str]]:
    """(seconds from the start, sentence), in order."""
    names = _names(call)
    lines: list[tuple[float, str]] = []
    for leg, name in zip(call.evidence, names, strict=True):
        lines.extend(_of_leg(leg, name, call.direction))
    lines.extend(_together(call.evidence, names))
    return sorted(lines, key=lambda line: line[0])


def _names(call: Call) -> list[str]:
    """What each leg is called; legs of one endpoint are told apart by a number."""
    seen: dict[str, int] = {}
    names = []
    for leg in call.evidence:
        name = _name(leg, call.direction)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} (channel {seen[name]})")
    return names


def _name(leg: LegEvidence, direction: Direction) -> str:
    if leg.role is LegRole.CUSTOMER:
        return "the customer" if direction is Direction.IN else f"the customer ({leg.endpoint})"
    if leg.extension and not leg.endpoint.endswith(f"/{leg.extension}"):
        return f"{leg.extension} ({leg.endpoint})"
    return leg.extension or leg.endpoint


def _of_leg(leg: LegEvidence, name: str, direction: Direction) -> Iterator[tuple[float, str]]:
    if not leg.entered:
        yield leg.started, f"{name} is dialled"
    elif leg.role is LegRole.CUSTOMER and direction is Direction.IN:
        yield leg.started, f"{name} comes in through {leg.endpoint}"
    else:
        yield leg.started, f"{name} dials"
    if leg.rang is not None:
        yield leg.rang, f"{name} rings"
    if leg.up is not None:
        yield leg.up, f"the PBX answers {name}" if leg.entered else f"{name} answers"
    for stay in leg.stays:
        if stay.place == "queue":
            yield stay.since, f"{name} enters a queue"
            if stay.until is not None:
                yield stay.until, f"{name} leaves the queue"
    if leg.hung_up is not None:
        yield leg.hung_up, f"{name} {'hangs up' if leg.up is not None or leg.entered else 'refuses'}{_because(leg)}"
    elif leg.ended is not None:
        yield leg.ended, f"{name} is gone; the end was not seen" if leg.end_unseen else f"{name} ends{_because(leg)}"


def _because(leg: LegEvidence) -> str:
    if not leg.cause:
        return f" ({leg.dial_status})" if leg.dial_status and leg.up is None else ""
    return f" (cause {leg.cause}{', ' + CAUSES[leg.cause] if leg.cause in CAUSES else ''})"


def _together(legs: Sequence[LegEvidence], names: Sequence[str]) -> Iterator[tuple[float, str]]:
    """Every time that two channels were in one bridge."""
    for (one, first), (two, second) in combinations(zip(legs, names, strict=True), 2):
        for here in one.stays:
            for there in two.stays:
                if here.place != there.place or here.place == "queue":
                    continue
                since = max(here.since, there.since)
                ends = [stay.until for stay in (here, there) if stay.until is not None]
                if not ends:
                    yield since, f"{first} and {second} are in one bridge; the end was not seen"
                elif min(ends) > since:
                    yield since, f"{first} and {second} are in one bridge for {min(ends) - since:.1f} s"
