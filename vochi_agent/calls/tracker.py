"""The call machine of one PBX: channel events in, call updates out. Pure: time arrives in the events.

    receive(event) -> updates        what the PBX said
    expire(now)    -> updates        what its silence says
    close(at)      -> updates        the stream is over

A companion overhears a PBX and may join in the middle: an event out of order or for a channel never seen to start is
counted in `anomalies`, marks the call `partial`, and never raises. Which channels are one call, `groups` knows; what is
news to others, `telling`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

from vochi_agent.calls import events as ev
from vochi_agent.calls.events import Event, Origin
from vochi_agent.calls.groups import REMEMBER_S, Groups
from vochi_agent.calls.layout import Layout, Role, dialled_digits
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.live import LiveCall, LiveChannel
from vochi_agent.calls.model import CallProgress, CallUpdate, Phase, Source
from vochi_agent.calls.phases import progress
from vochi_agent.calls.telling import Telling
from vochi_agent.calls.verdict import BUSY, DECLINED, judge

__all__ = ["Tracker"]

# A channel that a snapshot does not list may have ended a moment before: its Hangup may still be on its way.
MISSING_GRACE_S: Final = 2.0
# A channel's age is told in whole seconds.
AGE_STEP_S: Final = 1.0
# A PBX never keeps a call for a day; a Hangup that was lost must not keep ours for ever.
SILENT_CALL_S: Final = 24 * 3600.0


class Tracker:
    """Follows every call of one PBX."""

    def __init__(self, layout: Layout, *, source: Source = Source.LIVE) -> None:
        self.layout = layout
        self.source = source
        self.anomalies: Counter[str] = Counter()
        self._telling = Telling()
        self._groups = Groups(self._telling.merged)
        # Uniqueids that the last snapshot did not list: when it was taken, and until when they lived as far as we know.
        self._missing: dict[str, tuple[float, float]] = {}
        self._silent_since: float | None = None  # of a silence that no snapshot has ended
        self._gone: dict[str, float] = {}  # uniqueids that ended without ever being seen to live
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            ev.ChannelStarted: self._channel_started,
            ev.CallerNamed: self._caller_named,
            ev.ChannelRinging: self._channel_ringing,
            ev.ChannelUp: self._channel_up,
            ev.HangupRequested: self._hangup_requested,
            ev.ChannelEnded: self._channel_ended,
            ev.DialStarted: self._dial_started,
            ev.DialEnded: self._dial_ended,
            ev.BridgeEntered: self._bridge_entered,
            ev.BridgeLeft: self._bridge_left,
            ev.Joined: self._joined,
            ev.QueueEntered: self._queue_entered,
            ev.QueueLeft: self._queue_left,
            ev.Marked: self._marked,
            ev.VariableSet: self._variable_set,
            ev.Snapshot: self._snapshot,
        }

    # ------------------------------------------------------------ the contract

    def receive(self, event: Event) -> list[CallUpdate]:
        """Take one fact; returns what others should be told because of it."""
        self._handlers[type(event)](event)
        return self._telling.taken()

    def expire(self, now: float) -> list[CallUpdate]:
        """Draw the conclusions of silence: channels a snapshot missed are gone, finished calls are forgotten."""
        for uniqueid, (since, lived_until) in list(self._missing.items()):
            if now - since >= MISSING_GRACE_S:
                del self._missing[uniqueid]
                call = self._groups.of(uniqueid)
                if call is not None and call.legs[uniqueid].ended is None:
                    self._end_unseen(call, [call.legs[uniqueid]], lived_until)
        for call in self._groups:
            if now - call.last_event >= SILENT_CALL_S and call.open:
                self._end_unseen(call, call.legs.values(), call.last_event)
        self._gone = {uniqueid: at for uniqueid, at in self._gone.items() if now - at < REMEMBER_S}
        self._groups.forget(now)
        self._groups.shrink()
        return self._telling.taken()

    @property
    def deadline(self) -> float | None:
        """When `expire` should be called next, None while nothing waits."""
        soon = [since + MISSING_GRACE_S for since, _ in self._missing.values()]
        if (forgets_at := self._groups.forgets_at) is not None:
            soon.append(forgets_at)
        return min(soon, default=None)

    def interrupted(self, at: float) -> None:
        """Events may have been lost from here to the next snapshot: every live call is partly known."""
        if self._silent_since is None:
            self._silent_since = at
        for call in self._groups:
            if call.open:
                call.partial = True

    def close(self, at: float) -> list[CallUpdate]:
        """The stream is over: calls still open end here, unseen."""
        for call in self._groups:
            if call.open:
                self._end_unseen(call, call.legs.values(), max(at, call.last_event))
        return self._telling.taken()

    def end_absent(self, alive: AbstractSet[str]) -> list[CallUpdate]:
        """After the fact: calls none of whose channels (uniqueids) lives ended, unseen, when last heard of."""
        for call in self._groups:
            if call.open and alive.isdisjoint(uniqueid for uniqueid, leg in call.legs.items() if leg.ended is None):
                self._end_unseen(call, call.legs.values(), call.last_event)
        return self._telling.taken()

    def live(self) -> Iterator[CallProgress]:
        """The calls that go on now, as they were told last."""
        for call in self._groups:
            if call.open:
                for part in call.parts():
                    if (told := call.told.get(part.linkedid)) and told.phase is not Phase.HANGUP:
                        yield progress(call, part, told, call.last_event)

    @property
    def live_linkedids(self) -> list[str]:
        """By what names the calls that go on now were told last; a walk, while `live` reads each one's number anew."""
        return [
            linkedid
            for call in self._groups
            if call.open
            for linkedid, told in call.told.items()
            if told.phase is not Phase.HANGUP
        ]

    def unanswered(self, uniqueid: str) -> list[tuple[str, str]]:
        """Telephones that are dialled or ring now in the call of a channel: their own uniqueids and extensions."""
        call = self._groups.of(uniqueid)
        legs = call.legs.values() if call else ()
        return [
            (leg.uniqueid, leg.agent)
            for leg in legs
            if leg.role is Role.EXTENSION and leg.dialled and leg.up is None and leg.ended is None
        ]

    def channels_of(self, linkedid: str) -> list[LiveChannel]:
        """Everybody in a call that goes on, the one it is about first; [] for a call that is over or none of ours."""
        call = self._groups.under(linkedid)
        return call.channels() if call is not None else []

    def is_engaged(self, extension: str) -> bool:
        """Some phone of this agent rings or is in a call, his mobile as far as it was dialled by us."""
        return any(leg.agent == extension and leg.ended is None for _, leg in self._groups.legs())

    @property
    def open_channels(self) -> int:
        """Channels alive now."""
        return sum(1 for _, leg in self._groups.legs() if leg.ended is None)

    # ------------------------------------------------------------ legs and groups

    def _leg(self, event: Any) -> Leg | None:
        """The living leg an event speaks of; met in mid-life when it was never seen to start."""
        call = self._groups.of(event.uniqueid)
        if call is None:
            if not event.uniqueid or not event.channel:
                self.anomalies["channel never seen"] += 1
                return None
            self.anomalies["channel met in mid-life"] += 1
            call, leg = self._new_leg(event, Origin.UNKNOWN)
            leg.met_midway = call.partial = True
            return leg
        call.last_event = event.at
        leg = call.legs[event.uniqueid]
        if event.linkedid and event.linkedid != leg.linkedid:
            self._groups.relink(leg, event.linkedid, event.at)
        return leg

    def _new_leg(self, event: Any, origin: Origin, exten: str = "", number: str = "") -> tuple[LiveCall, Leg]:
        linkedid = event.linkedid or event.uniqueid
        endpoint = self.layout.endpoint(event.channel)
        if origin is Origin.UNKNOWN:
            # The first channel of a call gives it its linkedid; the rest were made by the PBX. A telephone that calls
            # dials a number, one at `s` was called.
            first = event.uniqueid == linkedid and not (exten == "s" and endpoint.role is Role.EXTENSION)
            origin = Origin.ENTERED if first else Origin.CREATED
        leg = Leg(
            uniqueid=event.uniqueid,
            linkedid=linkedid,
            first_linkedid=linkedid,
            channel=event.channel,
            endpoint=endpoint,
            origin=origin,
            started=event.at,
            agent=endpoint.extension,
            exten=exten,
            number=number,
        )
        call = self._groups.add(leg, self.layout)
        call.last_event = event.at
        return call, leg

    # ------------------------------------------------------------ what the PBX said

    def _channel_started(self, event: ev.ChannelStarted) -> None:
        known = self._groups.of(event.uniqueid)
        if known is not None:
            # Repeated, or late because another event of the channel came first.
            leg = known.legs[event.uniqueid]
            leg.started = min(leg.started, event.at)
            leg.exten = leg.exten or event.exten
            leg.number = leg.number or event.caller_number
            return
        call, leg = self._new_leg(event, event.origin, event.exten, event.caller_number)
        if leg.role is Role.TRUNK and leg.origin is Origin.ENTERED:
            self._telling.customer(call, leg, event.at, Phase.START)

    def _caller_named(self, event: ev.CallerNamed) -> None:
        if leg := self._leg(event):
            if not leg.number:
                leg.number = event.number
            if leg.role is Role.TRUNK and leg.origin is Origin.CREATED and not leg.dialled:
                self._recognise_mobile(leg, event.number)

    def _recognise_mobile(self, leg: Leg, digits: str) -> None:
        """A trunk leg dialled to an agent's mobile is that agent, never a customer."""
        if leg.role is Role.TRUNK and leg.origin is not Origin.ENTERED and not leg.agent:
            leg.agent = self.layout.mobile_owner(digits, self.layout.lines_of(leg.endpoint.name))

    def _dial_started(self, event: ev.DialStarted) -> None:
        leg = self._leg(event)
        if leg is None:
            return
        leg.dialled = True
        leg.dialled_by = event.source
        leg.dial_string = event.dial_string
        self._recognise_mobile(leg, dialled_digits(event.dial_string) or leg.number)
        call = self._groups[leg]
        if leg.role is Role.TRUNK:
            self._telling.customer(call, leg, event.at, Phase.START, Phase.DIAL)
        if leg.agent:
            self._telling.colleague(call, leg, event.at)

    def _channel_ringing(self, event: ev.ChannelRinging) -> None:
        leg = self._leg(event)
        if leg is None or leg.rang is not None or leg.ended is not None:
            return
        leg.rang = event.at
        if leg.agent and leg.origin is not Origin.ENTERED:
            self._telling.ringing(self._groups[leg], event.at)

    def _channel_up(self, event: ev.ChannelUp) -> None:
        leg = self._leg(event)
        if leg is not None and leg.up is None and leg.ended is None:
            leg.up = event.at

    def _hangup_requested(self, event: ev.HangupRequested) -> None:
        leg = self._leg(event)
        if leg is not None and leg.hangup_requested is None:
            leg.hangup_requested = event.at

    def _dial_ended(self, event: ev.DialEnded) -> None:
        leg = self._leg(event)
        if leg is not None and leg.dial_status != "ANSWER":
            # Queues end a dial twice, NOANSWER and then CANCEL: the first word is the phone's own.
            leg.dial_status = event.status if event.status == "ANSWER" else leg.dial_status or event.status

    def _bridge_entered(self, event: ev.BridgeEntered) -> None:
        leg = self._leg(event)
        if leg is None or leg.ended is not None:
            return
        if event.holding:
            if leg.bridges and leg.bridges[-1].left is None:
                leg.bridges[-1].left = event.at
            return
        leg.enter(leg.bridges, event.bridge, event.at)
        self._telling.talking(self._groups.meet(leg, event.at), event.at)

    def _bridge_left(self, event: ev.BridgeLeft) -> None:
        if leg := self._leg(event):
            leg.leave(leg.bridges, event.bridge, event.at)

    def _joined(self, event: ev.Joined) -> None:
        calls = [call for uniqueid in event.uniqueids if (call := self._groups.of(uniqueid))]
        if not calls:
            self.anomalies["channel never seen"] += 1
            return
        call = calls[0]
        for other in calls[1:]:
            call = self._groups.merge(call, other, event.at)
        for uniqueid in event.completed:
            if uniqueid in call.legs:
                call.legs[uniqueid].completed = True

    def _queue_entered(self, event: ev.QueueEntered) -> None:
        leg = self._leg(event)
        if leg is not None and leg.ended is None:
            leg.enter(leg.queues, "queue", event.at)

    def _queue_left(self, event: ev.QueueLeft) -> None:
        if leg := self._leg(event):
            leg.leave(leg.queues, "queue", event.at)

    def _marked(self, event: ev.Marked) -> None:
        if leg := self._leg(event):
            self._groups[leg].marks.add(event.reason)

    def _variable_set(self, event: ev.VariableSet) -> None:
        leg = self._leg(event)
        if leg is None:
            return
        call = self._groups[leg]
        if event.name == "VOCHI_LINE":
            call.marked_line = event.value
        elif event.name == "DIALSTATUS" and event.value in ("CHANUNAVAIL", "CONGESTION"):
            call.dial_refused = True

    def _channel_ended(self, event: ev.ChannelEnded) -> None:
        if self._groups.of(event.uniqueid) is None:
            self.anomalies["channel never seen"] += 1
            self._gone[event.uniqueid] = event.at
            return
        leg = self._leg(event)
        self._missing.pop(event.uniqueid, None)
        if leg is None:
            return
        if leg.ended is not None and not leg.end_unseen:
            self.anomalies["repeated end"] += 1
            return
        declined = leg.ringing and event.cause in (BUSY, DECLINED) and leg.dial_status != "CANCEL"
        leg.end_unseen = False
        leg.cause = event.cause
        leg.end(event.at)
        if declined:
            self._telling.ringing(self._groups[leg], event.at)
        self._finish(self._groups[leg], event.at)

    def _snapshot(self, event: ev.Snapshot) -> None:
        """Compare what lives with what we believed; the difference happened while nobody listened.

        Live events go on while the list is under way, so its rows may be older than what is known: a channel that has
        ended since stays ended, one that began after the list was asked for is not missing from it. One that is missing
        lived until the silence began; for how long it went on then nobody knows (a PBX that was killed, not at all).
        """
        heard = {leg.uniqueid: call.last_event for call, leg in self._groups.legs()}
        silent_since = event.at if self._silent_since is None else self._silent_since
        self._silent_since = None
        rows = [row for row in event.channels if row.uniqueid not in self._gone]
        listed = {row.uniqueid for row in rows}
        acquainted: set[Leg] = set()
        for row in rows:
            known = self._groups.of(row.uniqueid)
            if known is None:
                self._adopt(row, event.at)
            elif (leg := known.legs[row.uniqueid]).ended is None:
                if leg.met_midway:
                    self._acquaint(leg, row, event.at)
                    acquainted.add(leg)
                    heard[leg.uniqueid] = leg.started - AGE_STEP_S
                self._correct(leg, row, event.at, heard.get(row.uniqueid, event.at))
        for _, leg in self._groups.legs():
            if leg.uniqueid not in listed and leg.ended is None and leg.started < event.at:
                lived_until = max(silent_since, heard.get(leg.uniqueid, event.at))
                self._missing.setdefault(leg.uniqueid, (event.at, min(lived_until, event.at)))
        for call in self._groups:
            if call.open and not listed.isdisjoint(call.legs):
                self._telling.listed(call, acquainted, event.at)

    def _adopt(self, row: ev.SnapshotChannel, at: float) -> None:
        origin = Origin.ENTERED if row.uniqueid == row.linkedid else Origin.CREATED
        start = ev.ChannelStarted(
            at - row.age, row.uniqueid, row.linkedid, row.channel, origin, row.exten, row.caller_number
        )
        call, leg = self._new_leg(start, origin, row.exten, row.caller_number)
        call.partial = True
        call.last_event = at
        if leg.origin is Origin.CREATED:
            self._recognise_mobile(leg, row.caller_number)
        self._correct(leg, row, at, leg.started - AGE_STEP_S)

    def _acquaint(self, leg: Leg, row: ev.SnapshotChannel, at: float) -> None:
        """An event between the login and the list was the first to tell of it, and said not who it is."""
        leg.met_midway = False
        leg.started = min(leg.started, at - row.age)
        leg.exten = leg.exten or row.exten
        leg.number = leg.number or row.caller_number
        if not leg.dialled:
            self._recognise_mobile(leg, leg.number)

    def _correct(self, leg: Leg, row: ev.SnapshotChannel, at: float, heard: float) -> None:
        """Believe the row: what it says anew happened since the leg was `heard` of, at the latest now."""
        if row.linkedid and row.linkedid != leg.linkedid:
            self._groups.relink(leg, row.linkedid, at)
        if row.ringing and leg.rang is None:
            leg.rang = at
        if row.up and leg.up is None:
            leg.up = at
        if row.bridge and not row.holding:
            # A conversation that began unheard is as old as its bridge, and no older than the silence.
            leg.enter(leg.bridges, row.bridge, at if row.bridge_made is None else min(at, max(row.bridge_made, heard)))
            self._groups.meet(leg, at)
        elif leg.bridges and leg.bridges[-1].left is None:
            leg.bridges[-1].left = at

    # ------------------------------------------------------------ the end

    def _end_unseen(self, call: LiveCall, legs: Iterable[Leg], at: float) -> None:
        for leg in legs:
            if leg.ended is None:
                leg.end_unseen = True
                leg.ended = at  # its stays stay open: nobody saw it leave
        self._finish(call, at)

    def _finish(self, call: LiveCall, at: float) -> None:
        """The last channel is gone: judge, tell what is new, and remember the call for stragglers."""
        if call.open:
            return
        self._telling.finished(call, judge(call.evidence(at), call.layout, self.source))
        self._groups.over(call, at)
