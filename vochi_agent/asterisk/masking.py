"""Hides numbers and names in AMI events and keeps their shape, so that a recorded call can be shown to strangers. Pure.

Invariant: the same number gets the same mask in every spelling (its last digits change, what stands before them stays),
and what the configuration names (extensions, lines, their numbers, agents' mobiles) stays, so that the masked stream
gives the same calls but for the numbers.
"""

import re
from collections.abc import Iterable
from typing import Final

from vochi_agent.config import Enterprise

from .translate_ami import VARIABLES

__all__ = ["Mask"]

# Digits from the end that are the subscriber's own; before them stand country and operator, in whatever spelling.
TAIL: Final = 7
# Shorter numbers: some head must stay, or the number would be read as another kind.
HEAD: Final = 2
SHORTEST: Final = 6  # contract: 2 to 5 digits are an extension
NAME_HEADERS: Final = ("calleridname", "connectedlinename", "membername", "cidname")
# A line may deliver a number as people write it; `calls.numbers` reads it all the same.
NUMBER_HEADERS: Final = ("num", "ani", "rdnis", "dnid", "exten", "extension")
# Of callers a SIP user's name may stand in its place.
CALLER_HEADERS: Final = ("calleridnum", "connectedlinenum")
NOBODY: Final = frozenset({"", "<unknown>", "anonymous", "Anonymous"})
# Headers that may hold anything, and that nobody reads: AGI commands (they set names), CEL's own words, messages.
FREE_TEXT: Final = frozenset({
    "Command", "Environment", "ResultString", "Extra", "EventExtra", "UserField", "Body", "CallerID", "AccountCode",
    "DestAccountCode", "PeerAccount",
})  # fmt: skip
# The headers of a UserEvent that are Asterisk's; the others are what somebody's dialplan tells his own programs.
OF_ASTERISK: Final = frozenset({
    "Event", "Privilege", "Timestamp", "SequenceNumber", "SystemName", "Channel", "ChannelState", "ChannelStateDesc",
    "CallerIDNum", "CallerIDName", "ConnectedLineNum", "ConnectedLineName", "Language", "Context", "Exten", "Priority",
    "Uniqueid", "Linkedid", "UserEvent",
})  # fmt: skip
OURS: Final = "Vochi"  # how the names of the events begin that our own dialplan sends
# Applications whose arguments say whom they call or where; the arguments of others may say anything.
PLAIN_APPLICATIONS: Final = frozenset(
    {"Dial", "RetryDial", "Queue", "FollowMe", "Page", "Park", "ParkedCall", "Pickup"}
)
_TOKENS = re.compile(
    r"""(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})
      | (?P<id>(?<!\d)\d{1,10}\.\d+)                    # a uniqueid, a timestamp
      | (?P<pointer>0x[0-9a-f]+)
      | (?P<suffix>-[0-9a-f]{8}(?![0-9a-z@#/]))         # of a channel's name
      | (?P<date>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d)?)
      | (?P<number>\+?\d{6,})                           # whatever stands around: w to wait, %2B, @ of a trunk
    """,
    re.VERBOSE,
)
_SHOWN_NUMBER = re.compile(r"\+?\d[\d ()\-]{5,}\d")
_WRITTEN_NUMBER = re.compile(r"[+(]{0,3}[0-9][0-9 \u00a0\u2009\u202f().\-\u2010-\u2013/]{6,}")


class Mask:
    """Masks one stream; what it gave for a number or a name it gives again."""

    def __init__(self, enterprise: Enterprise) -> None:
        numbers = [line.id for line in enterprise.lines] + [line.number for line in enterprise.lines]
        numbers += [did for line in enterprise.lines for did in line.dids]
        endpoints = [line.endpoint for line in enterprise.lines] + [agent.endpoint for agent in enterprise.agents]
        numbers += re.findall(r"\d+", " ".join(endpoints))
        self._kept = frozenset(number.lstrip("+") for number in numbers)
        mobiles = (agent.mobile.lstrip("+") for agent in enterprise.agents if agent.mobile)
        self._tails = {_tail(mobile): _tail(mobile) for mobile in mobiles}
        self._used = {*self._tails, *map(_tail, self._kept)}
        self._names: dict[str, str] = {}
        self._any_name: re.Pattern[str] | None = None

    def event(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The headers of one event, masked."""
        pairs = list(headers)
        values = dict(reversed(pairs))
        for name, value in pairs:
            if name.lower().endswith(NAME_HEADERS):
                self._name(value)
        return [(name, self._value(name, value, values)) for name, value in pairs]

    def _value(self, name: str, value: str, event: dict[str, str]) -> str:
        if name.lower().endswith(NAME_HEADERS):
            return self._name(value)
        if name.lower().endswith(CALLER_HEADERS):
            return self._spelled(value)
        if self._may_be_anything(name, event):
            return ""
        if name.lower().endswith(NUMBER_HEADERS) and _WRITTEN_NUMBER.fullmatch(value.strip()):
            return self._spelled(value)
        masked = _TOKENS.sub(self._token, value)
        if self._any_name is not None:
            masked = self._any_name.sub(lambda match: self._names[match[0]], masked)
        # Asterisk's own words are ASCII: whatever is not was written by a person.
        return masked if masked.isascii() else ""

    @staticmethod
    def _may_be_anything(name: str, event: dict[str, str]) -> bool:
        if name in FREE_TEXT or "chanvariable" in name.lower():
            return True
        if name == "AppData":
            return event.get("Application") not in PLAIN_APPLICATIONS
        if event.get("Event") == "VarSet":
            return name == "Value" and event.get("Variable", "") not in VARIABLES  # names, secrets, whole SIP headers
        foreign = event.get("Event") == "UserEvent" and not event.get("UserEvent", "").startswith(OURS)
        return foreign and name not in OF_ASTERISK

    def _spelled(self, value: str) -> str:
        """What stands for a number, its signs and letters where they were."""
        if value in NOBODY or value.lstrip("+") in self._kept:
            return value
        digits = iter(self._number(_bare(value).lstrip("+")))
        hidden = re.sub(r"[^\W\d_]", "x", value)
        return re.sub(r"\d", lambda _: next(digits), hidden)

    def _token(self, match: re.Match[str]) -> str:
        return self._number(match[0]) if match.lastgroup == "number" else match[0]

    def _number(self, number: str) -> str:
        if number.lstrip("+") in self._kept or len(number.lstrip("+")) < SHORTEST:
            return number
        tail = _tail(number.lstrip("+"))
        if tail not in self._tails:
            self._tails[tail] = self._fresh(len(tail))
        return number.removesuffix(tail) + self._tails[tail]

    def _fresh(self, length: int) -> str:
        """A tail that nobody has; by counting, so that a recording made again looks the same."""
        count = len(self._tails)
        while True:
            count += 1
            fresh = f"5{count:0{length - 1}d}"[-length:]
            if fresh not in self._used:
                self._used.add(fresh)
                return fresh

    def _name(self, name: str) -> str:
        if name in NOBODY:
            return name
        if _SHOWN_NUMBER.fullmatch(name.strip()):
            return self._number(_bare(name))
        if name not in self._names:
            self._names[name] = f"Name {len(self._names) + 1}"
            longest_first = sorted(map(re.escape, self._names), key=len, reverse=True)
            self._any_name = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)")
        return self._names[name]


def _bare(written: str) -> str:
    """A number without what stands between its digits."""
    return "".join(re.findall(r"^\+|\d", written.strip()))


def _tail(number: str) -> str:
    return number[-TAIL:] if len(number) >= TAIL + HEAD else number[HEAD:]
