"""`vochi-agent simulate`: a played PBX for the daemon that runs, so that all else can be tried without a telephone.

It listens where the configuration has the PBX's AMI, asks the daemon's FastAGI as the dialplan would, and writes CEL. A
CRM or Telegram that the configuration has on this machine is played too.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from vochi_agent.config import Address, Config, Enterprise
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError, NotReachable
from vochi_agent.simulator.far_ends import FarEnds, far_ends, fill, is_here
from vochi_agent.simulator.pbx import CallerIdSubroutine, Display, Pbx, User
from vochi_agent.simulator.pbx_cel import COLUMNS, CelWriter
from vochi_agent.simulator.playing import Player, Tally, phones_of, unplayable
from vochi_agent.simulator.scenario import Scenario, load_scenario, shipped
from vochi_agent.web.client import ask_metrics

from .presentation import add_json, print_facts, print_json
from .selection import add_enterprise, enterprise_of

POLL_S: Final = 0.1
STORED_EVERY_S: Final = 0.5  # every answer costs the daemon some milliseconds
# How long the ledger may go without growing before it is believed to be complete.
QUIET_S: Final = 15.0
# The same of what comes to the played CRM and Telegram.
SETTLED_S: Final = 2.0
LONGEST_SETTLING_S: Final = 20.0
STORED: Final = ("vochi_calls_total", "vochi_recovered_calls_total")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The scenario, how fast, and how long the daemon is waited for."""
    parser.add_argument("scenario", metavar="SCENARIO", help=f"a TOML file, or one of {', '.join(shipped())}")
    parser.add_argument("--speed", type=_speed, metavar="N", help="times faster than life; wins over the scenario's")
    parser.add_argument("--wait", type=float, default=30.0, metavar="S", help="seconds to wait for the daemon (30)")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the daemon stored every call, or cannot be asked; 1 when some are missing; `main` gives 3 without one."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    scenario = load_scenario(args.scenario)
    say = _say_nothing if args.quiet or args.json else _say
    summary = uvloop.run(_simulate(loaded, enterprise, scenario, args, say))
    if args.json:
        print_json(summary.as_json())
    else:
        _print(summary)
    return 1 if summary.stored is not None and summary.stored < summary.placed else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    """What was seen.

    Attributes:
        rang: Times that a telephone rang.
        bare: Those of them at which it showed nothing but a number.
        stored: Calls that the daemon stored meanwhile; None when it cannot be asked.
        cards: Messages in the chats of the played Telegram, None when it is not played.
        listed: Calls in the list of the played CRM, None when it is not played.
    """

    title: str
    tally: Tally
    rang: int
    bare: int
    stored: int | None
    cards: int | None
    listed: int | None

    @property
    def placed(self) -> int:
        """Calls in all."""
        return self.tally.placed.total()

    def as_json(self) -> Mapping[str, object]:
        """For programs."""
        return {
            "title": self.title,
            "calls": self.placed,
            "kinds": dict(sorted(self.tally.placed.items())),
            "rang": self.rang,
            "bare": self.bare,
            "dialplan": dict(sorted(self.tally.statuses.items())),
            "slowest_s": round(self.tally.slowest_s, 3),
            "stored": self.stored,
            "cards": self.cards,
            "listed": self.listed,
        }


