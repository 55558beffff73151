"""`vochi-agent doctor --freeze-test`: stops the running daemon for a moment and shows that calls go on.

Invariant: the daemon goes on whatever becomes of us: in a `finally`, and by a process of its own should we be killed.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.dialplan_probe import Asked, DialplanProbe, dialplan_probe
from vochi_agent.config import Config, Enterprise
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown
from vochi_agent.errors import NotReachable, VochiError
from vochi_agent.web.client import ask_status

__all__ = ["WARNING", "examine_freeze"]

WARNING: Final = (
    "The freeze test stops the running daemon for about 9 seconds. Calls that come in meanwhile have no name and wait\n"
    "for up to 2 seconds more; none is lost. It goes on by itself, even if this command is killed."
)
# What the guard of the dialplan allows, and what the machine's own noise may add.
MUTE_S: Final = 2.2
STALE_S: Final = 0.1
# The dialplan stops asking when the last heartbeat is older than 5 s; whole seconds are compared.
UNTIL_STALE_S: Final = 6.5
# Much longer than the guard: a call that needs this is held.
HELD_S: Final = 6.0
ATTEMPTS: Final = 20
PAUSE_S: Final = 0.5
# Longer than the whole test. systemd's watchdog (30 s) must not come first.
RESCUE_S: Final = 25
DOCS: Final = "see docs/commands.md, doctor --freeze-test"


async def examine_freeze(config: Config) -> list[Finding]:
    """The test, once for every enterprise; the daemon runs on in the end."""
    try:
        pid = _our_daemon((await ask_status(config.http.listen)).get("pid"))
    except NotReachable as exc:
        return [unknown("freeze test", f"there is nothing to freeze: {exc}", "start the daemon first")]
    if pid is None:
        cure = "call it on the machine of the daemon, as root or as its user"
        return [unknown("freeze test", "the daemon's process is not ours to stop", cure)]
    return [finding for each in config.enterprises for finding in await _examine(each, pid)]


async def _examine(enterprise: Enterprise, pid: int) -> list[Finding]:
    part = f"freeze {enterprise.number}"
    try:
        async with dialplan_probe(enterprise.number, enterprise.asterisk) as probe:
            return await _test(part, enterprise.asterisk.ami_username, probe, pid)
    except VochiError as exc:
        return [closed(part, str(exc), "`vochi-agent doctor` says more about this PBX")]


async def _test(part: str, username: str, probe: DialplanProbe, pid: int) -> list[Finding]:
    if not await probe.allowed():
        sentence = f"the AMI user {username!r} may not originate, so no call can be placed to measure"
        cure = f"for the time of the test: write = call,reporting,originate for [{username}], then: manager reload"
        return [unknown(part, sentence, cure)]
    before = await probe.ask(within_s=HELD_S)
    if before is None:
        cure = "load the shipped dialplan/vochi.conf of this version, then: dialplan reload"
        return [unknown(part, "the dialplan has no [vochi-freeze-test]", cure)]
    if not before.status:
        cure = "VOCHI_FASTAGI_a must be our address, and the heartbeat must be fresh: see `vochi-agent status`"
        return [problem(part, "the dialplan gets no answer from us even now", cure)]
    found = [fine(part, f"running: the question costs a call {before.seconds:.3f} s")]
    async with _frozen(pid):
        found.append(_verdict(part, "just frozen", await probe.ask(within_s=HELD_S), MUTE_S))
        await asyncio.sleep(UNTIL_STALE_S)
        found.append(_verdict(part, "known to be frozen", await probe.ask(within_s=HELD_S), STALE_S))
    found.append(await _named_again(part, probe))
    return found


def _verdict(part: str, state: str, asked: Asked | None, limit_s: float) -> Finding:
    if asked is None:
        sentence = f"{state}: a call was held for more than {HELD_S:g} s"
        return problem(part, sentence, "nothing may call AGI() but the shipped subroutine; compare vochi.conf")
    sentence = f"{state}: the question costs a call {asked.seconds:.3f} s"
    if asked.status:
        sentence += f" (answered {asked.status!r} by another daemon)"
    if asked.seconds > limit_s + (MUTE_S if asked.status else 0.0):
        return problem(part, f"{sentence}, more than {limit_s:g} s", "compare vochi.conf with the shipped one")
    return fine(part, sentence)


async def _named_again(part: str, probe: DialplanProbe) -> Finding:
    for _ in range(ATTEMPTS):
        asked = await probe.ask(within_s=HELD_S)
        if asked and asked.status:
            return fine(part, f"going on: the question costs a call {asked.seconds:.3f} s")
        await asyncio.sleep(PAUSE_S)
    return problem(part, f"{ATTEMPTS * PAUSE_S:g} s after the test nobody answers the dialplan", DOCS)


@asynccontextmanager
async def _frozen(pid: int) -> AsyncIterator[None]:
    """The process does nothing while the block runs."""
    # In a session of its own: neither Ctrl-C nor the end of our terminal reaches it.
    rescue = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'sleep {RESCUE_S}; kill -CONT "$0"', str(pid), start_new_session=True
    )
    try:
        os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        os.killpg(rescue.pid, signal.SIGKILL)
        await rescue.wait()


def _our_daemon(pid: object) -> int | None:
    """The process the daemon says it is, when it is that here too and we may stop it."""
    if not isinstance(pid, int) or pid <= 1:
        return None
    try:
        # A daemon in a container has another number out here, and this one is a stranger's.
        if b"vochi" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return None
        os.kill(pid, 0)
    except OSError:
        return None
    return pid
