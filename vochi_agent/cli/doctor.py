"""`vochi-agent doctor`: connects to everything configured and says what is wrong and how to mend it.

Invariants: it changes nothing anywhere (the freeze test, which asks first, stops the daemon for a moment), sends no
message (but the test cards that are asked for), and no secret is in what it prints.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import aiohttp
from rich.console import Console
from rich.text import Text

from vochi_agent.asterisk.examine_ami import examine_ami
from vochi_agent.asterisk.examine_ari import examine_ari
from vochi_agent.asterisk.examine_dialplan import examine_dialplan
from vochi_agent.asterisk.examine_records import examine_records
from vochi_agent.calls.layout import Layout
from vochi_agent.config import Config, Enterprise, secret_values
from vochi_agent.crm import CRMS, Surroundings
from vochi_agent.crm.clocks import Clocks
from vochi_agent.crm.examine import credential_of, examine_clock, examine_crm, examine_webhook
from vochi_agent.crm.http import mask
from vochi_agent.customers.names import printable
from vochi_agent.daemon import open_store
from vochi_agent.diagnosis import Finding, Level, closed, problem, unknown, warning
from vochi_agent.errors import ConfigError, NotReachable, VochiError
from vochi_agent.store.examine import examine_database, examine_gaps
from vochi_agent.telegram.examine import examine_bot
from vochi_agent.telegram.trial import send_trials
from vochi_agent.web.client import ask_status

from .doctor_freeze import WARNING, examine_freeze
from .doctor_host import (
    examine_configuration,
    examine_daemon,
    examine_disk,
    examine_exposure,
    examine_listener,
)
from .presentation import WIDEST, add_json, print_json
from .stored import is_made

NO, UNREACHABLE = 1, 3
LISTEN_S: Final = 1.0
LONGEST_LISTEN_S: Final = 3600.0
# Shorter ones would be found inside ordinary words.
MIN_SECRET_LENGTH: Final = 5
COLOURS: Final[Mapping[Level, str]] = {
    Level.OK: "green",
    Level.UNKNOWN: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}

Examination = Coroutine[None, None, list[Finding]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """How long to listen, what to test, how to print."""
    help_text = f"wait so long for events of the PBX ({LISTEN_S:g}); place a call meanwhile"
    parser.add_argument("--listen", type=_seconds, default=LISTEN_S, metavar="SECONDS", help=help_text)
    parser.add_argument("--freeze-test", action="store_true", help="only show that a frozen daemon holds no call")
    parser.add_argument("--test-card", action="store_true", help="only send a test card to every chat, without sound")
    parser.add_argument("--yes", action="store_true", help="do not ask before the freeze test")
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 nothing is wrong, 1 something is, 3 something does not answer or does not let us in."""
    loaded = config()
    if args.freeze_test and not (args.yes or _agreed()):
        print("Nothing was done.", file=sys.stderr)
        return NO
    findings = [_censored(finding, loaded) for finding in asyncio.run(_examination(args, loaded))]
    if args.json:
        print_json([finding.as_json() for finding in findings])
    else:
        _print(findings)
    if any(finding.closed for finding in findings):
        return UNREACHABLE
    return NO if any(finding.level is Level.PROBLEM for finding in findings) else 0


def _examination(args: argparse.Namespace, config: Config) -> Examination:
    if args.freeze_test:
        return examine_freeze(config)
    return _test_cards(config) if args.test_card else _examine(config, args.listen)


async def _test_cards(config: Config) -> list[Finding]:
    return [finding for each in config.enterprises for finding in await send_trials(each, config.telegram)]


def _agreed() -> bool:
    print(WARNING, file=sys.stderr)
    print("Type yes to begin: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


async def _examine(config: Config, listen_s: float) -> list[Finding]:
    """Everything at once; findings in the order of the parts."""
    status = await _status(config)
    found = [
        *examine_configuration(config),
        *examine_disk(config.daemon.state_dir, spool_bytes=config.daemon.spool_mb << 20),
        *examine_daemon(status),
    ]
    for name, listen in (("fastagi", config.fastagi.listen), ("http", config.http.listen)):
        found += examine_listener(name, listen, runs=status is not None)
    found += [finding for each in config.enterprises for finding in examine_exposure(each)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_database(config), name="database")]
        for enterprise in config.enterprises:
            for what, examination in _parts(config, enterprise, listen_s, runs=status is not None):
                tasks.append(group.create_task(examination, name=f"{what} {enterprise.number}"))
    return [*found, *(finding for task in tasks for finding in task.result())]


