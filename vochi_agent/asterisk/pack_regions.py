"""What the configuration puts into the files of `dialplan/`, region by region.

Values come from `Pack`, checked before they are written; what people wrote for people (names, labels) is in comments
only, and there without signs that mean something.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from phonenumbers import PhoneMetadata

from vochi_agent.asterisk.pack import Pack, dids_of
from vochi_agent.config import Line

__all__ = ["Region", "regions"]

Region = Sequence[str]

# `vochi-agent dialplan print` may be asked for a machine whose zone it cannot know: that of its own clock then.
MACHINE_ZONE: Final = "/etc/localtime"
UNSET_ZONES: Final = ("", "UTC")
EMERGENCY: Final = "112"
# How people of a country dial at home, and what a small company there dials daily (domain: Belarus, Russia).
BELARUS: Final = ("80XXXXXXXXX", "0XXXXXXXXX", "375XXXXXXXXX", "+375XXXXXXXXX")
RUSSIA: Final = ("8[3-9]XXXXXXXXX", "7[3-9]XXXXXXXXX", "+7[3-9]XXXXXXXXX")
DIALLED: Final[Mapping[str, Sequence[str]]] = {"BY": BELARUS + RUSSIA, "RU": RUSSIA + BELARUS[2:], "KZ": RUSSIA}
SHORTEST_NATIONAL: Final = 6


def regions(pack: Pack) -> Mapping[str, Region]:
    """Every region by its name, of a pack that `check` let pass."""
    makers: Mapping[str, Callable[[Pack], Iterable[str]]] = {
        "globals": _globals,
        "box globals": _box_globals,
        "dids": _dids,
        "freepbx dids": _freepbx_dids,
        "agents": _agents,
        "departments": _departments,
        "follow-me": _follow_me,
        "numbers": _numbers,
        "lines": _lines,
        "mobiles": _mobiles,
        "queue members": _members,
        "manager address": _manager_address,
        "manager user": _manager_user,
        "ari user": _ari_user,
        "own globals": _own_globals,
        "detours": _detours,
        "own endpoints": _own_endpoints,
        "own manager general": lambda pack: [_section(pack, "manager.conf", "general")],
        "own ari general": lambda pack: [_section(pack, "ari.conf", "general")],
        "own cel general": lambda pack: [_section(pack, "cel.conf", "general")],
        "own cel mappings": lambda pack: [_section(pack, "cel_custom.conf", "mappings")],
    }
    return {name: tuple(make(pack)) for name, make in makers.items()}


def _note(text: str) -> str:
    """A text of people as the end of a comment."""
    kept = re.sub(r"[^\w .,+()/-]", "", text)
    return f" {kept}" if kept.strip() else ""


# ---------------------------------------------------------------- globals


def _instances(pack: Pack) -> list[str]:
    return [f"VOCHI_FASTAGI_{name} = {pack.agi if name == pack.instance else ''}".rstrip() for name in ("a", "b")]


def _box_globals(pack: Pack) -> list[str]:
    return [*_instances(pack), f"VOCHI_ENTERPRISE = {pack.enterprise.number}"]


def _globals(pack: Pack) -> list[str]:
    zone = pack.enterprise.timezone
    desks = "&".join(pack.desk(agent) for agent in pack.agents)
    mobiles = "".join(f"&Local/{agent.extension}@mobiles/n" for agent in pack.agents if agent.mobile)
    return [
        *_instances(pack),
        f"ENTERPRISE = {pack.enterprise.number}",
        "; the clock of OFFICE_HOURS and HOLIDAYS: a zone such as Europe/Minsk, or the machine's own",
        f"ZONE = {MACHINE_ZONE if zone in UNSET_ZONES else zone}",
        "; who rings first, who rings then; Local/...@mobiles is an agent's mobile",
        f"FIRST_PHONES = {desks}",
        f"ALL_PHONES = {desks}{mobiles}",
        "; one after the other, by RING = hunt",
        f"HUNT_PHONES = {desks}",
        "; who belongs to a department: take out who does not",
        *(f"DEPARTMENT_{department.number} = {desks}" for department in pack.enterprise.departments),
    ]


# ---------------------------------------------------------------- from outside


def _by_did(pack: Pack) -> Mapping[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in pack.enterprise.lines:
        for did in dids_of(line):
            found.setdefault(did.lstrip("+"), []).append(line)
    return found


def _dids(pack: Pack) -> Iterable[str]:
    for did, lines in _by_did(pack).items():
        # The same number on two trunks: which line it is only the daemon can say.
        line_id = lines[0].id if len(lines) == 1 else ""
        own = f"RING_{re.sub('[^A-Za-z0-9]', '_', lines[0].id)}"
        yield f"exten => {did},1,Set(LINE={line_id})"
        yield f" same => n,Set(ROUTE_SECONDS={lines[0].ring_s})"
        yield f' same => n,Set(RING=${{IF($["${{{own}}}" != ""]?${{{own}}}:${{RING}})}})'
        yield " same => n,Goto(reception,${EXTEN},1)"


def _freepbx_dids(pack: Pack) -> Iterable[str]:
    for did, lines in _by_did(pack).items():
        line_id = lines[0].id if len(lines) == 1 else ""
        yield f"exten => {did},1,GoSub(vochi-freepbx,s,1({line_id},{lines[0].ring_s}))"
        yield " same => n,Goto(from-pstn,${FILTER(0-9a-zA-Z+,${EXTEN})},1)"


# ---------------------------------------------------------------- inside


def _agents(pack: Pack) -> Iterable[str]:
    for agent in pack.agents:
        if agent.name:
            yield f";{_note(agent.name)}"
        yield f"exten => {agent.extension},hint,{pack.desk(agent)}"
        yield f"exten => {agent.extension},1,Goto(ring-agent,${{EXTEN}},1)"


def _departments(pack: Pack) -> Iterable[str]:
    for department in pack.enterprise.departments:
        if department.label:
            yield f";{_note(department.label)}"
        yield f"exten => {department.number},1,Goto(ring-department,${{EXTEN}},1)"


def _follow_me(pack: Pack) -> Iterable[str]:
    for agent in pack.agents:
        if agent.follow_me:
            target = "ring-follow-me" if agent.mobile else "ring-agent"
            yield f"exten => {agent.follow_me},1,Goto({target},{agent.extension},1)"


def _members(pack: Pack) -> Iterable[str]:
    return (f"member => {pack.desk(agent)}" for agent in pack.agents)


# ---------------------------------------------------------------- to outside


def _numbers(pack: Pack) -> Iterable[str]:
    country = pack.enterprise.country
    if all(agent.extension != EMERGENCY for agent in pack.agents):
        yield f"exten => {EMERGENCY},1,GoSub(dial-out,s,1(${{EXTEN}}))"
    for pattern in DIALLED.get(country) or _patterns_of(country):
        yield f"exten => _{pattern},1,GoSub(dial-out,s,1(${{EXTEN}}))"


def _patterns_of(country: str) -> Iterable[str]:
    """Ordinary numbers of a country: international, with and without +, and with its own prefix."""
    metadata = PhoneMetadata.metadata_for_region(country)
    if metadata is None:  # `country` is one that phonenumbers supports, so it has metadata
        return
    kinds = (metadata.mobile, metadata.fixed_line)
    lengths = sorted({length for kind in kinds if kind for length in kind.possible_length})
    for length in (length for length in lengths if length >= SHORTEST_NATIONAL):
        national = "X" * length
        prefixes = [f"+{metadata.country_code}", str(metadata.country_code), metadata.national_prefix or ""]
        yield from (prefix + national for prefix in dict.fromkeys(prefixes))


def _lines(pack: Pack) -> Iterable[str]:
    """One attempt for each way out: lines that share a trunk and a prefix are the same way."""
    seen: set[tuple[str, str]] = set()
    for line in pack.enterprise.lines:
        if (way := (line.endpoint, line.dial_prefix)) not in seen:
            seen.add(way)
            shown = line.number.lstrip("+")
            yield f" same => n,GoSub(dial-line,s,1({line.id},{_dial_string(line)},{shown}))"


def _dial_string(line: Line) -> str:
    technology, _, name = line.endpoint.partition("/")
    number = f"{line.dial_prefix}${{ARG1}}"
    return f"PJSIP/{number}@{name}" if technology == "PJSIP" else f"{line.endpoint}/{number}"


def _mobiles(pack: Pack) -> Iterable[str]:
    return (
        f"exten => {agent.extension},1,GoSub(dial-out,s,1({agent.mobile.lstrip('+')}))"
        for agent in pack.agents
        if agent.mobile
    )


# ---------------------------------------------------------------- users


def _manager_address(pack: Pack) -> list[str]:
    ami = pack.enterprise.asterisk.ami
    return [f"bindaddr = {_bound(ami.host, is_local=pack.is_local)}", f"port = {ami.port}"]


def _bound(host: str, *, is_local: bool) -> str:
    """Where AMI has to listen so that we reach it; behind a name nobody knows, so everywhere: `permit` guards it."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return "127.0.0.1" if is_local else "0.0.0.0"


