"""What others are told of calls: phases as they begin, mergers, records. Pure; gathered until somebody takes it.

Each part of a call is told under its own linkedid, never twice the same, never back.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from vochi_agent.calls.events import Origin
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.live import LiveCall, Told
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallUpdate, Direction, Phase
from vochi_agent.calls.parts import Part
from vochi_agent.calls.phases import TRANSITIONS, progress, ringing_agents, talking_agents

__all__ = ["Telling"]


class Telling:
    """Compares what is known of a call with what was told of it, and notes that in the call."""

    def __init__(self) -> None:
        self._updates: list[CallUpdate] = []

    def taken(self) -> list[CallUpdate]:
        """What has gathered, oldest first; it is not given again."""
        updates, self._updates = self._updates, []
        return updates

    def customer(self, call: LiveCall, leg: Leg, at: float, *phases: Phase) -> None:
        """A customer came in, or one is dialled; of other trunks there is nothing to tell."""
        for part in call.parts():
            if leg in part.customers:
                for phase in phases:
                    self._placed(call, part, phase, at)

    def colleague(self, call: LiveCall, leg: Leg, at: float) -> None:
        """A colleague's phone is dialled by a phone that entered or took its originated call; no customer is there."""
        part = call.parts()[0]
        placed = part.main
        picked_up = placed.origin is Origin.ENTERED or placed.up is not None
        if part.direction is Direction.INTERNAL and placed.agent and placed is not leg and picked_up:
            self._placed(call, part, Phase.START, at)

    def ringing(self, call: LiveCall, at: float) -> None:
        """Other phones ring than before."""
        for part in call.parts():
            if agents := ringing_agents(call, part):
                self._advance(call, part, Phase.DIAL, at, agents)

    def talking(self, call: LiveCall, at: float) -> None:
        """Others talk with the customers than before."""
        for part in call.parts():
            if agents := talking_agents(call, part, call.told.get(part.linkedid)):
                self._advance(call, part, Phase.BRIDGE, at, agents)

    def listed(self, call: LiveCall, acquainted: AbstractSet[Leg], at: float) -> None:
        """What a snapshot says of a call; what was told of a customer before he had a number is told again.

        Args:
            acquainted: Legs of which the snapshot said who they are.
        """
        for part in call.parts():
            if not acquainted.isdisjoint(part.customers) and (told := call.told.get(part.linkedid)):
                self._updates.append(progress(call, part, told, at))
            if part.direction is not Direction.INTERNAL:
                self._placed(call, part, Phase.START, at)
        self.ringing(call, at)
        self.talking(call, at)

    def merged(self, call: LiveCall) -> None:
        """What others know of it and is no record of what it is now is told to be part of that."""
        records = [part.linkedid for part in call.parts()]
        number = call.layout.enterprise_number
        for linkedid in sorted((call.told.keys() | call.finished.keys()).difference(records)):
            call.told.pop(linkedid, None)
            call.finished.pop(linkedid, None)
            self._updates.append(CallMerged(enterprise_number=number, linkedid=linkedid, into=records[0]))

    def finished(self, call: LiveCall, records: Iterable[Call]) -> None:
        """It is over, and these are its records; those that were told already, and are the same, are no news."""
        self.merged(call)
        for record in records:
            if call.finished.get(record.linkedid) != record:
                call.finished[record.linkedid] = record
                self._updates.append(CallFinished(record))
        for linkedid in call.told.keys() | {part.linkedid for part in call.parts()}:
            call.told[linkedid] = Told(Phase.HANGUP, ())

    def _placed(self, call: LiveCall, part: Part, phase: Phase, at: float) -> None:
        """A phase that is about who placed the call: of one from outside nobody of ours."""
        self._advance(call, part, phase, at, (part.main.agent,) if part.main.agent else ())

    def _advance(self, call: LiveCall, part: Part, phase: Phase, at: float, agents: tuple[str, ...]) -> None:
        before, now = call.told.get(part.linkedid), Told(phase, agents)
        if now == before or phase not in TRANSITIONS[before.phase if before else None]:
            return
        call.told[part.linkedid] = now
        self._updates.append(progress(call, part, now, at))
