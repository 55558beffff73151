"""What is remembered of a call while it lives: its channels ("legs") and where each was when.

A leg holds times, not order: events of different channels reach us in any order, but each says when it happened, so the
verdict can be read from the legs alone. They are the evidence that the record rests on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from vochi_agent.calls.events import Origin
from vochi_agent.calls.evidence import LegEvidence, LegRole, StayEvidence
from vochi_agent.calls.layout import Endpoint, Role

__all__ = ["TEARDOWN_S", "Leg", "Stay"]

# Enough of a bridge's id to tell the bridges of one call apart.
SHORT_ID = 8
# A call is torn down within milliseconds and in any order: what ends this close together ended together.
TEARDOWN_S = 0.2


@dataclass(slots=True)
class Stay:
    """A leg's time in one place, a bridge or a queue; `left` is None while it lasts."""

    place: str
    entered: float
    left: float | None = None

    def covers(self, moment: float) -> bool:
        """The leg was there at this moment, or left because of what happened then."""
        return self.entered <= moment and (self.left is None or moment <= self.left + TEARDOWN_S)


@dataclass(slots=True, eq=False, kw_only=True)
class Leg:
    """One channel of a call.

    Attributes:
        first_linkedid: The linkedid it was born with; `linkedid` is the latest one.
        agent: The extension behind it, "" for customers and plumbing.
        exten: The number that was dialled by the far side, at entry.
        number: Caller id at entry for a leg that entered, the dialled number for one that was created.
        dialled_by: Uniqueid of the leg that dialled it, "" when none did.
        dialled: A DialBegin was seen (also one without a source).
        completed: Its dialling was a consultation, and the transfer was completed.
        hangup_requested: When its far side hung up, before the PBX did.
        cause: Q.850 cause of its end, 0 when not told.
        met_midway: First heard of when it had lived for some time; who it is no event has said.
    """

    uniqueid: str
    linkedid: str
    first_linkedid: str
    channel: str
    endpoint: Endpoint
    origin: Origin
    started: float
    agent: str = ""
    exten: str = ""
    number: str = ""
    dialled: bool = False
    dialled_by: str = ""
    dial_string: str = ""
    dial_status: str = ""
    completed: bool = False
    rang: float | None = None
    up: float | None = None
    hangup_requested: float | None = None
    ended: float | None = None
    cause: int = 0
    end_unseen: bool = False
    met_midway: bool = False
    bridges: list[Stay] = field(default_factory=list)
    queues: list[Stay] = field(default_factory=list)

    @property
    def role(self) -> Role:
        """What stands at its far end."""
        return self.endpoint.role

    @property
    def bridge(self) -> str:
        """The bridge it is in now, "" outside of one."""
        return self.bridges[-1].place if self.bridges and self.bridges[-1].left is None else ""

    @property
    def own_cause(self) -> int:
        """The cause that its far side gave.

        Asterisk hands the cause of a leg that was refused on to those that it gives up later in the same call: phones
        of the group, the next line (seen on 22.10). Those end with DialStatus CANCEL.
        """
        return 0 if self.dial_status == "CANCEL" else self.cause

    @property
    def ringing(self) -> bool:
        """Alerting at this moment."""
        return self.rang is not None and self.up is None and self.ended is None

    def rings_at(self, moment: float) -> bool:
        """It was alerting then, not answered and not gone before."""
        return (
            self.rang is not None
            and self.rang <= moment
            and (self.up is None or self.up > moment)
            and (self.ended is None or self.ended + TEARDOWN_S >= moment)
        )

    def talks_at(self, moment: float) -> bool:
        """It had been answered then, and what happened then was not that it ended."""
        lasts = self.ended is None or self.ended > moment + TEARDOWN_S
        return self.up is not None and self.up <= moment and lasts

    def twin_name(self) -> str:
        """Name of the other half of a Local pair (`…;1` and `…;2`), "" for other channels."""
        base, semicolon, half = self.channel.rpartition(";")
        return f"{base};{'2' if half == '1' else '1'}" if semicolon and half in ("1", "2") else ""

    def enter(self, places: list[Stay], place: str, at: float) -> None:
        """Note that it entered; a channel is in one bridge at a time, so an unseen exit is implied."""
        if places and places[-1].left is None:
            if places[-1].place == place:
                return
            places[-1].left = at
        places.append(Stay(place, at))

    def leave(self, places: list[Stay], place: str, at: float) -> None:
        """Note that it left; an exit from somewhere it was never seen to enter says nothing."""
        for stay in reversed(places):
            if stay.place == place:
                if stay.left is None:
                    stay.left = max(at, stay.entered)
                return

    def end(self, at: float) -> None:
        """Close whatever is open; a channel that is gone is nowhere."""
        self.ended = at
        for stay in self.open_stays():
            stay.left = max(at, stay.entered)

    def open_stays(self) -> Iterator[Stay]:
        """Bridges and queues it is in."""
        for stays in (self.bridges, self.queues):
            if stays and stays[-1].left is None:
                yield stays[-1]

    def evidence(self, since: float, *, customer: bool) -> LegEvidence:
        """What it did, in seconds from a moment. `customer`: it is a customer's, or was dialled to reach one."""
        agent = LegRole.AGENT if self.agent else LegRole.LOCAL if self.role is Role.LOCAL else LegRole.OTHER
        return LegEvidence(
            endpoint=self.endpoint.name,
            extension=self.agent,
            role=LegRole.CUSTOMER if customer else agent,
            entered=self.origin is Origin.ENTERED,
            started=round(self.started - since, 3),
            rang=_after(self.rang, since),
            up=_after(self.up, since),
            hung_up=_after(self.hangup_requested, since),
            ended=_after(self.ended, since),
            end_unseen=self.end_unseen,
            cause=self.cause,
            dial_status=self.dial_status,
            stays=tuple(
                StayEvidence(stay.place[:SHORT_ID], round(stay.entered - since, 3), _after(stay.left, since))
                for stay in (*self.queues, *self.bridges)
            ),
        )


def _after(moment: float | None, since: float) -> float | None:
    return None if moment is None else round(moment - since, 3)
