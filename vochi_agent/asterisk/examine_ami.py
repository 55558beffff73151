"""What the manager interface of a PBX gives our user, found out without changing anything there.

Rights to act: an action asked for without its arguments is refused by name ("Permission denied") when the right is
missing, and for its arguments when it is there; nothing is done either way (main/manager.c, seen on 16.28 and 22.10).
Rights to read: `examine_events`.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning
from vochi_agent.errors import ActionFailed, LoginRefused, NotReachable, VochiError
from vochi_agent.protocols.ami import Message

from .advisories import ADVISORIES, AS_OF, open_advisories
from .ami import AmiConnection, AmiPeer, connect
from .examine_events import ANEW, ask_granted, judge_events

__all__ = ["examine_ami", "may"]

# Asterisk tells its refusals apart by nothing but their text.
DENIED: Final = ("Permission denied", "unknown command")
IN_USE: Final = "Login Already In Use"
OLDEST, NEWEST = 16, 22
CLOCK_TOLERANCE_S: Final = 5.0
NO_ROUTES: Final = "`route` sends nobody to a telephone of which it knows nothing"
# Rights that we do not need and that give a client the whole PBX: an action that proves each. Without its arguments
# none of them does anything.
TOO_MUCH: Final[Mapping[str, str]] = {"command": "Command", "originate": "Originate", "config": "UpdateConfig"}


async def examine_ami(
    enterprise_number: str,
    config: AsteriskConfig,
    *,
    listen_s: float,
    clock: Callable[[], float] = time.time,
    timezone: str = "",
) -> list[Finding]:
    """Log in as the daemon does and look around.

    Args:
        enterprise_number: Names the findings.
        config: Where and who.
        listen_s: How long to wait for events, seconds; a quiet PBX needs a call in that time.
        clock: Ours, seconds since the epoch.
        timezone: Of the enterprise; compared with that of the PBX when it is given.
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
            if timezone:
                found.append(await _zone(part, connection, timezone, clock()))
            await asyncio.sleep(listen_s)
            found += judge_events(part, events, listen_s, await ask_granted(connection, peer.username))
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
    found += await _version(part, connection)
    if await may(connection, "CoreShowChannels"):
        found.append(fine(part, "write class reporting: calls that live at a reconnect can be listed"))
    else:
        found.append(
            warning(
                part,
                "write class reporting is missing: a call that lives when the connection breaks becomes partial",
                f"write = call,reporting for [{username}] in manager.conf, {ANEW}",
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
                f"write = call,reporting for [{username}] in manager.conf, {ANEW}",
            )
        )
    found.append(await _device_states(part, connection))
    for write_class, action in TOO_MUCH.items():
        if await may(connection, action):
            found.append(
                warning(
                    part,
                    f"write class {write_class}: whoever learns this password owns the machine",
                    f"write = call,reporting for [{username}] in manager.conf is all we need, {ANEW}",
                )
            )
    return found


async def _device_states(part: str, connection: AmiConnection) -> Finding:
    """Asterisk answers for a device that it does not have, but without the function it says nothing."""
    try:
        answer = await connection.action("Getvar", {"Variable": "DEVICE_STATE(PJSIP/vochi-doctor)"})
    except ActionFailed:
        return warning(part, f"the states of telephones are not told: {NO_ROUTES}", f"write = call,reporting, {ANEW}")
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


async def _version(part: str, connection: AmiConnection) -> list[Finding]:
    try:
        version = (await connection.action("CoreSettings")).get("AsteriskVersion")
    except ActionFailed:
        return [unknown(part, "the version of Asterisk is not shown to this user", "write class reporting shows it")]
    major = re.match(r"(?:certified[/-])?(\d+)", version)
    if major is None:
        return [unknown(part, f"a version of Asterisk we cannot read: {version[:40]!r}")]
    if not OLDEST <= int(major[1]) <= NEWEST:
        found = warning(
            part,
            f"Asterisk {version}: tried are {OLDEST} to {NEWEST}",
            "compare the first calls in `vochi-agent calls` with what really happened",
        )
    else:
        found = fine(part, f"Asterisk {version}")
    return [found, _advisories(f"security {part.partition(' ')[2]}", version)]


def _advisories(part: str, version: str) -> Finding:
    missing = open_advisories(version)
    if missing is None:
        return unknown(part, f"which security fixes Asterisk {version[:40]!r} has cannot be told")
    if missing:
        named = "; ".join(f"{each.id} ({each.month}): {each.what}" for each in missing)
        newest = ", ".join(f"{branch}.{minor}.{patch}" for branch, (minor, patch) in missing[-1].fixed.items())
        sentence = f"{len(missing)} security fixes that concern us are not in Asterisk {version}: {named}"
        return warning(part, sentence, f"upgrade Asterisk; all of them are in {newest} and later")
    return fine(part, f"the fixes of all {len(ADVISORIES)} advisories known by {AS_OF} are in Asterisk {version}")


async def _zone(part: str, connection: AmiConnection, timezone: str, now: float) -> Finding:
    """Wall clocks: CEL may print them, office hours go by them."""
    try:
        theirs = (await connection.action("Getvar", {"Variable": "STRFTIME(,,%z)"})).get("Value")
    except ActionFailed:
        theirs = ""
    ours = datetime.fromtimestamp(now, ZoneInfo(timezone)).strftime("%z")
    if not theirs:
        return unknown(part, "the PBX's time zone is not told", "load func_strings.so, write = call,reporting")
    if theirs != ours:
        sentence = f"the PBX's wall clock is {theirs}, that of the enterprise {ours} ({timezone})"
        cure = "office hours of the dialplan and printed times go by the PBX's: set its zone, or enterprises.timezone"
        return warning(part, sentence, cure)
    return fine(part, f"the PBX's wall clock is that of the enterprise, {theirs}")


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
