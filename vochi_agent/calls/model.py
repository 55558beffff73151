"""What the agent says about a call: its live phases and its one finished record. Pure values."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from vochi_agent.calls.evidence import LegEvidence

__all__ = [
    "Call",
    "CallFinished",
    "CallMerged",
    "CallProgress",
    "CallUpdate",
    "Direction",
    "Phase",
    "Reason",
    "Source",
    "Status",
    "isoformat",
]


class Direction(StrEnum):
    """Fixed by the first external channel of a call; transfers never change it."""

    IN = "in"
    OUT = "out"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """`answered`: the customer (or, internally, the callee) shared a bridge with a human."""

    ANSWERED = "answered"
    MISSED = "missed"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why the verdict is what it is; docs/calls.md explains each."""

    TALKED = "talked"
    BLOCKED = "blocked"
    FORBIDDEN = "forbidden"
    CLOSED = "closed"
    VOICEMAIL = "voicemail"
    ABANDONED_QUEUE = "abandoned_queue"
    QUEUE_TIMEOUT = "queue_timeout"
    ABANDONED = "abandoned"
    ABANDONED_GREETING = "abandoned_greeting"
    REJECTED = "rejected"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN_END = "unknown_end"


class Source(StrEnum):
    """Where the record was read from: the live AMI stream, or CEL/CDR after the fact."""

    LIVE = "live"
    RECOVERY = "recovery"


class Phase(StrEnum):
    """The four moments of a call that others are told about; a call never goes back."""

    START = "start"
    DIAL = "dial"
    BRIDGE = "bridge"
    HANGUP = "hangup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One finished call: the row of `calls` and the object `replay` prints.

    Attributes:
        enterprise_number: The company whose PBX it is.
        linkedid: Asterisk's id of the call, of the customer's channel at entry.
        phone: The customer in E.164; None for a hidden caller and for internal calls.
        raw_number: The number as the PBX gave it; outbound the dialled digits.
        line: `id` of the line; None for internal calls.
        wait_seconds: From start to first talk, or to the end when nobody talked.
        talk_seconds: Seconds in a bridge with a human, hold included.
        path: Extensions that talked, in order; internal: the caller first.
        rung: Extensions whose phones rang for the customer, in order of first ring.
        partial: Some of the call's events were not seen.
        evidence: What the verdict rests on; records that differ in nothing else are equal.
    """

    enterprise_number: str
    linkedid: str
    direction: Direction
    status: Status
    reason: Reason
    phone: str | None
    raw_number: str
    line: str | None
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    wait_seconds: float
    talk_seconds: float
    first_agent: str | None
    last_agent: str | None
    path: tuple[str, ...]
    rung: tuple[str, ...]
    source: Source = Source.LIVE
    partial: bool = False
    recording: str | None = None
    evidence: tuple[LegEvidence, ...] = field(default=(), compare=False, repr=False)

    def as_json(self) -> dict[str, object]:
        """The object of contract §5, in the order the contract prints it."""
        return {
            "enterprise_number": self.enterprise_number,
            "linkedid": self.linkedid,
            "direction": self.direction.value,
            "status": self.status.value,
            "reason": self.reason.value,
            "phone": self.phone,
            "raw_number": self.raw_number,
            "line": self.line,
            "started_at": isoformat(self.started_at),
            "answered_at": isoformat(self.answered_at) if self.answered_at else None,
            "ended_at": isoformat(self.ended_at),
            "wait_seconds": self.wait_seconds,
            "talk_seconds": self.talk_seconds,
            "first_agent": self.first_agent,
            "last_agent": self.last_agent,
            "path": list(self.path),
            "rung": list(self.rung),
            "source": self.source.value,
            "partial": self.partial,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgress:
    """A live call entered a phase, or the phase has new agents.

    Attributes:
        agents: `dial`: extensions that ring now; `bridge`: the path so far; `start`: who placed it.
        at: Seconds since the epoch, by the PBX's clock.
    """

    phase: Phase
    at: float
    enterprise_number: str
    linkedid: str
    direction: Direction
    phone: str | None
    raw_number: str
    line: str | None
    started_at: float
    agents: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The event of contract §5."""
        return {
            "phase": self.phase.value,
            "at": isoformat(datetime.fromtimestamp(self.at, UTC)),
            "enterprise_number": self.enterprise_number,
            "linkedid": self.linkedid,
            "direction": self.direction.value,
            "phone": self.phone,
            "raw_number": self.raw_number,
            "line": self.line,
            "agents": list(self.agents),
        }


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call ended. A second one for the same linkedid corrects the first."""

    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMerged:
    """A call that others were told about turned out to be part of another one."""

    enterprise_number: str
    linkedid: str
    into: str


CallUpdate = CallProgress | CallFinished | CallMerged


def isoformat(moment: datetime) -> str:
    """UTC with milliseconds and a `Z`, as the contract prints times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
