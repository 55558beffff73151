"""What a PBX tells us, as facts: the only input of the call machine, whether read from AMI or from CEL.

Facts are NamedTuples: immutable, and cheap to make in the one place of the agent where thousands a second pass.
`at` is seconds since the epoch by the PBX's own clock. `linkedid` is what the PBX said at that moment ("" when it did
not say): a known channel whose linkedid has changed tells of a merge that no other event announces.
"""

from enum import Enum
from typing import NamedTuple

__all__ = [
    "BridgeEntered",
    "BridgeLeft",
    "CallerNamed",
    "ChannelEnded",
    "ChannelRinging",
    "ChannelStarted",
    "ChannelUp",
    "DialEnded",
    "DialStarted",
    "Event",
    "HangupRequested",
    "Joined",
    "Marked",
    "Origin",
    "QueueEntered",
    "QueueLeft",
    "Snapshot",
    "SnapshotChannel",
    "VariableSet",
]


class Origin(Enum):
    """Who made a channel."""

    ENTERED = "entered"  # the far side called us
    CREATED = "created"  # the PBX made it: a dialled phone, an originated leg, one half of a Local pair
    UNKNOWN = "unknown"  # met in the middle of its life


class ChannelStarted(NamedTuple):
    """AMI Newchannel, CEL CHAN_START. `exten` is the dialled number when the far side called us."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    origin: Origin
    exten: str
    caller_number: str


class CallerNamed(NamedTuple):
    """AMI NewCallerid: the number of a channel is known only now, or was corrected by the dialplan."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    number: str


class ChannelRinging(NamedTuple):
    """The far end alerts: Newstate Ringing, DialState RINGING, or early media of a dialled leg (PROGRESS)."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str


class ChannelUp(NamedTuple):
    """Newstate Up, CEL ANSWER. Says nothing about a human."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str


class HangupRequested(NamedTuple):
    """AMI HangupRequest: the far side of this channel hung up first (SoftHangupRequest is the PBX's own doing)."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str


class ChannelEnded(NamedTuple):
    """AMI Hangup, CEL CHAN_END. `cause` is the Q.850 cause, 0 when Asterisk does not tell."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    cause: int


class DialStarted(NamedTuple):
    """AMI DialBegin. `source` is "" when nobody's channel dials (Originate, ARI)."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    source: str
    dial_string: str


class DialEnded(NamedTuple):
    """AMI DialEnd. May come twice for one leg, or never (pick-up); ANSWER outweighs a later CANCEL."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    status: str


class BridgeEntered(NamedTuple):
    """`holding`: a bridge of waiting people (parking, BridgeWait, music): nobody talks in it."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    bridge: str
    holding: bool


class BridgeLeft(NamedTuple):
    """AMI BridgeLeave, CEL BRIDGE_EXIT."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    bridge: str


class Joined(NamedTuple):
    """Channels that belong to one call from here on: AttendedTransfer, Pickup, UnParkedCall.

    `completed` names the channels whose own dialling was a consultation until now and serves the customer from now on.
    """

    at: float
    uniqueids: tuple[str, ...]
    completed: tuple[str, ...]


class QueueEntered(NamedTuple):
    """AMI QueueCallerJoin, CEL APP_START Queue."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str


class QueueLeft(NamedTuple):
    """AMI QueueCallerLeave, CEL APP_END Queue."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str


class Marked(NamedTuple):
    """The dialplan says why a call ends: UserEvent(VochiMark) or CELGenUserEvent(VOCHI_MARK)."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    reason: str


class VariableSet(NamedTuple):
    """AMI VarSet of one of the few variables that say what no event says (DIALSTATUS, QUEUESTATUS, VOCHI_LINE)."""

    at: float
    uniqueid: str
    linkedid: str
    channel: str
    name: str
    value: str


class SnapshotChannel(NamedTuple):
    """One row of CoreShowChannels.

    `age` is whole seconds since the channel was made; `bridge` is "" outside of one; `bridge_made` is when that bridge
    was, None when nobody says (AMI does not, ARI does).
    """

    uniqueid: str
    linkedid: str
    channel: str
    exten: str
    caller_number: str
    up: bool
    ringing: bool
    age: float
    bridge: str
    holding: bool
    bridge_made: float | None = None


class Snapshot(NamedTuple):
    """Everything alive on the PBX at one moment, taken after each connect."""

    at: float
    channels: tuple[SnapshotChannel, ...]


Event = (
    ChannelStarted
    | CallerNamed
    | ChannelRinging
    | ChannelUp
    | HangupRequested
    | ChannelEnded
    | DialStarted
    | DialEnded
    | BridgeEntered
    | BridgeLeft
    | Joined
    | QueueEntered
    | QueueLeft
    | Marked
    | VariableSet
    | Snapshot
)
