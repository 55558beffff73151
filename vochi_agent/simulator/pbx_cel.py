"""The CEL of the simulated PBX: what its switch says, as the rows that cel_custom of Asterisk 22 would write.

Columns and words are those of the recordings. CEL says when an application ends and AMI does not, so the end is put
where it shows: before the next application, or the end of the channel.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from .pbx_channels import UNKNOWN, Headers

__all__ = ["COLUMNS", "CelWriter"]

COLUMNS: Final = (
    "EventType", "EventTime", "CIDname", "CIDnum", "CIDani", "CIDrdnis", "CIDdnid", "Exten", "Context", "ChanName",
    "AppName", "AppData", "AMAFlags", "AccountCode", "UniqueID", "LinkedID", "Peer", "PeerAccount", "UserField",
    "UserDefType", "EventExtra",
)  # fmt: skip
# cel.conf of `dialplan/`: apps = dial,queue,voicemail,park,confbridge,playback,stasis
RECORDED: Final = frozenset({"Dial", "Queue"})


@dataclass(slots=True)
class _Channel:
    """What of a channel stands in later rows.

    Attributes:
        app: The application that runs for it, with its arguments; "" for none.
        ended_by: The channel whose side asked for the end, "" while nobody did.
        dialstatus: DIALSTATUS, "" before any Dial.
    """

    app: str = ""
    data: str = ""
    ended_by: str = ""
    dialstatus: str = ""
    bridge: str = ""


class CelWriter:
    """Hears every event of a switch and writes the rows that belong to it.

    Args:
        write: Takes a row with its line feed.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._channels: dict[str, _Channel] = {}  # by name
        self._calls: dict[str, int] = {}  # linkedid -> channels that live
        self._events: dict[str, Callable[[dict[str, str]], None]] = {
            "Newchannel": self._newchannel,
            "Newexten": self._newexten,
            "Newstate": self._newstate,
            "VarSet": self._varset,
            "BridgeEnter": self._bridge_enter,
            "BridgeLeave": self._bridge_leave,
            "BlindTransfer": self._blind_transfer,
            "HangupRequest": self._hangup_request,
            "Hangup": self._hangup,
        }

    def receive(self, headers: Headers) -> None:
        """An event, as AMI is told it."""
        event = dict(headers)
        if handler := self._events.get(event["Event"]):
            handler(event)

    def _newchannel(self, event: dict[str, str]) -> None:
        self._channels[event["Channel"]] = _Channel()
        self._calls[event["Linkedid"]] = self._calls.get(event["Linkedid"], 0) + 1
        self._row("CHAN_START", event)

    def _newexten(self, event: dict[str, str]) -> None:
        channel = self._channels[event["Channel"]]
        self._end_application(channel, event)
        channel.app, channel.data = event["Application"], event["AppData"]
        if channel.app in RECORDED:
            self._row("APP_START", event)

    def _newstate(self, event: dict[str, str]) -> None:
        if event["ChannelStateDesc"] == "Up":
            self._row("ANSWER", event)

    def _varset(self, event: dict[str, str]) -> None:
        if event["Variable"] == "DIALSTATUS":
            self._channels[event["Channel"]].dialstatus = event["Value"]

    def _bridge_enter(self, event: dict[str, str]) -> None:
        self._channels[event["Channel"]].bridge = event["BridgeUniqueid"]
        self._row("BRIDGE_ENTER", event, _bridge(event))

    def _bridge_leave(self, event: dict[str, str]) -> None:
        self._channels[event["Channel"]].bridge = ""
        self._row("BRIDGE_EXIT", event, _bridge(event))

    def _blind_transfer(self, event: dict[str, str]) -> None:
        prefix = "Transferer"
        row = {name.removeprefix(prefix): value for name, value in event.items() if name.startswith(prefix)}
        extra = {
            "extension": event["Extension"],
            "context": event["Context"],
            "bridge_id": event["BridgeUniqueid"],
            "transferee_channel_name": event["TransfereeChannel"],
            "transferee_channel_uniqueid": event["TransfereeUniqueid"],
        }
        self._row("BLINDTRANSFER", row | {"Timestamp": event["Timestamp"]}, extra)

    def _hangup_request(self, event: dict[str, str]) -> None:
        """Who asks for the end ends the other one too when they talk."""
        bridge = self._channels[event["Channel"]].bridge
        for name, channel in self._channels.items():
            if name == event["Channel"] or (bridge and channel.bridge == bridge):
                channel.ended_by = event["Channel"]

    def _hangup(self, event: dict[str, str]) -> None:
        channel = self._channels[event["Channel"]]
        self._end_application(channel, event)
        extra = {
            "hangupcause": int(event["Cause"]),
            "hangupsource": channel.ended_by,
            "dialstatus": channel.dialstatus,
        }
        self._row("HANGUP", event, extra)
        self._row("CHAN_END", event)
        del self._channels[event["Channel"]]
        self._calls[event["Linkedid"]] -= 1
        if not self._calls[event["Linkedid"]]:
            del self._calls[event["Linkedid"]]
            self._row("LINKEDID_END", event)

    def _end_application(self, channel: _Channel, event: dict[str, str]) -> None:
        if channel.app in RECORDED:
            self._row("APP_END", event, app=(channel.app, channel.data))
        channel.app = channel.data = ""

    def _row(
        self,
        kind: str,
        event: dict[str, str],
        extra: dict[str, object] | dict[str, str] | None = None,
        app: tuple[str, str] | None = None,
    ) -> None:
        channel = self._channels.get(event["Channel"], _Channel())
        name, data = app or (channel.app, channel.data)
        number = _known(event["CallerIDNum"])
        values = {
            "EventType": kind,
            "EventTime": event["Timestamp"],
            "CIDname": _known(event["CallerIDName"]),
            "CIDnum": number,
            "CIDani": "" if kind == "CHAN_START" else number,
            "Exten": event["Exten"],
            "Context": event["Context"],
            "ChanName": event["Channel"],
            "AppName": name,
            "AppData": data,
            "AMAFlags": "DOCUMENTATION",
            "UniqueID": event["Uniqueid"],
            "LinkedID": event["Linkedid"],
            "EventExtra": json.dumps(extra, ensure_ascii=False, separators=(",", ":")) if extra else "",
        }
        self._write(_line(values.get(column, "") for column in COLUMNS))


def _bridge(event: dict[str, str]) -> dict[str, str]:
    return {"bridge_id": event["BridgeUniqueid"], "bridge_technology": event["BridgeTechnology"]}


def _known(value: str) -> str:
    return "" if value == UNKNOWN else value


def _line(values: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(values)
    return text.getvalue()