def _manager_user(pack: Pack) -> list[str]:
    host = "127.0.0.1" if pack.is_local else pack.agi.host
    everybody, mask = ("::/0", "128") if ":" in host else ("0.0.0.0/0.0.0.0", "255.255.255.255")
    return [
        f"[{pack.enterprise.asterisk.ami_username}]",
        "; a file with one line, secret = the word of ami_secret_file: it stands in nothing that is shown or copied",
        '#tryinclude "vochi-ami-secret.conf"',
        f"deny = {everybody}",
        f"permit = {host}/{mask}",
    ]


def _ari_user(pack: Pack) -> list[str]:
    return [
        f"[{pack.enterprise.asterisk.ari_username or 'vochi'}]",
        "type = user",
        "password_format = plain",
        "; a file with one line, password = the word of ari_password_file",
        '#tryinclude "vochi-ari-password.conf"',
    ]


# ---------------------------------------------------------------- beside a dialplan of one's own


def _section(pack: Pack, file: str, name: str) -> str:
    """The head of a section that we add to; Asterisk refuses a whole file that adds to one which is not there."""
    return f"[{name}]" if f"{file}/{name}" in pack.pbx.missing else f"[{name}](+)"


def _own_globals(pack: Pack) -> list[str]:
    return [_section(pack, "extensions.conf", "globals"), *_box_globals(pack)]