class _Phones:
    """Counts what the telephones show, and tells of it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.rang = self.bare = 0
        self._say = say

    def __call__(self, shown: Display) -> None:
        self.rang += 1
        self.bare += not shown.name
        self._say(f"{shown.extension} rings: {shown.name or shown.number or 'no number'}")


async def _simulate(
    config: Config, enterprise: Enterprise, scenario: Scenario, args: argparse.Namespace, say: Callable[[str], None]
) -> _Summary:
    asterisk, phones = enterprise.asterisk, _Phones(say)
    if not is_here(asterisk.ami.host):
        raise ConfigError([f"enterprises.asterisk.ami is {asterisk.ami}; allowed here: an address of this machine"])
    speed = args.speed or scenario.speed
    async with far_ends(config, enterprise) as ends:
        if problems := list(unplayable(scenario, enterprise, crm_is_played=ends.crm is not None)):
            raise ConfigError([f"{args.scenario}: {problem}" for problem in problems])
        if ends.crm:
            fill(ends.crm, scenario.customers)
        with _records(asterisk.cel) as cel:
            pbx = Pbx(
                phones=phones_of(scenario, enterprise),
                trunks=[line.endpoint for line in enterprise.lines],
                users={asterisk.ami_username: User(secret=asterisk.ami_secret.get_secret_value())},
                host="127.0.0.1" if asterisk.ami.host == "localhost" else asterisk.ami.host,
                port=asterisk.ami.port,
                speed=speed,
                displayed=phones,
                cel=cel,
            )
            async with pbx:
                say(_played(scenario, enterprise, ends, speed))
                await _logged_in(pbx, config, asterisk.ami, args.wait)
                before = await _stored(config)
                pbx.subroutine = _subroutine(config, enterprise)
                player = Player(pbx, scenario, enterprise, speed=speed, crm=ends.crm)
                await player.play()
                stored = await _all_stored(config, before, player.tally.placed.total())
                await _settled(enterprise, ends)
                return _Summary(
                    title=scenario.title,
                    tally=player.tally,
                    rang=phones.rang,
                    bare=phones.bare,
                    stored=stored,
                    cards=_cards(enterprise, ends),
                    listed=len(ends.crm.calls) if ends.crm else None,
                )


def _subroutine(config: Config, enterprise: Enterprise) -> CallerIdSubroutine:
    listen = config.fastagi.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return CallerIdSubroutine(
        host=host, port=listen.port, arguments=(enterprise.number,), instance=config.daemon.instance
    )


@contextmanager
def _records(place: str) -> Iterator[CelWriter | None]:
    """The CEL file of the configuration, if it has one that no Asterisk writes.

    Raises:
        ConfigError: an Asterisk does.
    """
    if not place or "://" in place:
        yield None
        return
    path, header = Path(place), ",".join(COLUMNS) + "\n"
    try:
        with path.open("a+", encoding="utf-8", errors="replace", newline="\n", buffering=1) as file:
            file.seek(0)
            first = file.readline(len(header) + 1)
            if first not in ("", header):
                raise ConfigError(
                    [f"enterprises.asterisk.cel is {path}, which an Asterisk writes; needed: a file of its own"]
                )
            if not first:
                file.write(header)
            yield CelWriter(file.write)
    except OSError as exc:
        raise ConfigError([f"enterprises.asterisk.cel is {path}, which cannot be written: {exc.strerror}"]) from exc


async def _logged_in(pbx: Pbx, config: Config, ami: Address, within_s: float) -> None:
    """Wait for the heartbeat of the daemon, which is what the dialplan looks at.

    Raises:
        NotReachable: none came.
    """
    heartbeat = f"VOCHI_ALIVE_{config.daemon.instance}"
    try:
        async with asyncio.timeout(within_s):
            while not pbx.switch.variables.get(heartbeat):  # noqa: ASYNC110 - it comes over a socket
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise NotReachable(
            f"no daemon came to {ami} within {within_s:g} s: does `vochi-agent run` run with this configuration?"
        ) from None


async def _stored(config: Config) -> int | None:
    """Calls that the daemon has stored since its start; None when it cannot be asked."""
    try:
        metrics = await ask_metrics(config.http.listen)
    except NotReachable:
        return None
    return int(
        sum(value for name, labels, value in metrics if name in STORED and labels.get("outcome", "stored") == "stored")
    )


async def _all_stored(config: Config, before: int | None, placed: int) -> int | None:
    """How many of our calls the daemon has stored, when all are or no more come."""
    if before is None:
        return None
    clock = asyncio.get_running_loop().time
    newest, changed = 0, clock()
    while newest < placed and clock() - changed < QUIET_S:
        now = await _stored(config)  # a daemon that is too busy to answer is asked again
        if now is not None and now - before > newest:
            newest, changed = now - before, clock()
        else:
            await asyncio.sleep(STORED_EVERY_S)
    return newest


async def _settled(enterprise: Enterprise, ends: FarEnds) -> None:
    """Wait until nothing more comes to what is played, within reason: in a rush Telegram is told slowly."""
    clock = asyncio.get_running_loop().time
    started = changed = clock()
    seen: object = None
    while clock() - changed < SETTLED_S and clock() - started < LONGEST_SETTLING_S:
        now = (_cards(enterprise, ends), len(ends.crm.calls) if ends.crm else None)
        if now != seen:
            seen, changed = now, clock()
        await asyncio.sleep(POLL_S)


def _cards(enterprise: Enterprise, ends: FarEnds) -> int | None:
    if ends.telegram is None:
        return None
    return sum(len(ends.telegram.messages(chat.id)) for chat in enterprise.chats)


def _played(scenario: Scenario, enterprise: Enterprise, ends: FarEnds, speed: float) -> str:
    played = [f"the PBX of {enterprise.number} on {enterprise.asterisk.ami}"]
    played += [f"RetailCRM on {ends.crm.url}"] if ends.crm else []
    played += [f"Telegram on {ends.telegram.url}"] if ends.telegram else []
    count = sum(call.count for call in scenario.calls)
    title = scenario.title or "A scenario"
    return f"{title}: {count} calls, {speed:g} times as fast as life\nPlayed here: {', '.join(played)}"


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.1 <= speed <= 1000:  # noqa: PLR2004 - as in the scenario
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 1000")
    return speed


def _say(sentence: str) -> None:
    try:
        print(*map(printable, sentence.splitlines()), sep="\n", flush=True)
    except BrokenPipeError:
        # `simulate office | head`: the calls go on, nobody reads of them any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_nothing(_sentence: str) -> None:
    """For programs and for those who want the summary only."""


def _print(summary: _Summary) -> None:
    tally = summary.tally
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.placed.items()))
    asked = ", ".join(f"{status} {count}" for status, count in sorted(tally.statuses.items()))
    unknown = "unknown: the daemon does not answer on http.listen"
    print_facts(
        [
            ("calls", f"{summary.placed}: {kinds}"),
            ("phones", f"rang {summary.rang} times, {summary.bare} of them with nothing but a number"),
            ("dialplan", f"{asked or 'nothing was asked'}; slowest {tally.slowest_s:.3f} s"),
            ("stored", unknown if summary.stored is None else f"{summary.stored} of {summary.placed}"),
            ("in the CRM", "" if summary.listed is None else f"{summary.listed} calls listed"),
            ("in Telegram", "" if summary.cards is None else f"{summary.cards} messages"),
        ]
    )
