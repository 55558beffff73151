"""`vochi-agent init`: asks the PBX what it is, the person what it cannot say, and writes what both need of each other.

Invariants: nothing that is there is overwritten, nothing is written to the PBX, and either everything is written or
nothing. Secrets are made here, stand in files that only their owner can read, and are never printed.
"""

import argparse
import asyncio
import shlex
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.ami import AmiPeer
from vochi_agent.asterisk.ari import AriPeer
from vochi_agent.asterisk.discover_files import discover_files
from vochi_agent.asterisk.discover_remote import discover_over_ami, discover_over_ari
from vochi_agent.asterisk.discovery import PbxFacts, merged
from vochi_agent.asterisk.packs import FLAVOURS
from vochi_agent.config import Address, Config, default_path
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError, NotReachable, VochiError

from .init_answers import answers, file_text
from .init_machine import address_towards, asterisk_version, machine_zone
from .init_texts import DEFAULT_FASTAGI, README, Plan
from .init_writing import refuse_what_exists, write
from .unconfigured import ami_at

ASTERISK: Final = Path("/etc/asterisk")
AMI: Final = Address("127.0.0.1", 5038)
FASTAGI_PORT: Final = 4577
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to look, what to take for granted, where to write."""
    add = parser.add_argument
    add("--yes", action="store_true", help="ask nothing: options, else what was found, else defaults")
    add("--pbx", type=Path, default=ASTERISK, metavar="FOLDER", help=f"read the PBX's files there ({ASTERISK})")
    add("--ami", metavar="HOST[:PORT]", help="ask its manager interface too")
    add("--ami-username", metavar="NAME", help="a user that is there already; ours is made anew")
    add("--ami-secret-file", type=Path, metavar="FILE", help="its secret")
    add("--ari", metavar="URL", help="ask its REST interface too, such as http://127.0.0.1:8088")
    add("--ari-username", metavar="NAME", help="a user that is there already")
    add("--ari-password-file", type=Path, metavar="FILE", help="its password")
    add("--number", metavar="N", help="number of the enterprise: the key of all that is stored (0001)")
    add("--name", metavar="TEXT", help="its name, for people")
    add("--country", metavar="CC", help="two letters: how national numbers are read")
    add("--timezone", metavar="ZONE", help="such as Europe/Minsk")
    add("--line", action="append", metavar="TECH/NAME[=LABEL]", help="this endpoint is a line; repeatable")
    add("--phone", action="append", metavar="TECH/NAME=EXT", help="this endpoint is a telephone; repeatable")
    add("--crm", metavar="NAME", help="retailcrm, uon, moysklad, bitrix24 or amocrm")
    add("--crm-url", metavar="URL", help="its address")
    add("--crm-user", metavar="ID", help="Bitrix24: whose inbound webhook it is")
    add("--crm-key-file", type=Path, metavar="FILE", help="its key, in a file")
    add("--telegram-token-file", type=Path, metavar="FILE", help="the bot's token, in a file")
    add("--chat", metavar="ID", help="the Telegram chat that is told of calls")
    add("--flavour", choices=tuple(FLAVOURS), help="the PBX's product (own: an Asterisk with a dialplan of its own)")
    add("--address", metavar="IP:PORT", help="where the PBX reaches our FastAGI, when it is on another machine")
    add(
        "--snippets",
        type=Path,
        metavar="FOLDER",
        help="files for Asterisk (asterisk beside the configuration)",
    )


def run(args: argparse.Namespace, _config: Callable[[], Config]) -> int:
    """0 when everything is written; 2 when something is there already or an answer is missing, 3 without a PBX."""
    target: Path = args.config or default_path()
    snippets: Path = args.snippets or target.parent / "asterisk"
    refuse_what_exists(target, snippets)
    ami = None if args.ami is None else ami_at(args.ami)
    pbx = asyncio.run(_look_around(args, ami))
    _say_what_was_found(pbx)
    plan = _plan(args, ami or pbx.ami or AMI, pbx, snippets.absolute())
    written = write(target, plan)
    _say_what_is_next(plan, written)
    return 0


# ---------------------------------------------------------------- the PBX


async def _look_around(args: argparse.Namespace, ami: Address | None) -> PbxFacts:
    """Everything that answers, files first; of this machine unless `ami` is another. Raises NotReachable."""
    found = PbxFacts()
    failures: list[str] = []
    is_local = ami is None or ami.host in LOOPBACK
    files = await asyncio.to_thread(discover_files, args.pbx) if is_local else None
    if files is not None:
        found = merged(PbxFacts(version=await asyncio.to_thread(asterisk_version)), files)
    elif is_local:
        failures.append(f"{args.pbx} has no files of Asterisk that this user can read")
    for asking in (_over_ami(args, ami or AMI), _over_ari(args)):
        try:
            found = merged(found, await asking)
        except VochiError as exc:
            failures.append(str(exc))
    if not found.notes:
        raise NotReachable("; ".join([*failures, "say where the PBX is: --pbx FOLDER, or --ami and --ami-username"]))
    return _printable(merged(found, PbxFacts(notes=tuple(failures))))


def _printable(pbx: PbxFacts) -> PbxFacts:
    """What a PBX says stands on one line each: in the configuration a second one would be a setting of its choice."""
    return replace(
        pbx,
        version=printable(pbx.version),
        endpoints=tuple(replace(each, name=printable(each.name)) for each in pbx.endpoints),
        notes=tuple(map(printable, pbx.notes)),
    )


async def _over_ami(args: argparse.Namespace, ami: Address) -> PbxFacts:
    if args.ami_username is None:
        return PbxFacts()
    secret = file_text(args.ami_secret_file, "--ami-secret-file")
    if secret is None:
        raise ConfigError(["--ami-secret-file is needed with --ami-username"])
    return await discover_over_ami(AmiPeer(host=ami.host, port=ami.port, username=args.ami_username, secret=secret))


async def _over_ari(args: argparse.Namespace) -> PbxFacts:
    if args.ari is None:
        return PbxFacts()
    password = file_text(args.ari_password_file, "--ari-password-file")
    if password is None or args.ari_username is None:
        raise ConfigError(["--ari-username and --ari-password-file are needed with --ari"])
    peer = AriPeer(url=args.ari.rstrip("/"), username=args.ari_username, password=password)
    return await discover_over_ari(peer)


def _plan(args: argparse.Namespace, ami: Address, pbx: PbxFacts, snippets: Path) -> Plan:
    is_local = ami.host in LOOPBACK
    flavour = args.flavour or ("freepbx" if pbx.is_freepbx else "own")
    fastagi, pbx_address = args.address or DEFAULT_FASTAGI, ""
    if not is_local:
        ours = address_towards(ami.host, ami.port)
        fastagi = args.address or (f"{ours}:{FASTAGI_PORT}" if ours else "")
        pbx_address = _literal(ami.host)
        if not fastagi or not pbx_address:
            raise ConfigError(["--address is needed: where does the PBX reach our FastAGI? --ami as a literal address"])
    http = pbx.http or Address("127.0.0.1", 8088)
    return Plan(
        answers=answers(args, pbx, machine_zone=machine_zone() if is_local else ""),
        pbx=pbx,
        flavour=flavour,
        is_local=is_local,
        ami=str(ami),
        ari=args.ari or (f"http://{http}" if pbx.http_on and is_local else ""),
        fastagi=fastagi,
        pbx_address=pbx_address,
        asterisk_folder=args.pbx.absolute(),
        snippets=snippets,
        command=_command(args.config or default_path()),
    )


def _command(target: Path) -> str:
    """How to call us with this configuration."""
    return "vochi-agent" if target == default_path() else f"vochi-agent -c {shlex.quote(str(target.absolute()))}"


def _literal(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return ""


# ---------------------------------------------------------------- words


def _say_what_was_found(pbx: PbxFacts) -> None:
    for note in pbx.notes:
        print(note)
    print(f"Asterisk {pbx.version or '(version unknown)'}, {len(pbx.endpoints)} endpoints")


def _say_what_is_next(plan: Plan, written: list[Path]) -> None:
    said = plan.answers
    counted = f"{len(said.lines)} lines, {len(said.phones)} telephones"
    print(f"\n{f'{said.number} {said.name}'.strip()}: {counted}, {said.country}, {said.timezone}")
    for line in said.lines:
        print(f"  line {line.endpoint}{f' «{line.label}»' if line.label else ''}")
    print("\nWritten, and nothing else was touched:")
    for place in written:
        print(f"  {place}")
    unknown = [*said.left_open, *_unknown(plan)]
    if unknown:
        print("\nNot known:")
        for sentence in unknown:
            print(f"  {sentence}")
    command = plan.command
    print("\nNext:")
    print(f"  1. {plan.snippets / README} says where the files for Asterisk go")
    print(f"  2. {command} check")
    print(f"  3. systemctl enable --now vochi-agent (or, to look on: {command} run)")
    print("     (the service's user has to be able to read the secrets: docs/install.md)")
    print(f"  4. {command} doctor            what is missing, and how to mend it")
    print(f"  5. {command} lookup PHONE      the name as a telephone would show it")
    if said.chat is not None:
        print(f"  6. {command} doctor --test-card")


def _unknown(plan: Plan) -> list[str]:
    unknown = []
    if not plan.answers.lines:
        unknown.append("which endpoint is a line to outside: --line TECH/NAME, or [[enterprises.lines]]")
    if not plan.answers.crm:
        unknown.append("a CRM: names come from the agent's own table and phonebooks until one is configured")
    if not plan.ari:
        unknown.append("a REST interface (ARI): no click to call, no listening")
    if plan.pbx.is_freepbx or not plan.is_local:
        unknown.append("where CEL is: calls of an outage are not recovered until asterisk.cel says it")
    return unknown
