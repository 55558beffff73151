"""The PBX as the configuration describes it: which channel is a trunk, which is an extension, which line is meant."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from re import compile as regex

from vochi_agent.calls import numbers
from vochi_agent.calls.numbers import NumberRule
from vochi_agent.config import Enterprise, Line

__all__ = ["Endpoint", "Layout", "Role", "dialled_digits", "endpoint_name"]

# Contract §2: every channel TECH/<2-5 digits> whose endpoint is no line's is that extension.
_EXTENSION = regex(r"[A-Za-z0-9_]+/(\d{2,5})")
# What may be the name of a trunk that nobody configured, and how many of them there can be.
_GUESSABLE = regex(r"[A-Za-z0-9]+/[!-~]{1,64}")
MOST_GUESSED = 1000
# Technologies whose channels carry no person of their own: plumbing of the PBX.
_PLUMBING = frozenset(
    {"Local", "Snoop", "Message", "Surrogate", "Recorder", "Announcer", "CBAnn", "CBRec", "Bridge", "Mix"}
)


class Role(Enum):
    """What stands at the far end of a channel."""

    TRUNK = "trunk"
    EXTENSION = "extension"
    LOCAL = "local"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`name` is TECH/endpoint; `extension` is "" for anything that is no agent's phone."""

    name: str
    role: Role
    extension: str = ""


def endpoint_name(channel: str) -> str:
    """TECH/endpoint of a channel name: everything before the last dash (chan_pjsip: `PJSIP/trunk-0000001a`)."""
    name, dash, _ = channel.rpartition("-")
    return name if dash else channel


def dialled_digits(dial_string: str) -> str:
    """The number in what Dial() was asked for.

    PJSIP writes `number@endpoint` or `endpoint/sip:number@host`, chan_sip and DAHDI `peer/number`.
    """
    tail = dial_string.rpartition("/")[2]
    tail = tail.removeprefix("sip:").removeprefix("sips:")
    return tail.partition("@")[0]


