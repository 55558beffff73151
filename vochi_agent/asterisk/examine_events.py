"""Which classes of events our AMI user gets, and whether they carry the PBX's own time.

An event that came proves its class. A quiet PBX proves nothing: then manager.conf is asked, by `manager show user` of
a user that may (far too much), else by AST_CONFIG(), which reads the file, not what Asterisk has made of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vochi_agent.diagnosis import Finding, fine, problem, unknown, warning
from vochi_agent.errors import ActionFailed
from vochi_agent.protocols.ami import Message

from .ami import AmiConnection
from .asking import Questions

__all__ = ["ANEW", "Granted", "ask_granted", "judge_events"]

MAKE_A_CALL: Final = "place a call during `vochi-agent doctor --listen 30`"
# Rights are given at the login: a reload alone leaves the running daemon with those it has (seen on 16.28 and 22.10).
ANEW: Final = "then: manager reload, and systemctl restart vochi-agent"
READ: Final = f"read = system,call,agent,user,dialplan in manager.conf, {ANEW}"
TIMESTAMPS: Final = "timestampevents = yes in the part [general] of manager.conf, then: manager reload"
# Classes of events, and what is lost without them.
READ_CLASSES: Final[Mapping[str, str]] = {
    "call": "no call is seen at all",
    "agent": "queue_timeout looks like abandoned_queue",
    "user": "marks of the dialplan (closed, forbidden, voicemail, blocked) are not seen",
    "dialplan": "the line of an outgoing call is guessed, and some reasons are poorer",
}
# What can stand in a question without meaning something else there.
WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
YES: Final = ("yes", "true", "y", "t", "1", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What manager.conf gives us.

    Attributes:
        classes: None when nobody tells.
        loaded: Asterisk itself said it, not the file alone.
        timestamps: "" when nobody tells.
    """

    classes: frozenset[str] | None = None
    loaded: bool = False
    timestamps: str = ""


async def ask_granted(connection: AmiConnection, username: str) -> Granted:
    """Ask as our user. Raises NotReachable."""
    questions = Questions(connection)
    timestamps = (await questions.setting("manager.conf", "general", "timestampevents")).lower()
    try:
        answer = await connection.action("Command", {"Command": f"manager show user {username}"})
    except ActionFailed:
        given = await questions.setting("manager.conf", username, "read") if WORD.fullmatch(username) else ""
        return Granted(classes=_classes(given) if given else None, timestamps=timestamps)
    rights = (line.partition(":") for line in answer.all("Output"))
    shown = next((value for name, _, value in rights if name.strip() == "read perm"), None)
    return Granted(classes=None if shown is None else _classes(shown), loaded=True, timestamps=timestamps)


def judge_events(part: str, events: Sequence[Message], listen_s: float, granted: Granted) -> Iterator[Finding]:
    """What the events that came, and what manager.conf says, prove."""
    given = set(READ_CLASSES) if "all" in (granted.classes or ()) else set(granted.classes or ())
    proved = {event.get("Privilege").partition(",")[0] for event in events} | (given if granted.loaded else set())
    come = [name for name in READ_CLASSES if name in proved]
    promised = [name for name in READ_CLASSES if name in given and name not in proved]
    missing = [name for name in READ_CLASSES if name not in proved and name not in given]
    if come:
        yield fine(part, f"read classes {', '.join(come)}: their events come")
    if promised:
        yield fine(part, f"read classes {', '.join(promised)}: manager.conf gives them")
    if missing and granted.classes is None:
        sentence = f"read classes {', '.join(missing)}: no event of them came within {listen_s:g} s"
        yield unknown(part, sentence, MAKE_A_CALL)
    elif missing:
        for name in missing:
            sentence = f"read class {name} is missing: {READ_CLASSES[name]}"
            yield (problem if name == "call" else warning)(part, sentence, READ)
    yield _timestamps(part, events, granted.timestamps)


def _timestamps(part: str, events: Sequence[Message], configured: str) -> Finding:
    # FullyBooted never has the header: it is no news but part of the answer to the login.
    news = [event for event in events if event.get("Privilege") and event.event != "FullyBooted"]
    if any("Timestamp" in event for event in news):
        return fine(part, "timestampevents: events carry the PBX's own time")
    if not news and configured in YES:
        return fine(part, "timestampevents: manager.conf switches it on")
    if not news and not configured:
        return unknown(part, "timestampevents: no event came to show it", MAKE_A_CALL)
    cost = "times of calls are those of our reading, late when the PBX or the network is slow"
    return warning(part, f"timestampevents is off: {cost}", TIMESTAMPS)


def _classes(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(","))
