"""The time line of a call in English, for whoever looks for a fault. Pure."""

from collections.abc import Mapping
from typing import Final

from vochi_agent.calls.evidence import LegRole
from vochi_agent.calls.model import Call, Direction
from vochi_agent.calls.timeline import Happening, What, Who, happenings

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
WORDS: Final[Mapping[What, str]] = {
    What.DIALLED: "is dialled",
    What.DIALS: "dials",
    What.RINGS: "rings",
    What.ANSWERS: "answers",
    What.QUEUED: "enters a queue",
    What.LEFT_QUEUE: "leaves the queue",
    What.LOST: "is gone; the end was not seen",
}
ENDS: Final[Mapping[What, str]] = {What.HANGS_UP: "hangs up", What.REFUSES: "refuses", What.ENDS: "ends"}


def timeline(call: Call) -> list[tuple[float, str]]:
    """(seconds from the start, sentence), in order."""
    return [(each.at, _sentence(each, call.direction)) for each in happenings(call)]


def _sentence(happening: Happening, direction: Direction) -> str:
    name = _name(happening.who, direction)
    match happening.what:
        case What.CAME_IN:
            return f"{name} comes in through {happening.who.endpoint}"
        case What.ANSWERED_BY_PBX:
            return f"the PBX answers {name}"
        case What.TOGETHER if happening.other is not None:
            both = f"{name} and {_name(happening.other, direction)} are in one bridge"
            seen = happening.seconds is not None
            return f"{both} for {happening.seconds:.1f} s" if seen else f"{both}; the end was not seen"
        case What.HANGS_UP | What.REFUSES | What.ENDS:
            return f"{name} {ENDS[happening.what]}{_because(happening)}"
        case _:
            return f"{name} {WORDS[happening.what]}"


def _name(who: Who, direction: Direction) -> str:
    """Legs of one endpoint are told apart by a number."""
    if who.role is LegRole.CUSTOMER:
        name = "the customer" if direction is Direction.IN else f"the customer ({who.endpoint})"
    elif who.extension and not who.endpoint.endswith(f"/{who.extension}"):
        name = f"{who.extension} ({who.endpoint})"
    else:
        name = who.extension or who.endpoint
    return name if who.channel == 1 else f"{name} (channel {who.channel})"


def _because(happening: Happening) -> str:
    cause = happening.cause
    if not cause:
        return f" ({happening.dial_status})" if happening.dial_status else ""
    return f" (cause {cause}{', ' + CAUSES[cause] if cause in CAUSES else ''})"
