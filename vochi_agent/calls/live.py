"""One call while it lives: its legs, what the dialplan said of it, and what others were told."""

from dataclasses import dataclass, field
from typing import NamedTuple

from vochi_agent.calls.layout import Layout, Role
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.model import Call, Phase
from vochi_agent.calls.parts import Part, parts_of
from vochi_agent.calls.verdict import Group

__all__ = ["LiveCall", "LiveChannel", "Told"]


class Told(NamedTuple):
    """What others were told last under one linkedid: the phase, and the extensions of that phase."""

    phase: Phase
    agents: tuple[str, ...]


class LiveChannel(NamedTuple):
    """A channel of a call that goes on; `extension` is "" for a customer's, `talks` while it is in a bridge."""

    uniqueid: str
    name: str
    extension: str
    talks: bool


@dataclass(slots=True, eq=False)
class LiveCall:
    """A group of legs that belong together, under every linkedid they have carried.

    Attributes:
        layout: The PBX as it was configured when the call began; a reload changes it for later calls.
        told: What others know, by the linkedid they know it under; two customers in one conference have one each.
        finished: The records already told, by linkedid; more of them are corrections.
        last_event: When the PBX last spoke of it, epoch seconds.
    """

    layout: Layout
    legs: dict[str, Leg] = field(default_factory=dict)
    linkedids: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    marked_line: str = ""
    dial_refused: bool = False
    partial: bool = False
    told: dict[str, Told] = field(default_factory=dict)
    finished: dict[str, Call] = field(default_factory=dict)
    last_event: float = 0.0

    @property
    def open(self) -> bool:
        """Some channel of it is alive."""
        return any(leg.ended is None for leg in self.legs.values())

    @property
    def started(self) -> float:
        """When its first channel appeared."""
        return min(leg.started for leg in self.legs.values())

    def parts(self) -> list[Part]:
        """What will be its records, as far as it is known by now."""
        return parts_of(self.legs.values())

    def channels(self) -> list[LiveChannel]:
        """Everybody in it now, the one it is about first; no plumbing."""
        main = self.parts()[0].main
        alive = [leg for leg in self.legs.values() if leg.ended is None and leg.role in (Role.TRUNK, Role.EXTENSION)]
        alive.sort(key=lambda leg: (leg is not main, leg.started))
        return [LiveChannel(leg.uniqueid, leg.channel, leg.agent, bool(leg.bridge)) for leg in alive]

    def locals_by_name(self) -> dict[str, Leg]:
        """The halves of Local pairs, by channel name."""
        return {leg.channel: leg for leg in self.legs.values() if leg.role is Role.LOCAL}

    def absorb(self, other: "LiveCall") -> None:
        """Take over everything that is known of another call that turned out to be this one."""
        self.legs |= other.legs
        self.linkedids += other.linkedids
        self.marks |= other.marks
        self.marked_line = self.marked_line or other.marked_line
        self.dial_refused |= other.dial_refused
        self.partial |= other.partial
        for linkedid, told in other.told.items():
            self.told.setdefault(linkedid, told)
        self.finished = other.finished | self.finished

    def evidence(self, until: float) -> Group:
        """What the verdict is read from."""
        return Group(
            legs=tuple(self.legs.values()),
            marks=frozenset(self.marks),
            marked_line=self.marked_line,
            dial_refused=self.dial_refused,
            partial=self.partial,
            until=until,
        )
