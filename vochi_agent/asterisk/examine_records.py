"""Whether recovery will find what it needs: CEL as the PBX is told to write it, and as it is written; else CDR."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, Level, closed, fine, problem, unknown, warning
from vochi_agent.errors import ConfigError, RecordsUnavailable, VochiError

from .asking import Questions, asking
from .cel_sources import TABLE_COLUMNS
from .examine_cel import COST, CURE, examine_cel
from .record_tables import open_table

__all__ = ["examine_records"]

DAY_S: Final = 86_400.0
# Applications that tell why nobody talked; without them a reason is poorer.
NEEDED_APPS: Final = ("dial", "queue")
ALL_EVENTS: Final = "all"
NEEDED_EVENTS: Final = (
    *("chan_start", "chan_end", "answer", "hangup", "bridge_enter", "bridge_exit", "app_start", "app_end"),
    *("blindtransfer", "attendedtransfer", "pickup", "local_optimize", "user_defined", "linkedid_end"),
)
# Without these a row says nothing; the others make records poorer.
NEEDED_COLUMNS: Final = ("EventType", "ChanName", "UniqueID", "LinkedID")
RELOAD: Final = "then: module reload cel"


async def examine_records(
    enterprise_number: str, config: AsteriskConfig, *, clock: Callable[[], float]
) -> list[Finding]:
    """Look at what is configured, and over AMI at what cel.conf says.

    Args:
        enterprise_number: Names the findings.
        config: Where records are, and where to ask.
        clock: Seconds since the epoch: rows of the last day are looked at.
    """
    part = f"cel {enterprise_number}"
    if not config.cel:
        return [*await _without_cel(part, config), *await _cdr(f"cdr {enterprise_number}", config)]
    if "://" in config.cel:
        found = [await _table(part, config.cel, clock())]
    else:
        found = await asyncio.to_thread(examine_cel, enterprise_number, config)
    try:
        async with asking(config) as questions:
            told = [finding async for finding in _settings(part, questions)]
            if not await asyncio.to_thread(_is_there, config.cel):
                found = [await _not_yet(part, config.cel, questions, found, told)]
    except VochiError:
        told = []  # `ami` says why nobody can be asked
    return [*found, *told, *await _cdr(f"cdr {enterprise_number}", config)]


async def _without_cel(part: str, config: AsteriskConfig) -> list[Finding]:
    if config.cdr:
        sentence = "not configured: what CDR tells in its place is reduced, such calls are `partial`"
        return [warning(part, sentence, f"enterprises.asterisk.cel; {CURE}")]
    return [warning(part, f"not configured: {COST}", f"enterprises.asterisk.cel; {CURE}")]


def _is_there(place: str) -> bool:
    """Whether a file exists; a database does."""
    try:
        return "://" in place or Path(place).exists()
    except OSError:
        return True  # it is there, and closed to us, which was said


async def _not_yet(part: str, place: str, questions: Questions, found: list[Finding], told: list[Finding]) -> Finding:
    """Asterisk makes the file with the first row: a PBX that was just set up has none, and nothing is wrong."""
    mapped = await questions.value(f"AST_CONFIG(cel_custom.conf,mappings,{Path(place).name})")
    is_on = (await questions.setting("cel.conf", "general", "enable")).lower() in ("yes", "true", "1", "on")
    if await questions.value("IFMODULE(cel_custom.so)") == "0":
        sentence = f"{place} does not exist, cel_custom.so is not loaded: {COST}"
        return problem(part, sentence, "asterisk -rx 'module load cel_custom.so'; it refuses while it has no mapping")
    if mapped and is_on and all(finding.level is not Level.PROBLEM for finding in told):
        sentence = f"{place} is not there yet: Asterisk is set to write it, and makes it with the first call"
        return unknown(part, sentence, "place a call, then call doctor again")
    return found[0]


async def _settings(part: str, questions: Questions) -> AsyncIterator[Finding]:
    """What cel.conf says, as far as Asterisk tells it (func_config.so)."""
    enable = (await questions.setting("cel.conf", "general", "enable")).lower()
    if not enable:
        yield unknown(part, "what cel.conf says is not told", "load func_config.so, write = call,reporting")
        return
    if enable not in ("yes", "true", "1", "on"):
        yield problem(part, f"cel.conf: enable is {enable!r}: {COST}", f"enable = yes, {RELOAD}")
        return
    for finding in _judge_apps(part, await _words(questions, "apps")):
        yield finding
    yield _judge_events(part, await _words(questions, "events"))


async def _words(questions: Questions, key: str) -> set[str]:
    values = await questions.settings("cel.conf", "general", key)
    return {word.strip().lower() for value in values for word in value.split(",")}


def _judge_apps(part: str, apps: set[str]) -> Iterator[Finding]:
    cure = f"apps = dial,queue,voicemail,park,confbridge,playback,stasis in cel.conf, {RELOAD}"
    if missing := [app for app in NEEDED_APPS if app not in apps]:
        note = ": the word `all` records none" if "all" in apps else ""
        sentence = f"cel.conf: apps lacks {', '.join(missing)}{note}; reasons of recovered calls are poorer"
        yield warning(part, sentence, cure)


def _judge_events(part: str, events: set[str]) -> Finding:
    missing = [] if ALL_EVENTS in events else [event for event in NEEDED_EVENTS if event not in events]
    if missing:
        sentence = f"cel.conf: events lacks {', '.join(each.upper() for each in missing)}: recovered calls are wrong"
        return problem(part, sentence, f"events = ALL, {RELOAD}")
    return fine(part, "cel.conf is on and records the events we read")


async def _table(part: str, url: str, now: float) -> Finding:
    """One batch of the last day shows the columns."""
    try:
        async with aclosing(open_table(url, "cel").rows(now - DAY_S, now)) as batches:
            rows = await anext(batches, None)
    except ConfigError as exc:
        return problem(part, exc.problems[0], "see docs/operate.md")
    except RecordsUnavailable as exc:
        cure = "are host, user, password and database of asterisk.cel right? the user needs SELECT on the table cel"
        return closed(part, f"{exc}: {COST}", cure)
    if not rows:
        return unknown(part, "the CEL table answers and has no row of the last day", "place a call, then again")
    missing = [name for name in NEEDED_COLUMNS if not any(column in rows[0] for column in TABLE_COLUMNS[name])]
    if "eventtime" not in rows[0]:
        missing.append("EventTime")
    if missing:
        return problem(part, f"the CEL table has no column {', '.join(missing)}: {COST}", "see docs/operate.md")
    poorer = [name for name, there in TABLE_COLUMNS.items() if not any(column in rows[0] for column in there)]
    if poorer:
        sentence = f"the CEL table has no column {', '.join(poorer)}: recovered calls are poorer"
        return warning(part, sentence, "add them as cel_pgsql.conf.sample or cel_odbc.conf.sample of Asterisk has them")
    return fine(part, "the CEL table is readable and has the columns we read")


async def _cdr(part: str, config: AsteriskConfig) -> list[Finding]:
    """The second-best source, only when it is configured."""
    if not config.cdr or "://" in config.cdr:
        return []
    readable = await asyncio.to_thread(_readable, Path(config.cdr))
    if readable:
        cost = "calls are told by CEL alone" if config.cel else COST
        cure = "cdr.conf as in dialplan/, and let this user read it (group asterisk)"
        return [(warning if config.cel else problem)(part, f"{config.cdr} cannot be read ({readable}): {cost}", cure)]
    return [fine(part, f"{config.cdr} is readable")]


def _readable(file: Path) -> str:
    """Why not, "" when it is."""
    try:
        with file.open("rb"):
            return ""
    except OSError as exc:
        return exc.strerror or str(exc)
