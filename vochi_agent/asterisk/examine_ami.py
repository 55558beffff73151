"""What the manager interface of a PBX gives our user, found out without changing anything there.

Rights to act: an action asked for without its arguments is refused by name ("Permission denied") when the right is
missing, and for its arguments when it is there; nothing is done either way (main/manager.c, seen on 16.28 and 22.10).
Rights to read: a class of events is proved by an event of that class, or by `manager show user`, which only a user
with far too many rights may ask for. A quiet PBX proves nothing, so the rest stays unknown.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning
from vochi_agent.errors import ActionFailed, LoginRefused, NotReachable, VochiError
from vochi_agent.protocols.ami import Message

from .ami import AmiConnection, AmiPeer, connect

__all__ = ["examine_ami", "may"]

# Asterisk tells its refusals apart by nothing but their text.
DENIED: Final = ("Permission denied", "unknown command")
IN_USE: Final = "Login Already In Use"
OLDEST, NEWEST = 16, 22
CLOCK_TOLERANCE_S: Final = 5.0
NO_ROUTES: Final = "`route` sends nobody to a telephone of which it knows nothing"
MAKE_A_CALL: Final = "place a call during `vochi-agent doctor --listen 30`"
# Classes of events, and what is lost without them.
READ_CLASSES: Final[Mapping[str, str]] = {
    "call": "no call is seen at all",
    "agent": "queue_timeout looks like abandoned_queue",
    "user": "marks of the dialplan (closed, forbidden, voicemail, blocked) are not seen",
    "dialplan": "the line of an outgoing call is guessed, and some reasons are poorer",
}


async def examine_ami(
    enterprise_number: str,
    config: AsteriskConfig,
    *,
    listen_s: float,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Log in as the daemon does and look around.

    Args:
        enterprise_number: Names the findings.
        config: Where and who.
        listen_s: How long to wait for events, seconds; a quiet PBX needs a call in that time.
        clock: Ours, seconds since the epoch.
    """
    part = f"ami {enterprise_number}"
    peer = AmiPeer(
        host=config.ami.host,
        port=config.ami.port,
        username=config.ami_username,
        secret=config.ami_secret.get_secret_value(),
    )
    events: list[Message] = []
    try:
        async with connect(peer, on_event=events.append, clock=clock) as connection:
            found = [fine(part, f"{peer} lets user {peer.username!r} in: {connection.banner}")]
            found += await _look_around(part, connection, peer.username, clock)
            await asyncio.sleep(listen_s)
            found += _heard(part, events, listen_s, await _read_classes(connection, peer.username))
            return found
    except LoginRefused as exc:
        cure = "compare ami_username and ami_secret with manager.conf, and its permit= with our address"
        if IN_USE in str(exc):
            cure = "the daemon holds the one login: stop it meanwhile, or allowmultiplelogin = yes in manager.conf"
        return [closed(part, f"{peer}: {exc}", cure)]
    except NotReachable as exc:
        cure = "is Asterisk running, are enabled= and bindaddr= of manager.conf right? until then no call is seen"
        sentence = str(exc) if str(peer) in str(exc) else f"{peer}: {exc}"
        return [closed(part, sentence, cure)]
    except VochiError as exc:
        return [closed(part, f"{peer}: {exc}", "ami must be the address of Asterisk's manager interface")]


async def _look_around(
    part: str, connection: AmiConnection, username: str, clock: Callable[[], float]
) -> list[Finding]:
    before = clock()
    pong = await connection.action("Ping")
    found = [_clock(part, pong, (before + clock()) / 2)]
    found.append(await _version(part, connection))
    if await may(connection, "CoreShowChannels"):
        found.append(fine(part, "write class reporting: calls that live at a reconnect can be listed"))
    else:
        found.append(
            warning(
                part,
                "write class reporting is missing: a call that lives when the connection breaks becomes partial",
                f"write = call,reporting for [{username}] in manager.conf, then: manager reload",
            )
        )
    if await may(connection, "Setvar"):
        found.append(
            fine(
                part,
                "write class call: the heartbeat can be set, and names that come late",
            )
        )
    else:
        found.append(
            problem(
                part,
                "write class call is missing: without a heartbeat the dialplan skips us and shows no name",
                f"write = call,reporting for [{username}] in manager.conf, then: manager reload",
            )
        )
    found.append(await _device_states(part, connection))
    if await may(connection, "Command"):
        found.append(
            warning(
                part,
                "write class command: whoever learns this password owns the machine",
                f"write = call,reporting for [{username}] in manager.conf is all we need",
            )
        )
    return found


