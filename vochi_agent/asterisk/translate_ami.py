"""AMI events to facts of the call machine: the last place where a call is a bag of headers.

A literal table from event name to function. What an event means is documented where it was seen: Asterisk 16.28 and
22.10, read = system,call,agent,user,dialplan.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from vochi_agent.calls import events as ev
from vochi_agent.calls.events import Event, Origin
from vochi_agent.protocols.ami import Message

from .clock import epoch_of

__all__ = ["ONLY", "VARIABLES", "WANTED", "snapshot", "translate"]

# ChannelState of Newchannel (include/asterisk/channelstate.h): 0 Down and 1 Reserved are legs the PBX makes; 4 Ring and
# everything further along came from outside.
_CREATED_STATES = frozenset({"0", "1"})
_UP_STATE, _RINGING_STATE = "6", "5"
# Names the dialplan may give a call's end (contract §3).
_MARKS = frozenset({"forbidden", "closed", "voicemail", "blocked"})
# The only variables worth reading; a dialplan that lets channels inherit one writes underscores before its name.
VARIABLES = frozenset({"DIALSTATUS", "QUEUESTATUS", "VOCHI_LINE", "_VOCHI_LINE", "__VOCHI_LINE"})
# Uniqueid, linkedid and name of the one that an event is about.
_Channel = tuple[str, str, str]
# Hours go on beyond 99 in a call that somebody forgot.
_DURATION = re.compile(r"([0-9]{1,4}):([0-9]{1,2}):([0-9]{1,2})")
_VOICEMAIL_APPLICATIONS = frozenset({"VoiceMail", "Voicemail", "MinivmRecord"})


def translate(message: Message, received_at: float) -> Event | None:
    """The fact an AMI event states, None when it states nothing we use.

    Args:
        received_at: Seconds since the epoch; stands in when the PBX sends no `Timestamp` (timestampevents = no).
    """
    reading = _READINGS.get(message.event)
    if reading is None:
        return None
    make, headers = reading
    timestamp, *values = message.values(headers)
    at = epoch_of(timestamp)
    return make(received_at if at is None else at, *values)


def snapshot(
    at: float, channels: Iterable[Message], bridges: Iterable[Message], made: Mapping[str, float]
) -> ev.Snapshot:
    """One fact from the rows of CoreShowChannels and BridgeList; `made`: when each bridge was, as far as ARI says."""
    holding = {
        row.get("BridgeUniqueid") for row in bridges if _holds(row.get("BridgeTechnology"), row.get("BridgeType"))
    }
    return ev.Snapshot(at, tuple(_row(row, holding, made) for row in channels if row.get("Uniqueid", "")))


def _row(row: Message, holding: set[str], made: Mapping[str, float]) -> ev.SnapshotChannel:
    bridge = row.get("BridgeId", "")
    state = row.get("ChannelState", "")
    return ev.SnapshotChannel(
        uniqueid=row.get("Uniqueid", ""),
        linkedid=row.get("Linkedid", ""),
        channel=row.get("Channel", ""),
        exten=_known(row.get("Exten", "")),
        caller_number=_known(row.get("CallerIDNum", "")),
        up=state == _UP_STATE,
        ringing=state == _RINGING_STATE,
        age=_seconds(row.get("Duration", "")),
        bridge=bridge,
        holding=bridge in holding,
        bridge_made=made.get(bridge),
    )


def _seconds(duration: str) -> float:
    """`HH:MM:SS` of CoreShowChannel."""
    match = _DURATION.fullmatch(duration)
    return int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3]) if match else 0.0


def _known(value: str) -> str:
    """Asterisk writes `<unknown>` for a number or name that is not set."""
    return "" if value == "<unknown>" else value


def _holds(technology: str, kind: str) -> bool:
    """Parking, BridgeWait and music: channels wait in such a bridge, they do not talk."""
    return technology == "holding_bridge" or kind in ("parking", "holding")


def _newchannel(at: float, state: str, exten: str, number: str, *channel: *_Channel) -> Event:
    origin = Origin.CREATED if state in _CREATED_STATES else Origin.ENTERED
    return ev.ChannelStarted(at, *channel, origin, _known(exten), _known(number))


def _newcallerid(at: float, number: str, *channel: *_Channel) -> Event | None:
    return ev.CallerNamed(at, *channel, number) if _known(number) else None


def _newstate(at: float, state: str, *channel: *_Channel) -> Event | None:
    if state == _UP_STATE:
        return ev.ChannelUp(at, *channel)
    return ev.ChannelRinging(at, *channel) if state == _RINGING_STATE else None


def _dialstate(at: float, status: str, *channel: *_Channel) -> Event | None:
    # GSM gateways answer 183 with the network's ringing tone instead of 180.
    return ev.ChannelRinging(at, *channel) if status in ("RINGING", "PROGRESS") else None


def _bridgeenter(at: float, bridge: str, technology: str, kind: str, *channel: *_Channel) -> Event:
    return ev.BridgeEntered(at, *channel, bridge, _holds(technology, kind))


def _hangup(at: float, cause: str, *channel: *_Channel) -> Event:
    return ev.ChannelEnded(at, *channel, int(cause) if cause.isascii() and cause.isdecimal() else 0)


def _attendedtransfer(at: float, result: str, transferee: str, target: str, *asking: *tuple[str, str]) -> Event | None:
    if result != "Success":
        return None
    orig, second = asking
    # By feature code the asking agent has one channel in both roles; what he dialled before was another question.
    completed = (target,) if second == orig else (second, target)
    return ev.Joined(at, _named(orig, second, transferee, target), _named(*completed))


def _joined(at: float, one: str, other: str) -> Event:
    return ev.Joined(at, _named(one, other), ())


def _userevent(at: float, name: str, reason: str, *channel: *_Channel) -> Event | None:
    mark = reason.strip().lower()
    return ev.Marked(at, *channel, mark) if name == "VochiMark" and mark in _MARKS else None


def _newexten(at: float, application: str, *channel: *_Channel) -> Event | None:
    return ev.Marked(at, *channel, "voicemail") if application in _VOICEMAIL_APPLICATIONS else None


def _varset(at: float, name: str, value: str, *channel: *_Channel) -> Event | None:
    return ev.VariableSet(at, *channel, name.lstrip("_"), value) if name in VARIABLES else None


def _named(*uniqueids: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uniqueid for uniqueid in uniqueids if uniqueid))


_CHANNEL = ("Uniqueid", "Linkedid", "Channel")
_DIALLED = ("DestUniqueid", "DestLinkedid", "DestChannel")
_ASKING = ("OrigTransfererUniqueid", "SecondTransfererUniqueid")
# What makes the fact of an event, and the headers whose values it takes behind the time.
_TRANSLATORS: Mapping[str, tuple[Callable[..., Event | None], tuple[str, ...]]] = {
    "AttendedTransfer": (_attendedtransfer, ("Result", "TransfereeUniqueid", "TransferTargetUniqueid", *_ASKING)),
    "BridgeEnter": (_bridgeenter, ("BridgeUniqueid", "BridgeTechnology", "BridgeType", *_CHANNEL)),
    "BridgeLeave": (ev.BridgeLeft, (*_CHANNEL, "BridgeUniqueid")),
    "DialBegin": (ev.DialStarted, (*_DIALLED, "Uniqueid", "DialString")),
    "DialEnd": (ev.DialEnded, (*_DIALLED, "DialStatus")),
    "DialState": (_dialstate, ("DialStatus", *_DIALLED)),
    "Hangup": (_hangup, ("Cause", *_CHANNEL)),
    "HangupRequest": (ev.HangupRequested, _CHANNEL),
    "NewCallerid": (_newcallerid, ("CallerIDNum", *_CHANNEL)),
    "Newchannel": (_newchannel, ("ChannelState", "Exten", "CallerIDNum", *_CHANNEL)),
    "Newexten": (_newexten, ("Application", *_CHANNEL)),
    "Newstate": (_newstate, ("ChannelState", *_CHANNEL)),
    "Pickup": (_joined, ("TargetUniqueid", "Uniqueid")),
    "QueueCallerJoin": (ev.QueueEntered, _CHANNEL),
    "QueueCallerLeave": (ev.QueueLeft, _CHANNEL),
    "UnParkedCall": (_joined, ("ParkeeUniqueid", "RetrieverUniqueid")),
    "UserEvent": (_userevent, ("UserEvent", "Reason", *_CHANNEL)),
    "VarSet": (_varset, ("Variable", "Value", *_CHANNEL)),
}

_READINGS = {event: (make, ("Timestamp", *headers)) for event, (make, headers) in _TRANSLATORS.items()}

# Every other event is skipped before it is decoded.
WANTED = frozenset(_TRANSLATORS)
# And so are all but a few of these: the steps of the dialplan, more than half of what a PBX says.
ONLY = {"Newexten": ("Application", _VOICEMAIL_APPLICATIONS), "VarSet": ("Variable", VARIABLES)}