def _parts(config: Config, enterprise: Enterprise, listen_s: float, *, runs: bool) -> Iterator[tuple[str, Examination]]:
    number, asterisk = enterprise.number, enterprise.asterisk
    yield "ami", examine_ami(number, asterisk, listen_s=listen_s, timezone=enterprise.timezone)
    yield (
        "dialplan",
        examine_dialplan(number, asterisk, instance=config.daemon.instance, listen=config.fastagi.listen, runs=runs),
    )
    layout = Layout(enterprise)
    yield (
        "ari",
        examine_ari(number, asterisk, {each.extension: layout.phone_of(each.extension) for each in enterprise.agents}),
    )
    yield "cel", examine_records(number, asterisk, clock=time.time)
    for name in enterprise.crm:
        yield name, _crm(config, enterprise, name)
    token = enterprise.telegram_token.get_secret_value()
    yield (
        "telegram",
        examine_bot(f"telegram {number}", config.telegram, token, enterprise.chats, public_url=config.http.public_url),
    )


async def _status(config: Config) -> Mapping[str, object] | None:
    try:
        return await ask_status(config.http.listen)
    except NotReachable:
        return None


async def _database(config: Config) -> list[Finding]:
    try:
        if not is_made(config):
            cure = "`vochi-agent run` makes it when it starts"
            return [warning("database", "the embedded database does not exist yet", cure)]
        async with open_store(config) as store:
            found = await examine_database(store, migrates=config.database.migrate)
            if any(finding.level in (Level.WARNING, Level.PROBLEM) for finding in found):
                return found
            now = datetime.fromtimestamp(time.time(), UTC)
            return [*found, *[await examine_gaps(store, each.number, now) for each in config.enterprises]]
    except ConfigError as exc:
        return [problem("database", sentence, "see docs/configuration.md") for sentence in exc.problems]
    except PermissionError as exc:
        sentence = f"{exc.filename} is closed to this user ({exc.strerror})"
        return [unknown("database", sentence, "call doctor as root or as the user of the daemon")]
    except VochiError as exc:
        return [closed("database", str(exc), "mend what the sentence names; until then finished calls wait on disk")]


async def _crm(config: Config, enterprise: Enterprise, name: str) -> list[Finding]:
    factory = CRMS.get(name)
    if factory is None:
        cure = f"take [enterprises.crm.{name}] out until a later version speaks it"
        return [warning(f"{name} {enterprise.number}", "this version does not speak with it", cure)]
    clocks = Clocks()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[clocks.trace()]) as session:
        around = Surroundings(
            enterprise_number=enterprise.number,
            country=enterprise.country,
            session=session,
            clock=time.monotonic,
            on_state=lambda _state: None,
            state_dir=config.daemon.state_dir,
        )
        table = enterprise.crm[name]
        found = await examine_crm(
            enterprise.number,
            factory(table, around),
            makes_tasks=table.missed_task > 0,
            credential=credential_of(table),
        )
    webhook = examine_webhook(enterprise.number, name, enterprise.crm[name], config.http.public_url)
    return [*found, *examine_clock(enterprise.number, name, clocks), *webhook]


def _censored(finding: Finding, config: Config) -> Finding:
    """The parts' own texts may repeat what somebody answered; a secret in them ends here."""
    secrets = [secret for secret in secret_values(config) if len(secret) >= MIN_SECRET_LENGTH]
    return Finding(
        part=finding.part,
        level=finding.level,
        sentence=printable(mask(finding.sentence, secrets)),
        cure=printable(mask(finding.cure, secrets)),
        closed=finding.closed,
    )


def _print(findings: Sequence[Finding]) -> None:
    """Level, part, sentence, and the cure on a line of its own; a terminal gets colours and folded lines."""
    part_width = max(len(finding.part) for finding in findings)
    terminal = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console_width = min(WIDEST, terminal.width)
    for finding in findings:
        head = f"{finding.level.value:8} {finding.part:{part_width}}  "
        for text, style in ((finding.sentence, ""), (finding.cure, "dim")):
            if not text:
                continue
            line = f"-> {text}" if style else text
            if not sys.stdout.isatty():
                print(head + line)
            else:
                for folded in Text(line, style=style).wrap(terminal, console_width - len(head)):
                    terminal.print(Text.assemble((head[:8], COLOURS[finding.level]), head[8:], folded))
                    head = " " * len(head)
            head = " " * len(head)
    counts = [(level, sum(finding.level is level for finding in findings)) for level in reversed(Level)]
    print(", ".join(f"{level.value}: {count}" for level, count in counts))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= LONGEST_LISTEN_S:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {LONGEST_LISTEN_S:g}")
    return seconds