class Layout:
    """Answers about one enterprise's PBX. Immutable: a reload makes a new one, a call keeps the one it began with."""

    def __init__(self, enterprise: Enterprise, *, guess_lines: bool = False) -> None:
        """With `guess_lines` whatever is no telephone is a trunk and a line of its own: nobody configured any."""
        self._guess_lines = guess_lines
        self.enterprise_number = enterprise.number
        self.country = enterprise.country
        self._lines_by_endpoint: dict[str, list[Line]] = {}
        self._line_by_id: dict[str, Line] = {}
        self._rules: dict[str, tuple[NumberRule, ...]] = {}
        for line in enterprise.lines:
            self._lines_by_endpoint.setdefault(line.endpoint, []).append(line)
            self._line_by_id[line.id] = line
            self._rules[line.id] = tuple(NumberRule.parse(rule) for rule in line.number_rule)
        self._extension_by_endpoint = {agent.endpoint: agent.extension for agent in enterprise.agents if agent.endpoint}
        self._endpoint_by_extension = {agent.extension: agent.endpoint for agent in enterprise.agents if agent.endpoint}
        # Where the phones are that the configuration does not list: chan_sip (until Asterisk 20) where nothing else is.
        named = {*self._lines_by_endpoint, *self._extension_by_endpoint}
        self._phone_technology = "SIP" if named and all(name.startswith("SIP/") for name in named) else "PJSIP"
        mobiles = (
            (numbers.to_e164(agent.mobile, country=self.country), agent) for agent in enterprise.agents if agent.mobile
        )
        self._agent_by_mobile = {number: agent.extension for number, agent in mobiles if number}
        # A hidden caller arrives on a gateway as the line's own id, at some operators as the line's own number.
        own = {line.id for line in enterprise.lines} | {line.number for line in enterprise.lines if line.number}
        self._own = frozenset(own | {number.lstrip("+") for number in own})
        self._known_extensions = frozenset(agent.extension for agent in enterprise.agents) | frozenset(
            department.number for department in enterprise.departments
        )
        self._endpoints: dict[str, Endpoint] = {}

    def endpoint(self, channel: str) -> Endpoint:
        """What the channel of this name is. Cached: a PBX has few endpoints and many channels."""
        name = endpoint_name(channel)
        found = self._endpoints.get(name)
        if found is None:
            found = self._classify(name)
            if found.role in (Role.TRUNK, Role.EXTENSION):
                self._endpoints[name] = found  # the others carry dialled numbers: an endless set
        return found

    def _classify(self, name: str) -> Endpoint:
        tech = name.partition("/")[0]
        if tech in _PLUMBING:
            return Endpoint(name, Role.LOCAL if tech == "Local" else Role.OTHER)
        if name in self._lines_by_endpoint:
            return Endpoint(name, Role.TRUNK)
        if extension := self._extension_by_endpoint.get(name):
            return Endpoint(name, Role.EXTENSION, extension)
        # chan_sip and DAHDI may add a number: SIP/0001701/8029… is the trunk SIP/0001701.
        parent = "/".join(name.split("/")[:2])
        if parent in self._lines_by_endpoint:
            return Endpoint(parent, Role.TRUNK)
        if match := _EXTENSION.fullmatch(name):
            return Endpoint(name, Role.EXTENSION, match[1])
        return self._guessed(parent) if self._guess_lines else Endpoint(name, Role.OTHER)

    def _guessed(self, name: str) -> Endpoint:
        if not _GUESSABLE.fullmatch(name) or len(self._lines_by_endpoint) >= MOST_GUESSED:
            return Endpoint(name, Role.OTHER)
        line = Line(id=name.partition("/")[2], endpoint=name)
        self._lines_by_endpoint[name] = [line]
        self._line_by_id[line.id] = line
        self._rules[line.id] = ()
        return Endpoint(name, Role.TRUNK)

    def inbound_line(self, endpoint: str, did: str) -> Line | None:
        """The line a call came in by: the endpoint's only one, else the one that has the dialled number."""
        lines = self._lines_by_endpoint.get(endpoint, ())
        if len(lines) == 1:
            return lines[0]
        bare = did.lstrip("+")
        for line in lines:
            if did in line.dids or bare in line.dids or f"+{bare}" in line.dids:
                return line
        return None

    def outbound_line(self, endpoint: str, *, marked: str, digits: str, shown: str) -> Line | None:
        """The line a call goes out by (contract §2).

        Args:
            marked: The channel variable VOCHI_LINE, "" when the dialplan did not set it.
            digits: What was dialled, with a line's prefix if it has one.
            shown: The caller id our side showed.
        """
        lines = self._lines_by_endpoint.get(endpoint, [])
        if len(lines) <= 1:
            return lines[0] if lines else None
        for line in lines:
            if line.id == marked:
                return line
        for line in sorted(lines, key=lambda line: -len(line.dial_prefix)):
            if line.dial_prefix and digits.lstrip("+").startswith(line.dial_prefix):
                return line
        if shown:
            for line in lines:
                if line.number and line.number.lstrip("+") == shown.lstrip("+"):
                    return line
        return lines[0]

    def line(self, line_id: str) -> Line | None:
        """The line with this id."""
        return self._line_by_id.get(line_id)

    def caller(self, raw: str, line: Line | None) -> str | None:
        """E.164 of who calls in; None when hidden, no number, or an agent's own mobile."""
        phone = None if raw.strip() in self._own else self._number(raw, line)
        return None if phone in self._agent_by_mobile or phone in self._own else phone

    def hides(self, raw: str, line: Line | None) -> bool:
        """Whether a caller shows no number: none at all, nothing but zeros, or the line's own id or number."""
        bare = raw.strip()
        if not bare.lstrip("+").strip("0"):
            return True
        if bare in self._own or not any(char.isdecimal() for char in bare):
            return True
        return self._number(raw, line) in self._own

    def _number(self, raw: str, line: Line | None) -> str | None:
        return numbers.to_e164(raw, country=self.country, rules=self._rules[line.id] if line else ())

    def callee(self, digits: str, line: Line | None) -> str | None:
        """E.164 of who was dialled out; rules of lines are for what comes in and never apply here."""
        return numbers.dialled(digits, country=self.country, dial_prefix=line.dial_prefix if line else "")

    def mobile_owner(self, digits: str, lines: Collection[Line | None]) -> str:
        """The extension whose mobile was dialled, "" when it is nobody's."""
        for line in (*lines, None):
            if owner := self._agent_by_mobile.get(self.callee(digits, line) or ""):
                return owner
        return ""

    def phone_of(self, extension: str) -> str:
        """Where this extension's phone is, TECH/endpoint; "" for what is no extension: no digits, or a trunk."""
        place = self._endpoint_by_extension.get(extension) or f"{self._phone_technology}/{extension}"
        return place if self._classify(place).extension == extension else ""

    def lines_of(self, endpoint: str) -> tuple[Line, ...]:
        """Every line that shares this trunk."""
        return tuple(self._lines_by_endpoint.get(endpoint, ()))

    def is_known_extension(self, number: str) -> bool:
        """A listed agent or department."""
        return number in self._known_extensions
