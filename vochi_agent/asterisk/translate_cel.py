"""CEL rows to facts of the call machine: recovery has no verdict code of its own.

CEL knows less than AMI, and each gap is filled by the fact that is nearest to it:
- no ringing: a dialled phone counts as ringing from its start, unless it ended busy or declined;
- no dial events: the application's arguments say whom a channel dialled, and the legs that appear are matched to them;
- no HangupRequest: `hangupsource` names the channel whose far side hung up.
Seen on Asterisk 16.28 and 22.10 with events = ALL and the applications of contract §3.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from vochi_agent.calls import events as ev
from vochi_agent.calls.events import Event, Origin
from vochi_agent.calls.layout import dialled_digits, endpoint_name

from .cel import CelRow

__all__ = ["CelTranslator"]

# A phone that ended this way never alerted for long, as far as CEL can tell (Q.850: busy, declined).
_DID_NOT_RING: Final = frozenset({17, 21})
_DIALLING_APPS: Final = frozenset({"Dial", "RetryDial", "Page", "FollowMe"})
_VOICEMAIL_APPS: Final = frozenset({"VoiceMail", "Voicemail", "MinivmRecord"})
_MARKS: Final = frozenset({"forbidden", "closed", "voicemail", "blocked"})
# What the dialplan calls its marks. The drivers differ: cel_custom writes it in place of USER_DEFINED (22.10).
_MARK: Final = "VOCHI_MARK"
# AppName of a leg that Originate made (main/pbx.c).
_ORIGINATED: Final = "AppDial2"


class CelTranslator:
    """Reads rows in order; remembers what each living channel dials."""

    def __init__(self) -> None:
        self._dials: dict[str, list[str]] = {}  # uniqueid -> what it dials and has not been matched yet
        self._dialler_of: dict[str, str] = {}  # linkedid -> the channel that began to dial last
        self._queue_of: dict[str, str] = {}  # linkedid -> the channel that waits in a queue
        self._dialled: dict[str, float] = {}  # uniqueid -> when a leg that may ring was made
        self._named: set[str] = set()
        self._causes: dict[str, int] = {}
        self._refused: dict[str, set[int]] = {}  # linkedid -> causes that far sides gave
        self._unmatched: dict[str, dict[str, str]] = {}  # linkedid -> legs whose dial has no row yet, with their names
        self._handlers: Mapping[str, Callable[[CelRow], Iterator[Event]]] = {
            "CHAN_START": self._chan_start,
            "CHAN_END": self._chan_end,
            "ANSWER": self._answer,
            "HANGUP": self._hangup,
            "APP_START": self._app_start,
            "APP_END": self._app_end,
            "FORWARD": self._forward,
            "BRIDGE_ENTER": self._bridge_enter,
            "BRIDGE_EXIT": self._bridge_exit,
            "ATTENDEDTRANSFER": self._attended_transfer,
            "PICKUP": self._pickup,
            "LINKEDID_END": self._linkedid_end,
            "USER_DEFINED": self._user_defined,
            _MARK: self._user_defined,
        }

    def translate(self, row: CelRow) -> Iterator[Event]:
        """The facts a row states; none for most kinds of rows."""
        handler = self._handlers.get(row.event)
        if handler is not None:
            if row.caller_number and row.event != "CHAN_START" and row.uniqueid not in self._named:
                self._named.add(row.uniqueid)
                yield ev.CallerNamed(row.at, *_channel(row), row.caller_number)
            yield from handler(row)

    def _chan_start(self, row: CelRow) -> Iterator[Event]:
        if row.caller_number:
            self._named.add(row.uniqueid)
        origin = _origin(row)
        yield ev.ChannelStarted(row.at, *_channel(row), origin, row.exten, row.caller_number)
        if origin is not Origin.CREATED:
            return
        source, dialled = self._who_dialled(row)
        if dialled or not row.channel.startswith("Local/"):
            # Half a Local pair that nobody dials belongs to an agent's transfer by feature code.
            yield ev.DialStarted(row.at, *_channel(row), source, dialled)
            self._dialled[row.uniqueid] = row.at
        if not dialled and not row.channel.endswith(";2"):
            self._unmatched.setdefault(row.linkedid, {})[row.uniqueid] = row.channel

    def _who_dialled(self, row: CelRow) -> tuple[str, str]:
        """The channel whose Dial or Queue made this leg, and the words it dialled it by."""
        endpoint = endpoint_name(row.channel)
        for source in (self._dialler_of.get(row.linkedid, ""), *reversed(self._dials)):
            for target in self._dials.get(source, ()):
                if _reaches(target, endpoint):
                    self._dials[source].remove(target)
                    return source, target
        return self._queue_of.get(row.linkedid, ""), endpoint if row.linkedid in self._queue_of else ""

    def _app_start(self, row: CelRow) -> Iterator[Event]:
        if row.app in _DIALLING_APPS:
            self._dials.pop(row.uniqueid, None)
            self._dials[row.uniqueid] = _targets(row)
            self._dialler_of[row.linkedid] = row.uniqueid
        elif row.app == "Queue":
            self._queue_of[row.linkedid] = row.uniqueid
            yield ev.QueueEntered(row.at, *_channel(row))
        elif row.app in _VOICEMAIL_APPS:
            yield ev.Marked(row.at, *_channel(row), "voicemail")

    def _app_end(self, row: CelRow) -> Iterator[Event]:
        if row.app == "Queue":
            self._queue_of.pop(row.linkedid, None)
            yield ev.QueueLeft(row.at, *_channel(row))
        elif row.app in _DIALLING_APPS:
            yield from self._match_late(row, _targets(row))
            if any(_is_phone(target) for target in self._dials.pop(row.uniqueid, ())):
                # Somebody was dialled and no leg was made for him: not registered.
                yield ev.VariableSet(row.at, *_channel(row), "DIALSTATUS", "CHANUNAVAIL")

    def _forward(self, row: CelRow) -> Iterator[Event]:
        """A telephone sent its call elsewhere (302); the row follows the start of the pair that is dialled instead."""
        where = _text(row.extra, "forward")
        yield from self._match_late(row, [where if "/" in where else f"Local/{where}"])

    def _match_late(self, row: CelRow, targets: Iterable[str]) -> Iterator[Event]:
        """A Dial() that follows another at once has no APP_START (22.10): whom it dialled is told by its end."""
        legs = self._unmatched.get(row.linkedid, {})
        for target in targets:
            for uniqueid, channel in legs.items():
                if _reaches(target, endpoint_name(channel)):
                    yield ev.DialStarted(row.at, uniqueid, row.linkedid, channel, row.uniqueid, target)
                    del legs[uniqueid]
                    break

    def _answer(self, row: CelRow) -> Iterator[Event]:
        yield from self._rang(row)
        yield ev.ChannelUp(row.at, *_channel(row))

    def _hangup(self, row: CelRow) -> Iterator[Event]:
        self._causes[row.uniqueid] = self._own_cause(row)
        if self._causes[row.uniqueid] not in _DID_NOT_RING:
            yield from self._rang(row)
        if row.extra.get("hangupsource") == row.channel:
            yield ev.HangupRequested(row.at, *_channel(row))
        if row.extra.get("dialstatus") == "CANCEL":
            return
        if row.extra.get("dialstatus") == "CHANUNAVAIL":
            yield ev.VariableSet(row.at, *_channel(row), "DIALSTATUS", "CHANUNAVAIL")

    def _own_cause(self, row: CelRow) -> int:
        """The cause of an end; that of another leg, handed on to one that is given up, says nothing about this one."""
        cause = row.extra.get("hangupcause", 0)
        if not isinstance(cause, int):
            return 0
        refused = self._refused.setdefault(row.linkedid, set())
        if row.extra.get("hangupsource") == row.channel:
            refused.add(cause)
        elif cause in refused and row.uniqueid in self._dialled:
            return 0
        return cause

    def _rang(self, row: CelRow) -> Iterator[Event]:
        if (since := self._dialled.pop(row.uniqueid, None)) is not None:
            yield ev.ChannelRinging(since, *_channel(row))

    def _chan_end(self, row: CelRow) -> Iterator[Event]:
        self._named.discard(row.uniqueid)
        self._dials.pop(row.uniqueid, None)
        self._dialled.pop(row.uniqueid, None)
        if self._dialler_of.get(row.linkedid) == row.uniqueid:
            del self._dialler_of[row.linkedid]
        if self._queue_of.get(row.linkedid) == row.uniqueid:
            del self._queue_of[row.linkedid]
        yield ev.ChannelEnded(row.at, *_channel(row), self._causes.pop(row.uniqueid, 0))

    def _linkedid_end(self, row: CelRow) -> Iterator[Event]:
        self._unmatched.pop(row.linkedid, None)
        self._refused.pop(row.linkedid, None)
        yield from ()

    def _bridge_enter(self, row: CelRow) -> Iterator[Event]:
        bridge = row.extra.get("bridge_id")
        if isinstance(bridge, str):
            holding = row.extra.get("bridge_technology") == "holding_bridge"
            yield ev.BridgeEntered(row.at, *_channel(row), bridge, holding)

    def _bridge_exit(self, row: CelRow) -> Iterator[Event]:
        bridge = row.extra.get("bridge_id")
        if isinstance(bridge, str):
            yield ev.BridgeLeft(row.at, *_channel(row), bridge)

    def _attended_transfer(self, row: CelRow) -> Iterator[Event]:
        second = _text(row.extra, "channel2_uniqueid")
        target = _text(row.extra, "transfer_target_channel_uniqueid")
        together = (row.uniqueid, second, _text(row.extra, "transferee_channel_uniqueid"), target)
        completed = (target,) if second == row.uniqueid else (second, target)
        yield ev.Joined(row.at, _named(*together), _named(*completed))

    def _pickup(self, row: CelRow) -> Iterator[Event]:
        yield ev.Joined(row.at, _named(row.uniqueid, _text(row.extra, "pickup_channel_uniqueid")), ())

    def _user_defined(self, row: CelRow) -> Iterator[Event]:
        reason = (_text(row.extra, "extra") or row.app_data.partition(",")[2]).strip().lower()
        if _MARK in (row.event, row.user_event) and reason in _MARKS:
            yield ev.Marked(row.at, *_channel(row), reason)


def _targets(row: CelRow) -> list[str]:
    return row.app_data.partition(",")[0].split("&")


def _origin(row: CelRow) -> Origin:
    """Who made a channel, by its first row.

    A leg the PBX makes starts at `s` of its endpoint's context, and inherits the linkedid of who asked for it. Calls of
    a registration that names no number come to `s` as well, from callers with a number: a trunk's leg of ours has none
    yet, a telephone's its own.
    """
    if row.uniqueid != row.linkedid or row.exten == "" or row.app == _ORIGINATED:
        return Origin.CREATED
    if row.exten == "s":
        return Origin.UNKNOWN if row.caller_number else Origin.CREATED
    return Origin.ENTERED


def _reaches(target: str, endpoint: str) -> bool:
    """Whether what Dial() was given (`PJSIP/8029…@trunk`) makes a channel of this endpoint (`PJSIP/trunk`)."""
    tech, _, rest = target.partition("/")
    if tech == "Local":
        number, at, context = rest.partition("/")[0].partition("@")
        own_number, _, own_context = endpoint.removeprefix("Local/").partition("@")
        return number == own_number and (not at or context == own_context)
    own_tech, _, name = endpoint.partition("/")
    if tech != own_tech:
        return False
    return name in (rest, rest.partition("/")[0], rest.rpartition("@")[2])


def _is_phone(target: str) -> bool:
    return "/" in target and not target.startswith("Local/") and bool(dialled_digits(target))


def _channel(row: CelRow) -> tuple[str, str, str]:
    return row.uniqueid, row.linkedid, row.channel


def _text(extra: Mapping[str, object], key: str) -> str:
    value = extra.get(key, "")
    return value if isinstance(value, str) else ""


def _named(*uniqueids: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uniqueid for uniqueid in uniqueids if uniqueid))