async def _device_states(part: str, connection: AmiConnection) -> Finding:
    """Asterisk answers for a device that it does not have, but without the function it says nothing."""
    try:
        answer = await connection.action("Getvar", {"Variable": "DEVICE_STATE(PJSIP/vochi-doctor)"})
    except ActionFailed:
        return warning(part, f"the states of telephones are not told: {NO_ROUTES}", "write = call,reporting")
    if not answer.get("Value"):
        return warning(part, f"DEVICE_STATE() gives nothing: {NO_ROUTES}", "load func_devstate.so in modules.conf")
    return fine(part, "the states of telephones are told: `route` finds who is free")


async def may(connection: AmiConnection, action: str) -> bool:
    """Whether our user has the right to an action; it is asked for without arguments, so nothing is done."""
    try:
        await connection.list_action(action)
    except ActionFailed as exc:
        return not any(refusal in str(exc) for refusal in DENIED)
    return True


async def _version(part: str, connection: AmiConnection) -> Finding:
    try:
        version = (await connection.action("CoreSettings")).get("AsteriskVersion")
    except ActionFailed:
        return unknown(part, "the version of Asterisk is not shown to this user", "write class reporting shows it")
    major = re.match(r"(?:certified[/-])?(\d+)", version)
    if major is None:
        return unknown(part, f"a version of Asterisk we cannot read: {version[:40]!r}")
    if not OLDEST <= int(major[1]) <= NEWEST:
        return warning(
            part,
            f"Asterisk {version}: tried are {OLDEST} to {NEWEST}",
            "compare the first calls in `vochi-agent calls` with what really happened",
        )
    return fine(part, f"Asterisk {version}")


def _clock(part: str, pong: Message, now: float) -> Finding:
    try:
        offset = float(pong.get("Timestamp")) - now
    except ValueError:
        return unknown(part, "the PBX does not tell its time")
    if abs(offset) > CLOCK_TOLERANCE_S:
        return warning(
            part,
            f"the PBX's clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} ours: "
            "calls carry its times, cards and CRMs ours",
            "let both machines keep time by NTP",
        )
    return fine(part, f"the PBX's clock differs from ours by {abs(offset):.1f} s")


async def _read_classes(connection: AmiConnection, username: str) -> frozenset[str] | None:
    """The classes our user reads, as manager.conf has them; None when we may not ask."""
    try:
        answer = await connection.action("Command", {"Command": f"manager show user {username}"})
    except ActionFailed:
        return None
    rights = (line.partition(":") for line in answer.all("Output"))
    return next((frozenset(value.strip().split(",")) for name, _, value in rights if name.strip() == "read perm"), None)


def _heard(part: str, events: Sequence[Message], listen_s: float, known: frozenset[str] | None) -> Iterator[Finding]:
    """What the events that came prove."""
    proved = {event.get("Privilege").partition(",")[0] for event in events} | (known or set())
    come = [name for name in READ_CLASSES if name in proved or "all" in (known or ())]
    missing = [name for name in READ_CLASSES if name not in come]
    if come:
        yield fine(part, f"read classes {', '.join(come)}: their events come")
    if known is None and missing:
        yield unknown(
            part, f"read classes {', '.join(missing)}: no event of them came within {listen_s:g} s", MAKE_A_CALL
        )
    elif known is not None:
        for name in missing:
            sentence = f"read class {name} is missing: {READ_CLASSES[name]}"
            cure = "read = system,call,agent,user,dialplan in manager.conf, then: manager reload"
            yield (problem if name == "call" else warning)(part, sentence, cure)
    yield _timestamps(part, events)


def _timestamps(part: str, events: Sequence[Message]) -> Finding:
    # FullyBooted never has the header: it is no news but part of the answer to the login.
    news = [event for event in events if event.get("Privilege") and event.event != "FullyBooted"]
    if any("Timestamp" in event for event in news):
        return fine(part, "timestampevents: events carry the PBX's own time")
    if news:
        return warning(
            part,
            "timestampevents is off: times of calls are those of our reading, late when the PBX or the network is slow",
            "timestampevents = yes in the part [general] of manager.conf, then: manager reload",
        )
    return unknown(part, "timestampevents: no event came to show it", MAKE_A_CALL)
