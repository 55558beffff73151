"""Whether the dialplan asks us, at the right address and guarded, and what else in it gives callers a name."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from vochi_agent.config import Address, AsteriskConfig
from vochi_agent.diagnosis import Finding, fine, problem, unknown, warning
from vochi_agent.errors import VochiError
from vochi_agent.protocols.ami import Message

from .asking import Questions, asking
from .examine_events import ANEW

__all__ = ["examine_dialplan", "judge_dialplan"]

# The subroutine's own contexts: what stands there is ours.
OURS: Final = frozenset({"vochi", "vochi-ask", "vochi-own", "vochi-freepbx", "vochi-freeze-test"})
# Of the packs, where our own side is called and shows the customer.
OUTWARD: Final = frozenset({"click-to-call"})
ASKS: Final = re.compile(r"(?<![\w-])vochi,callerid,")
NAMES: Final = re.compile(r"\s*CALLERID\((name|all)\)\s*=", re.IGNORECASE)
LOOKUPS: Final = re.compile(r"superfecta|cidlookup|lookupcidname", re.IGNORECASE)
# The guard of vochi.conf skips us when the heartbeat is older.
STALE_S: Final = 5
MOST_SHOWN: Final = 5
RELOAD: Final = "then: dialplan reload"


async def examine_dialplan(
    enterprise_number: str, config: AsteriskConfig, *, instance: str, listen: Address, runs: bool
) -> list[Finding]:
    """Look into the dialplan as Asterisk has loaded it; nothing is changed.

    Args:
        enterprise_number: Names the findings.
        config: Where and who.
        instance: Which of two daemons we are.
        listen: Our FastAGI.
        runs: Our daemon runs, so its heartbeat has to be fresh.
    """
    part = f"dialplan {enterprise_number}"
    try:
        async with asking(config) as questions:
            return await _look(part, questions, instance=instance, listen=listen, runs=runs)
    except VochiError:
        return [unknown(part, "not looked at: AMI does not let us in")]


async def _look(part: str, questions: Questions, *, instance: str, listen: Address, runs: bool) -> list[Finding]:
    there = await questions.value("DIALPLAN_EXISTS(vochi,callerid,1)")
    if there == "0":
        cure = f"vochi.conf into /etc/asterisk, #include it in extensions.conf, {RELOAD}; docs/getting-started.md"
        return [problem(part, "there is no [vochi] in it: no call is named", cure)]
    if there != "1":
        return [unknown(part, "whether it asks us is not told", "load func_dialplan.so, write = call,reporting")]
    found = [_address(part, await questions.value(f"VOCHI_FASTAGI_{instance}"), instance, listen)]
    if runs:
        found.append(await _heartbeat(part, questions, instance))
    entries = await questions.dialplan()
    if entries is None:
        sentence = "whether a call gets to [vochi], and what else names callers, is not shown to this user"
        return [*found, unknown(part, sentence, "write = call,reporting shows it")]
    return [*found, *judge_dialplan(part, entries)]


def _address(part: str, asked: str, instance: str, listen: Address) -> Finding:
    name = f"VOCHI_FASTAGI_{instance}"
    if not asked:
        return problem(part, f"{name} is empty: nobody is asked", f"{name} = {listen} in [globals], {RELOAD}")
    same_port = asked.rpartition(":")[2] == str(listen.port)
    if asked == str(listen) or (listen.host in ("0.0.0.0", "::") and same_port):
        return fine(part, f"it asks {asked}, where we listen")
    cure = f"{name} = {listen} in [globals], {RELOAD}; or it is the way round an address translation"
    return warning(part, f"it asks {asked}, and we listen on {listen}", cure)


async def _heartbeat(part: str, questions: Questions, instance: str) -> Finding:
    beaten, now = await questions.value(f"VOCHI_ALIVE_{instance}"), await questions.value("STRFTIME(,,%s)")
    if not beaten.isdecimal() or not now.isdecimal():
        return unknown(part, "the age of our heartbeat is not told", "load func_strings.so; `vochi-agent status`")
    age = int(now) - int(beaten)
    if age > STALE_S:
        cure = f"write = call for our AMI user, {ANEW}; `vochi-agent status` says what the daemon waits for"
        return problem(part, f"our heartbeat is {age} s old: calls are not named", cure)
    return fine(part, "our heartbeat is fresh")


def judge_dialplan(part: str, entries: Sequence[Message]) -> Iterator[Finding]:
    """What the listed priorities show; each has Context, Application and AppData."""
    yield _asked(part, entries)
    bare = _contexts(entry for entry in entries if _is_bare(entry))
    if bare:
        sentence = f"AGI() is called without our guard in {bare}: a mute daemon would hold those calls"
        yield warning(part, sentence, "GoSub(vochi,callerid,1(ENTERPRISE,LINE)) in its place")
    lookups = _contexts(entry for entry in entries if LOOKUPS.search(f"{entry.get('Context')} {entry.get('AppData')}"))
    if lookups:
        sentence = f"another caller id lookup is there ({lookups}): where it runs after us it replaces our name"
        yield warning(part, sentence, "FreePBX: Inbound Routes, CID Lookup Source at None; Superfecta off")
    others = _contexts(entry for entry in entries if _gives_name(entry))
    if others:
        sentence = f"callers are given a name in {others} too: whether after us cannot be seen from here"
        yield unknown(part, sentence, "let it run before GoSub(vochi,...), or only when the name is empty")
    elif not lookups:
        yield fine(part, "nothing else in it gives callers a name")


def _asked(part: str, entries: Sequence[Message]) -> Finding:
    asking_contexts = [
        entry
        for entry in entries
        if entry.get("Application").lower().startswith("gosub")
        and ASKS.search(entry.get("AppData"))
        and entry.get("Context") not in ("vochi", "vochi-ask", "vochi-freeze-test")
    ]
    if not asking_contexts:
        cure = "GoSub(vochi,callerid,1(ENTERPRISE,LINE)) before Dial(), or the detour of docs/getting-started.md"
        return problem(part, "no context calls GoSub(vochi,callerid,...): no call is named", cure)
    return fine(part, f"calls are named in {_contexts(asking_contexts)}")


def _is_bare(entry: Message) -> bool:
    data = entry.get("AppData").lower()
    ours = "${vochi_fastagi" in data or re.search(r"agi://[^/]+/(callerid|route)\b", data)
    return entry.get("Application").lower() == "agi" and bool(ours) and entry.get("Context") != "vochi-ask"


def _gives_name(entry: Message) -> bool:
    return (
        entry.get("Application").lower() in ("set", "mset")
        and NAMES.match(entry.get("AppData")) is not None
        and entry.get("Context") not in OURS | OUTWARD
        and not LOOKUPS.search(entry.get("Context"))
    )


def _contexts(entries: Sequence[Message] | Iterator[Message]) -> str:
    """`[a], [b] and 3 more`, "" for none."""
    names = list(dict.fromkeys(f"[{entry.get('Context')}]" for entry in entries))
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
