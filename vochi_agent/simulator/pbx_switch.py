"""The switching core of the simulated PBX: every change of a channel or bridge is one method and one AMI event.

It knows no call flow and no socket. Invariant: nothing of a channel is said before its Newchannel or after its Hangup.
"""

import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from .pbx_channels import (
    Bridge,
    CallerId,
    Channel,
    Headers,
    bridge_headers,
    channel_headers,
    hangup_headers,
)

__all__ = ["BUSY", "DOWN", "RING", "RINGING", "UP", "Switch"]

DOWN, RING, RINGING, UP, BUSY = 0, 4, 5, 6, 7
CALL_CLASS = "call"
AGENT_CLASS = "agent"
DIALPLAN_CLASS = "dialplan"
USER_CLASS = "user"


class Switch:
    """The live channels and bridges, and the stream of events about them.

    Attributes:
        channels: By name, oldest first.
        bridges: By Uniqueid.
        variables: The global variables.
    """

    def __init__(self, clock: Callable[[], float], publish: Callable[[str, Headers], None]) -> None:
        """Start with no calls.

        Args:
            clock: Seconds since the epoch.
            publish: Gets the class of an event and its headers, in order.
        """
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, Bridge] = {}
        self.variables: dict[str, str] = {}
        self.clock = clock
        self._publish = publish
        self._counter = itertools.count()

    def new_channel(
        self,
        endpoint: str,
        *,
        state: int,
        caller: CallerId,
        context: str,
        exten: str,
        parent: Channel | None = None,
    ) -> Channel:
        """A leg appears; with a parent it belongs to the parent's call."""
        number = next(self._counter)
        now = self.clock()
        uniqueid = f"{int(now)}.{number}"
        channel = Channel(
            name=f"{endpoint}-{number:08x}",
            uniqueid=uniqueid,
            linkedid=parent.linkedid if parent else uniqueid,
            state=state,
            caller=caller,
            context=context,
            exten=exten,
            created_at=now,
        )
        self.channels[channel.name] = channel
        self._say("Newchannel", channel_headers(channel))
        return channel

    def set_caller(self, channel: Channel, caller: CallerId) -> None:
        """The caller's number or name of a channel changes."""
        channel.caller = caller
        presentation = ("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")
        self._say("NewCallerid", [*channel_headers(channel), presentation])

    def set_connected(self, channel: Channel, connected: CallerId) -> None:
        """What the handset shows of the other end changes; nothing is said when it does not."""
        if channel.connected != connected:
            channel.connected = connected
            self._say("NewConnectedLine", channel_headers(channel))

    def set_state(self, channel: Channel, state: int) -> None:
        """A channel rings, is answered, plays busy; nothing is said when it did so already."""
        if channel.state != state:
            channel.state = state
            self._say("Newstate", channel_headers(channel))

    def set_variable(self, channel: Channel, name: str, value: str) -> None:
        """A channel variable or `CALLERID(num)`, `CALLERID(name)`; leading underscores mean inheritance."""
        if name in ("CALLERID(name)", "CALLERID(num)"):
            changed = {"name": value} if name == "CALLERID(name)" else {"number": value}
            self.set_caller(channel, replace(channel.caller, **changed))
            return
        channel.variables[name.lstrip("_")] = value
        headers = [*channel_headers(channel), ("Variable", name), ("Value", value)]
        self._say("VarSet", headers, DIALPLAN_CLASS)

    def begin_application(self, channel: Channel, name: str, data: str) -> None:
        """The dialplan runs an application for a channel."""
        place = [("Extension", channel.exten), ("Application", name), ("AppData", data)]
        self._say("Newexten", [*channel_headers(channel), *place], DIALPLAN_CLASS)

    def join_queue(self, channel: Channel, queue: str, *, waiting: int) -> None:
        """A caller begins to wait; `waiting` counts him."""
        place = [("Queue", queue), ("Position", str(waiting)), ("Count", str(waiting))]
        self._say("QueueCallerJoin", [*channel_headers(channel), *place], AGENT_CLASS)

    def abandon_queue(self, channel: Channel, queue: str, *, held_s: float) -> None:
        """A caller lost patience."""
        place = [("Queue", queue), ("Position", "1"), ("OriginalPosition", "1"), ("HoldTime", str(int(held_s)))]
        self._say("QueueCallerAbandon", [*channel_headers(channel), *place], AGENT_CLASS)

    def leave_queue(self, channel: Channel, queue: str, *, waiting: int) -> None:
        """A caller waits no more, whatever for; `waiting` does not count him."""
        place = [("Queue", queue), ("Position", "1"), ("Count", str(waiting))]
        self._say("QueueCallerLeave", [*channel_headers(channel), *place], AGENT_CLASS)

    def blind_transfer(self, transferer: Channel, transferee: Channel, *, context: str, exten: str) -> None:
        """One of two who talk sends the other to an extension."""
        who = [*channel_headers(transferer, "Transferer"), *channel_headers(transferee, "Transferee")]
        bridge = bridge_headers(transferer.bridge) if transferer.bridge else []
        place = [("IsExternal", "Yes"), ("Context", context), ("Extension", exten)]
        self._say("BlindTransfer", [("Result", "Success"), *who, *bridge, *place])

    def user_event(self, channel: Channel, name: str, fields: Mapping[str, str]) -> None:
        """The dialplan's own event, as `UserEvent(name,Key: value)`."""
        self._say("UserEvent", [*channel_headers(channel), ("UserEvent", name), *fields.items()], USER_CLASS)

    def dial_begin(self, source: Channel | None, leg: Channel, dial_string: str) -> None:
        """A leg is being dialled; an originated one has no source."""
        self._say("DialBegin", [*_pair(source, leg), ("DialString", dial_string)])

    def dial_ringing(self, source: Channel | None, leg: Channel) -> None:
        """A leg rings."""
        self._say("DialState", [*_pair(source, leg), ("DialStatus", "RINGING")])

    def dial_end(self, source: Channel | None, leg: Channel, status: str) -> None:
        """Dialling a leg is over: ANSWER, NOANSWER, BUSY, CONGESTION, CANCEL."""
        self._say("DialEnd", [*_pair(source, leg), ("DialStatus", status)])

    def bridge(self, first: Channel, second: Channel) -> Bridge:
        """Two channels begin to talk."""
        bridge = Bridge(str(uuid.uuid4()))
        self.bridges[bridge.uniqueid] = bridge
        self._say("BridgeCreate", bridge_headers(bridge))
        for channel in (first, second):
            bridge.channels.append(channel)
            channel.bridge = bridge
            self._say("BridgeEnter", [*bridge_headers(bridge), *channel_headers(channel)])
        bridge.technology = "native_rtp"
        return bridge

    def leave_bridge(self, channel: Channel) -> None:
        """A channel leaves its bridge; the last one takes the bridge with it."""
        bridge = channel.bridge
        if bridge is None:
            return
        channel.bridge = None
        bridge.channels.remove(channel)
        self._say("BridgeLeave", [*bridge_headers(bridge), *channel_headers(channel)])
        if not bridge.channels:
            del self.bridges[bridge.uniqueid]
            self._say("BridgeDestroy", bridge_headers(bridge))

    def device_state(self, endpoint: str) -> str:
        """As Asterisk sums up the channels of a telephone that is registered."""
        states = [channel.state for channel in self.channels.values() if channel.endpoint == endpoint]
        if not states:
            return "NOT_INUSE"
        busy = any(state != RINGING for state in states)
        return ("RINGINUSE" if busy else "RINGING") if RINGING in states else "INUSE"

    def request_hangup(self, channel: Channel, cause: int) -> None:
        """The far end of a channel asked to end it."""
        self._say("HangupRequest", [*channel_headers(channel), *_request(channel, cause)])

    def soft_hangup(self, channel: Channel) -> None:
        """Asterisk itself is about to end a channel; the cause it names is 16, whatever the reason."""
        self._say("SoftHangupRequest", [*channel_headers(channel), *_request(channel, 16)])

    def hang_up(self, channel: Channel, cause: int) -> None:
        """A channel is gone."""
        del self.channels[channel.name]
        self._say("Hangup", [*channel_headers(channel), *hangup_headers(channel, cause)])

    def originated(self, action_id: str, fields: Headers, *, success: bool) -> None:
        """The outcome of an asynchronous Originate."""
        opening = [("ActionID", action_id)] if action_id else []
        response = ("Response", "Success" if success else "Failure")
        self._say("OriginateResponse", [*opening, response, *fields])

    def _say(self, event: str, headers: Iterable[tuple[str, str]], event_class: str = CALL_CLASS) -> None:
        opening = [
            ("Event", event),
            ("Privilege", f"{event_class},all"),
            ("Timestamp", f"{self.clock():.6f}"),
        ]
        self._publish(event_class, [*opening, *headers])


def _pair(source: Channel | None, leg: Channel) -> Headers:
    return [*(channel_headers(source) if source else []), *channel_headers(leg, "Dest")]


def _request(channel: Channel, cause: int) -> Iterable[tuple[str, str]]:
    yield "Cause", str(cause)
    if channel.tech_cause:
        yield "TechCause", str(channel.tech_cause)
