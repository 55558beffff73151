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

__all__ = ["VARIABLES", "WANTED", "snapshot", "translate"]

# ChannelState of Newchannel (include/asterisk/channelstate.h): 0 Down and 1 Reserved are legs the PBX makes; 4 Ring and
# everything further along came from outside.
_CREATED_STATES = frozenset({"0", "1"})
_UP_STATE, _RINGING_STATE = "6", "5"
# Names the dialplan may give a call's end (contract §3).
_MARKS = frozenset({"forbidden", "closed", "voicemail", "blocked"})
# The only variables worth reading; a dialplan that lets channels inherit one writes underscores before its name.
VARIABLES = frozenset({"DIALSTATUS", "QUEUESTATUS", "VOCHI_LINE", "_VOCHI_LINE", "__VOCHI_LINE"})
# Hours go on beyond 99 in a call that somebody forgot.
_DURATION = re.compile(r"([0-9]{1,4}):([0-9]{1,2}):([0-9]{1,2})")
_VOICEMAIL_APPLICATIONS = frozenset({"VoiceMail", "Voicemail", "MinivmRecord"})


def translate(message: Message, received_at: float) -> Event | None:
    """The fact an AMI event states, None when it states nothing we use.

    Args:
        received_at: Seconds since the epoch; stands in when the PBX sends no `Timestamp` (timestampevents = no).
    """
    handler = _TRANSLATORS.get(message.event)
    if handler is None:
        return None
    at = epoch_of(message.get("Timestamp", ""))
    return handler(message, received_at if at is None else at)


def snapshot(
    at: float, channels: Iterable[Message], bridges: Iterable[Message], made: Mapping[str, float]
) -> ev.Snapshot:
    """One fact from the rows of CoreShowChannels and BridgeList; `made`: when each bridge was, as far as ARI says."""
    holding = {row.get("BridgeUniqueid", "") for row in bridges if _holds(row)}
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


def _holds(message: Message) -> bool:
    """Parking, BridgeWait and music: channels wait in such a bridge, they do not talk."""
    return message.get("BridgeTechnology", "") == "holding_bridge" or message.get("BridgeType", "") in (
        "parking",
        "holding",
    )


def _newchannel(message: Message, at: float) -> Event:
    return ev.ChannelStarted(
        at,
        message.get("Uniqueid", ""),
        message.get("Linkedid", ""),
        message.get("Channel", ""),
        Origin.CREATED if message.get("ChannelState", "") in _CREATED_STATES else Origin.ENTERED,
        _known(message.get("Exten", "")),
        _known(message.get("CallerIDNum", "")),
    )


def _newcallerid(message: Message, at: float) -> Event | None:
    number = _known(message.get("CallerIDNum", ""))
    return ev.CallerNamed(at, *_channel(message), number) if number else None


def _newstate(message: Message, at: float) -> Event | None:
    state = message.get("ChannelState", "")
    if state == _UP_STATE:
        return ev.ChannelUp(at, *_channel(message))
    return ev.ChannelRinging(at, *_channel(message)) if state == _RINGING_STATE else None


def _dialbegin(message: Message, at: float) -> Event:
    return ev.DialStarted(at, *_dest(message), message.get("Uniqueid", ""), message.get("DialString", ""))


def _dialstate(message: Message, at: float) -> Event | None:
    # GSM gateways answer 183 with the network's ringing tone instead of 180.
    return ev.ChannelRinging(at, *_dest(message)) if message.get("DialStatus", "") in ("RINGING", "PROGRESS") else None


def _dialend(message: Message, at: float) -> Event:
    return ev.DialEnded(at, *_dest(message), message.get("DialStatus", ""))


def _bridgeenter(message: Message, at: float) -> Event:
    return ev.BridgeEntered(at, *_channel(message), message.get("BridgeUniqueid", ""), _holds(message))


def _bridgeleave(message: Message, at: float) -> Event:
    return ev.BridgeLeft(at, *_channel(message), message.get("BridgeUniqueid", ""))


def _hanguprequest(message: Message, at: float) -> Event:
    return ev.HangupRequested(at, *_channel(message))


def _hangup(message: Message, at: float) -> Event:
    cause = message.get("Cause", "")
    return ev.ChannelEnded(at, *_channel(message), int(cause) if cause.isascii() and cause.isdecimal() else 0)


def _queuecallerjoin(message: Message, at: float) -> Event:
    return ev.QueueEntered(at, *_channel(message))


def _queuecallerleave(message: Message, at: float) -> Event:
    return ev.QueueLeft(at, *_channel(message))


def _attendedtransfer(message: Message, at: float) -> Event | None:
    if message.get("Result", "") != "Success":
        return None
    orig, second, transferee, target = (
        message.get(f"{who}Uniqueid", "")
        for who in ("OrigTransferer", "SecondTransferer", "Transferee", "TransferTarget")
    )
    # By feature code the asking agent has one channel in both roles; what he dialled before was another question.
    completed = (target,) if second == orig else (second, target)
    return ev.Joined(at, _named(orig, second, transferee, target), _named(*completed))


def _pickup(message: Message, at: float) -> Event:
    return ev.Joined(at, _named(message.get("TargetUniqueid", ""), message.get("Uniqueid", "")), ())


def _unparkedcall(message: Message, at: float) -> Event:
    return ev.Joined(at, _named(message.get("ParkeeUniqueid", ""), message.get("RetrieverUniqueid", "")), ())


def _userevent(message: Message, at: float) -> Event | None:
    reason = message.get("Reason", "").strip().lower()
    if message.get("UserEvent", "") != "VochiMark" or reason not in _MARKS:
        return None
    return ev.Marked(at, *_channel(message), reason)


def _newexten(message: Message, at: float) -> Event | None:
    if message.get("Application", "") not in _VOICEMAIL_APPLICATIONS:
        return None
    return ev.Marked(at, *_channel(message), "voicemail")


def _varset(message: Message, at: float) -> Event | None:
    name = message.get("Variable", "")
    return (
        ev.VariableSet(at, *_channel(message), name.lstrip("_"), message.get("Value", ""))
        if name in VARIABLES
        else None
    )


def _channel(message: Message) -> tuple[str, str, str]:
    return message.get("Uniqueid", ""), message.get("Linkedid", ""), message.get("Channel", "")


def _dest(message: Message) -> tuple[str, str, str]:
    return message.get("DestUniqueid", ""), message.get("DestLinkedid", ""), message.get("DestChannel", "")


def _named(*uniqueids: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uniqueid for uniqueid in uniqueids if uniqueid))


_TRANSLATORS: Mapping[str, Callable[[Message, float], Event | None]] = {
    "AttendedTransfer": _attendedtransfer,
    "BridgeEnter": _bridgeenter,
    "BridgeLeave": _bridgeleave,
    "DialBegin": _dialbegin,
    "DialEnd": _dialend,
    "DialState": _dialstate,
    "Hangup": _hangup,
    "HangupRequest": _hanguprequest,
    "NewCallerid": _newcallerid,
    "Newchannel": _newchannel,
    "Newexten": _newexten,
    "Newstate": _newstate,
    "Pickup": _pickup,
    "QueueCallerJoin": _queuecallerjoin,
    "QueueCallerLeave": _queuecallerleave,
    "UnParkedCall": _unparkedcall,
    "UserEvent": _userevent,
    "VarSet": _varset,
}

# Every other event is skipped before it is decoded.
WANTED = frozenset(_TRANSLATORS)