def _by_endpoint(pack: Pack) -> Mapping[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in pack.enterprise.lines:
        found.setdefault(line.endpoint, []).append(line)
    return found


def _detour(endpoint: str) -> str:
    return f"vochi-from-{endpoint.partition('/')[2]}"


def _detours(pack: Pack) -> Iterable[str]:
    number = "${FILTER(0-9a-zA-Z+._,${EXTEN})}"
    for endpoint, lines in _by_endpoint(pack).items():
        # Several lines on one trunk: which of them it is the daemon knows by the dialled number.
        line_id = lines[0].id if len(lines) == 1 else ""
        context = pack.context_of(lines[0])
        yield f"; {' '.join(line.id for line in lines)}: {endpoint}"
        yield f"[{_detour(endpoint)}]"
        yield f"exten => _[+0-9a-zA-Z][0-9a-zA-Z]!,1,GoSub(vochi-own,s,1({line_id},{context},{number}))"
        yield f" same => n,Goto({context},{number},1)"
        yield f"exten => s,1,GoSub(vochi-own,s,1({line_id},{context},s))"
        yield f" same => n,Goto({context},s,1)"


def _own_endpoints(pack: Pack) -> Iterable[str]:
    found = {each.name: each for each in pack.pbx.endpoints}
    for endpoint in _by_endpoint(pack):
        technology, _, name = endpoint.partition("/")
        by_hand = f"; {name}: give its endpoint context = {_detour(endpoint)} where you configured it"
        if technology != "PJSIP" or (endpoint in found and not found[endpoint].file):
            yield by_hand
        else:
            yield f"[{name}](+type=endpoint)"
            yield f"context = {_detour(endpoint)}"
