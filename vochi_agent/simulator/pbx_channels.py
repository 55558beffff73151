"""Channels and bridges of the simulated PBX, and the AMI headers that describe them.

Names, order and spelling of the headers are those of Asterisk 22 (tests compare them with recordings of one).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "CAUSES",
    "UNKNOWN",
    "Bridge",
    "CallerId",
    "Channel",
    "Headers",
    "bridge_headers",
    "channel_headers",
    "hangup_headers",
]

Headers = list[tuple[str, str]]

UNKNOWN = "<unknown>"
STATES = {0: "Down", 4: "Ring", 5: "Ringing", 6: "Up", 7: "Busy"}
CAUSES = {
    0: "Unknown",
    1: "Unallocated (unassigned) number",
    3: "No route to destination",
    16: "Normal Clearing",
    17: "User busy",
    19: "User alerting, no answer",
    21: "Call Rejected",
    26: "Answered elsewhere",
    34: "Circuit/channel congestion",
    127: "Interworking, unspecified",
}


@dataclass(frozen=True, slots=True)
class CallerId:
    """A number and a name; an empty one is what Asterisk prints as `<unknown>`."""

    number: str = ""
    name: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Channel:
    """One leg of a call.

    Attributes:
        name: Like `PJSIP/151-0000002a`.
        state: 0 Down, 4 Ring, 5 Ringing, 6 Up, 7 Busy.
        caller: Who this end is.
        connected: Who the other end is, as the handset shows it.
        variables: Channel variables, without the underscores of inheritance.
        tech_cause: The SIP code behind the hangup cause, 0 for none (Asterisk 22 prints it, 16 does not).
        created_at: Seconds since the epoch.
    """

    name: str
    uniqueid: str
    linkedid: str
    state: int
    caller: CallerId
    connected: CallerId = field(default_factory=CallerId)
    context: str
    exten: str
    priority: int = 1
    bridge: "Bridge | None" = None
    variables: dict[str, str] = field(default_factory=dict)
    tech_cause: int = 0
    created_at: float = 0.0

    @property
    def endpoint(self) -> str:
        """`PJSIP/151` of `PJSIP/151-0000002a`."""
        return self.name.rpartition("-")[0]

    @property
    def extension(self) -> str:
        """`151` of `PJSIP/151-0000002a`."""
        return self.endpoint.partition("/")[2]


@dataclass(slots=True, eq=False)
class Bridge:
    """A bridge of two channels."""

    uniqueid: str
    technology: str = "simple_bridge"
    channels: list[Channel] = field(default_factory=list)


def channel_headers(channel: Channel, prefix: str = "") -> Headers:
    """A channel as every event shows it, in Asterisk's order; `prefix` is `Dest` for the other one of a pair."""
    values = (
        ("Channel", channel.name),
        ("ChannelState", str(channel.state)),
        ("ChannelStateDesc", STATES[channel.state]),
        ("CallerIDNum", channel.caller.number or UNKNOWN),
        ("CallerIDName", channel.caller.name or UNKNOWN),
        ("ConnectedLineNum", channel.connected.number or UNKNOWN),
        ("ConnectedLineName", channel.connected.name or UNKNOWN),
        ("Language", "en"),
        ("AccountCode", ""),
        ("Context", channel.context),
        ("Exten", channel.exten),
        ("Priority", str(channel.priority)),
        ("Uniqueid", channel.uniqueid),
        ("Linkedid", channel.linkedid),
    )
    return [(prefix + name, value) for name, value in values]


def bridge_headers(bridge: Bridge) -> Headers:
    """A bridge as its events show it."""
    return [
        ("BridgeUniqueid", bridge.uniqueid),
        ("BridgeType", "basic"),
        ("BridgeTechnology", bridge.technology),
        ("BridgeCreator", UNKNOWN),
        ("BridgeName", UNKNOWN),
        ("BridgeNumChannels", str(len(bridge.channels))),
        ("BridgeVideoSourceMode", "none"),
    ]


def hangup_headers(channel: Channel, cause: int) -> Iterable[tuple[str, str]]:
    """Cause, its text and the SIP code behind it."""
    yield "Cause", str(cause)
    yield "Cause-txt", CAUSES[cause]
    if channel.tech_cause:
        yield "TechCause", str(channel.tech_cause)
