"""What sipp wrote about the SIP messages it sent and received (`-trace_msg`), read back."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Invite", "SipMessage", "Update", "invites", "read_trace", "updates"]

# ----...---- 2026-11-20 11:59:01.123456
# UDP message received [870] bytes :
RULE = re.compile(
    r"^-{20,} (?P<at>\d{4}-\d\d-\d\d[ \t]\d\d:\d\d:\d\d\.\d+).*\n"
    r"\w+ message (?P<way>sent|received) .*\n\n",
    re.MULTILINE,
)
HEADERS_END = "\n\n"
OK = 200
# What PJSIP writes for endpoints without contact_user.
DEFAULT_CONTACT = "asterisk"
NAME_ADDRESS = re.compile(r'\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<plain>[^<"]*?))\s*<sips?:(?:(?P<user>[^@>]*)@)?')


@dataclass(frozen=True, slots=True)
class SipMessage:
    """One message.

    Attributes:
        at: When sipp sent or received it.
        sent: By sipp; otherwise it was received.
        start: The first line.
        headers: Names in lower case; of a repeated one the first.
    """

    at: datetime
    sent: bool
    start: str
    headers: dict[str, str]

    @property
    def code(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request, of a response that of its request."""
        return self.headers.get("cseq", "").split()[-1]


@dataclass(frozen=True, slots=True)
class Invite:
    """A call as a telephone or a provider saw it come.

    Attributes:
        at: When it arrived.
        number: Who was called.
        display_name: The name in From, what the handset shows; "" when there is none.
        caller: The number in From.
        asserted_identity: P-Asserted-Identity as it stands, "" when there is none.
        trunk: At the provider the trunk it came through, at a telephone "".
        call_id: Of this leg.
    """

    at: datetime
    number: str
    display_name: str
    caller: str
    asserted_identity: str
    trunk: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Update:
    """A new identity of the caller while the telephone rings or talks.

    Attributes:
        at: When it arrived.
        method: UPDATE, or INVITE within a call.
        display_name: The name in P-Asserted-Identity, "" when there is none.
        answered: The telephone had picked up before.
    """

    at: datetime
    method: str
    display_name: str
    answered: bool


def read_trace(path: Path) -> list[SipMessage]:
    """Every message in the order of the file; a message still being written is left out."""
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    rules = list(RULE.finditer(text))
    ends = [rule.start() for rule in rules[1:]] + [len(text)]
    parts = [(rule, text[rule.end() : end]) for rule, end in zip(rules, ends, strict=False)]
    return [_message(rule, part) for rule, part in parts if HEADERS_END in part]


def invites(messages: list[SipMessage]) -> list[Invite]:
    """The calls that arrived, without retransmissions and without changes inside a call."""
    found: dict[str, Invite] = {}
    for message in messages:
        if not message.sent and message.start.startswith("INVITE "):
            invite = _invite(message)
            found.setdefault(invite.call_id, invite)
    return list(found.values())


def updates(messages: list[SipMessage], number: str) -> list[Update]:
    """What was asked within the calls of one number, without retransmissions."""
    calls = {invite.call_id for invite in invites(messages) if invite.number == number}
    seen: set[tuple[str, str]] = set()
    answered: set[str] = set()
    found: list[Update] = []
    for message in messages:
        call_id, cseq = message.headers.get("call-id", ""), message.headers.get("cseq", "")
        if call_id not in calls:
            continue
        if message.sent and message.code == OK and message.method == "INVITE":
            answered.add(call_id)
        is_first = (call_id, cseq) not in seen
        if not message.sent and is_first and message.start.split()[0] in ("UPDATE", "INVITE"):
            seen.add((call_id, cseq))
            if "tag=" in message.headers.get("to", ""):
                name = _display_name(message.headers.get("p-asserted-identity", ""))
                found.append(Update(message.at, message.start.split()[0], name, call_id in answered))
    return found


def _message(rule: re.Match[str], text: str) -> SipMessage:
    head = text.partition(HEADERS_END)[0].split("\n")
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    # sipp writes local time without a zone.
    at = datetime.fromisoformat(rule["at"].replace("\t", " ")).astimezone(UTC)
    return SipMessage(at, rule["way"] == "sent", head[0], headers)


def _invite(message: SipMessage) -> Invite:
    start = re.match(r"INVITE sips?:([^@]*)@", message.start)
    sender = NAME_ADDRESS.match(message.headers.get("from", ""))
    contact = NAME_ADDRESS.match(message.headers.get("contact", ""))
    trunk = contact["user"] if contact else ""
    return Invite(
        at=message.at,
        number=start[1] if start else "",
        display_name=_display_name(message.headers.get("from", "")),
        caller=(sender["user"] or "") if sender else "",
        asserted_identity=message.headers.get("p-asserted-identity", ""),
        trunk="" if trunk in (None, DEFAULT_CONTACT) else trunk,
        call_id=message.headers.get("call-id", ""),
    )


def _display_name(address: str) -> str:
    found = NAME_ADDRESS.match(address)
    if found is None:
        return ""
    quoted = found["quoted"]
    return found["plain"] or "" if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
