"""What the AMI actions of the simulated PBX answer, in the words and header order of Asterisk 22."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vochi_agent.protocols.ami import Message

from .pbx_channels import Bridge, Channel, Headers, bridge_headers, channel_headers
from .pbx_manager import failure
from .pbx_switch import Switch

__all__ = ["Originator", "perform"]

VERSION = "22.10.1"
DEVICE_STATE = re.compile(r"DEVICE_STATE\((.*)\)")


class Originator(Protocol):
    """What the actions need from the PBX beyond its switch."""

    switch: Switch

    def device_state(self, device: str) -> str:
        """How a telephone or trunk is."""
        ...

    def hang_up(self, channel: Channel) -> None:
        """End a channel from outside."""
        ...

    def originate(self, message: Message) -> str:
        """Begin a call; returns why it cannot be, "" when it is queued."""
        ...


def perform(pbx: Originator, name: str, message: Message) -> Sequence[Headers] | None:
    """Do an action, named in small letters; None when there is no such action."""
    action = ACTIONS.get(name)
    return action(pbx, message) if action else None


def _ping(pbx: Originator, _message: Message) -> Sequence[Headers]:
    return [[("Response", "Success"), ("Ping", "Pong"), ("Timestamp", f"{pbx.switch.clock():.6f}")]]


def _core_settings(_pbx: Originator, _message: Message) -> Sequence[Headers]:
    return [
        [
            ("Response", "Success"),
            ("AMIversion", "11.0.0"),
            ("AsteriskVersion", VERSION),
            ("SystemName", ""),
            ("CoreMaxCalls", "0"),
            ("CoreMaxLoadAvg", "0.000000"),
            ("CoreRunUser", ""),
            ("CoreRunGroup", ""),
            ("CoreMaxFilehandles", "0"),
            ("CoreRealTimeEnabled", "No"),
            ("CoreCDRenabled", "Yes"),
            ("CoreHTTPenabled", "No"),
            ("SoundsSearchCustomDir", "No"),
        ]
    ]


def _core_status(pbx: Originator, _message: Message) -> Sequence[Headers]:
    calls = {channel.linkedid for channel in pbx.switch.channels.values()}
    return [
        [
            ("Response", "Success"),
            ("CoreStartupDate", "2026-11-20"),
            ("CoreStartupTime", "11:21:58"),
            ("CoreReloadDate", "2026-11-20"),
            ("CoreReloadTime", "11:21:58"),
            ("CoreCurrentCalls", str(len(calls))),
            ("CoreProcessedCalls", "0"),
        ]
    ]


def _channels(pbx: Originator, _message: Message) -> Sequence[Headers]:
    now = pbx.switch.clock()
    # Newest first, as the channels' container of Asterisk gives them.
    items = [_channel_item(channel, now) for channel in reversed(pbx.switch.channels.values())]
    return _listing("Channels will follow", items, "CoreShowChannelsComplete")


def _channel_item(channel: Channel, now: float) -> Headers:
    dialled = channel.linkedid != channel.uniqueid
    whole, rest = divmod(int(now - channel.created_at), 3600)
    return [
        ("Event", "CoreShowChannel"),
        *channel_headers(channel),
        ("Application", "AppDial" if dialled else "Dial"),
        ("ApplicationData", "(Outgoing Line)" if dialled else ""),
        ("Duration", f"{whole:02d}:{rest // 60:02d}:{rest % 60:02d}"),
        ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
    ]


def _bridges(pbx: Originator, _message: Message) -> Sequence[Headers]:
    items = [[("Event", "BridgeListItem"), *bridge_headers(bridge)] for bridge in pbx.switch.bridges.values()]
    return _listing("Bridge listing will follow", items, "BridgeListComplete")


def _bridge(pbx: Originator, message: Message) -> Sequence[Headers]:
    uniqueid = message.get("BridgeUniqueid")
    if not uniqueid:
        return [failure("BridgeUniqueid must be provided")]
    bridge: Bridge | None = pbx.switch.bridges.get(uniqueid)
    if bridge is None:
        return [failure("Specified BridgeUniqueid not found")]
    items = [[("Event", "BridgeInfoChannel"), *channel_headers(channel)] for channel in bridge.channels]
    first, *listed, last = _listing("Bridge channel listing will follow", items, "BridgeInfoComplete")
    return [first, *listed, [*last, *bridge_headers(bridge)]]


def _listing(sentence: str, items: Sequence[Headers], complete: str) -> Sequence[Headers]:
    return [
        [("Response", "Success"), ("EventList", "start"), ("Message", sentence)],
        *items,
        [("Event", complete), ("EventList", "Complete"), ("ListItems", str(len(items)))],
    ]


def _set_variable(pbx: Originator, message: Message) -> Sequence[Headers]:
    name, value = message.get("Variable"), message.get("Value")
    if not name:
        return [failure("No variable specified")]
    if where := message.get("Channel"):
        channel = pbx.switch.channels.get(where)
        if channel is None:
            return [failure("No such channel")]
        pbx.switch.set_variable(channel, name, value)
    else:
        pbx.switch.variables[name] = value
    return [[("Response", "Success"), ("Message", "Variable Set")]]


def _get_variable(pbx: Originator, message: Message) -> Sequence[Headers]:
    name = message.get("Variable")
    if not name:
        return [failure("No variable specified")]
    value = pbx.switch.variables.get(name, "")
    if function := DEVICE_STATE.fullmatch(name):
        value = pbx.device_state(function[1])
    if where := message.get("Channel"):
        channel = pbx.switch.channels.get(where)
        if channel is None:
            return [failure("No such channel")]
        own = {"CALLERID(name)": channel.caller.name, "CALLERID(num)": channel.caller.number}
        value = (channel.variables | own).get(name, value)
    return [[("Response", "Success"), ("Variable", name), ("Value", value)]]


def _hang_up(pbx: Originator, message: Message) -> Sequence[Headers]:
    name = message.get("Channel")
    if not name:
        return [failure("No channel specified")]
    channel = pbx.switch.channels.get(name)
    if channel is None:
        return [failure("No such channel")]
    pbx.hang_up(channel)
    return [[("Response", "Success"), ("Message", "Channel Hungup")]]


def _originate(pbx: Originator, message: Message) -> Sequence[Headers]:
    refusal = pbx.originate(message)
    return [failure(refusal) if refusal else [("Response", "Success"), ("Message", "Originate successfully queued")]]


ACTIONS: Mapping[str, Callable[[Originator, Message], Sequence[Headers]]] = {
    "ping": _ping,
    "coresettings": _core_settings,
    "corestatus": _core_status,
    "coreshowchannels": _channels,
    "bridgelist": _bridges,
    "bridgeinfo": _bridge,
    "setvar": _set_variable,
    "getvar": _get_variable,
    "hangup": _hang_up,
    "originate": _originate,
}
