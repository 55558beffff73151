"""The files of `dialplan/` for the configuration at hand: what Asterisk needs to know of us, flavour by flavour.

One source: the shipped files themselves. What stands in them between the lines `; --- from the configuration: NAME`
and `; --- end` is replaced, the rest is taken as it is; for `config.example.toml` that changes nothing.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from vochi_agent.asterisk.discovery import PbxFacts
from vochi_agent.asterisk.pack import Pack, check
from vochi_agent.asterisk.pack_regions import regions
from vochi_agent.config import Address, Config, Enterprise
from vochi_agent.errors import ConfigError

__all__ = ["FLAVOURS", "Part", "render", "shipped", "whole"]

PACKAGE: Final = "vochi_agent.dialplan"
REGION: Final = re.compile(r"^(; --- from the configuration: (.+)\n)(?s:.*?)^(; --- end\n)", re.MULTILINE)
INSTANCES: Final = ("a", "b")
LOOPBACK_NAME: Final = "localhost"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a pack.

    Attributes:
        name: What it is called under /etc/asterisk.
        sources: The shipped files that it is made of, in order.
        since: Only what follows this line of the last source, when the head of the file is another.
    """

    name: str
    sources: tuple[str, ...]
    since: str = ""


MANAGER_USER: Final = "; --- from the configuration: manager user\n"
ARI_USER: Final = "; --- from the configuration: ari user\n"
SUBROUTINE: Final = Part("vochi.conf", ("vochi.conf",))
FLAVOURS: Final[Mapping[str, Sequence[Part]]] = {
    "plain": (
        SUBROUTINE,
        Part("extensions.conf", ("extensions.conf.example",)),
        Part("queues.conf", ("queues.conf.example",)),
        Part("features.conf", ("features.conf.example",)),
        Part("res_parking.conf", ("res_parking.conf.example",)),
        Part("manager.conf", ("manager.conf.example",)),
        Part("ari.conf", ("ari.conf.example",)),
        Part("cel.conf", ("cel.conf.example",)),
        Part("cel_custom.conf", ("cel_custom.conf.example",)),
        Part("cdr.conf", ("cdr.conf.example",)),
        Part("modules.conf", ("modules.conf.example",)),
    ),
    "own": (
        SUBROUTINE,
        Part("extensions_vochi.conf", ("own/extensions_vochi.conf",)),
        Part("pjsip_vochi.conf", ("own/pjsip_vochi.conf",)),
        Part("manager_vochi.conf", ("own/manager_head.conf", "manager.conf.example"), since=MANAGER_USER),
        Part("ari_vochi.conf", ("own/ari_head.conf", "ari.conf.example"), since=ARI_USER),
        Part("cel_vochi.conf", ("own/cel_head.conf", "cel.conf.example"), since="enable = yes\n"),
        Part("cel_custom_vochi.conf", ("own/cel_custom_head.conf", "cel_custom.conf.example"), since="vochi.csv => "),
    ),
    "freepbx": (
        SUBROUTINE,
        Part("globals_custom.conf", ("freepbx/globals_custom.conf",)),
        Part("extensions_custom.conf", ("freepbx/extensions_custom.conf",)),
        Part("manager_custom.conf", ("manager.conf.example",), since=MANAGER_USER),
    ),
    "mikopbx": (Part("extensions.conf", ("mikopbx/extensions.conf", "vochi.conf")),),
}


def render(
    flavour: str, config: Config, enterprise: Enterprise, address: str = "", pbx: PbxFacts | None = None
) -> Mapping[str, str]:
    """The files of a pack, by name.

    Args:
        address: Where the PBX reaches our FastAGI, a literal address and a port; by default `fastagi.listen`.
        pbx: What is known of it; without it, that its files have all sections and lines enter in [from-trunk].

    Raises:
        ConfigError: the configuration holds what no dialplan can carry, or too little for this flavour.
    """
    problems: list[str] = []
    if config.daemon.instance not in INSTANCES:
        problems.append(f"daemon.instance is {config.daemon.instance!r}: vochi.conf asks the instances a and b")
    pack = Pack(
        enterprise=enterprise,
        instance=config.daemon.instance,
        agi=_reached_at(flavour, config, enterprise, address, problems),
        is_local=_is_local(enterprise),
        pbx=pbx or PbxFacts(),
    )
    check(pack, plain=flavour == "plain", problems=problems)
    if problems:
        raise ConfigError(problems)
    written = regions(pack)
    return {part.name: _text(part, written) for part in FLAVOURS[flavour]}


def shipped(source: str) -> str:
    """A file of `dialplan/` as it stands there."""
    return (resources.files(PACKAGE) / source).read_text(encoding="utf-8")


def _text(part: Part, written: Mapping[str, Sequence[str]]) -> str:
    def filled(match: re.Match[str]) -> str:
        return match[1] + "".join(f"{line}\n" for line in written[match[2]]) + match[3]

    return REGION.sub(filled, whole(part))


def whole(part: Part) -> str:
    """A part as it is shipped, before the configuration comes into it."""
    texts = [shipped(source) for source in part.sources]
    texts[-1] = texts[-1][texts[-1].index(part.since) :]
    return "\n".join(texts)


def _reached_at(flavour: str, config: Config, enterprise: Enterprise, given: str, problems: list[str]) -> Address:
    """Where the PBX finds us: always a literal address, since each address behind a name costs a caller 2 s."""
    if given:
        return _literal(given, problems)
    listen = config.fastagi.listen
    host = ipaddress.ip_address(listen.host)
    is_local = _is_local(enterprise) and flavour != "mikopbx"
    if host.is_unspecified and is_local:
        return Address("127.0.0.1" if host.version == 4 else "::1", listen.port)  # noqa: PLR2004 - the IP version
    if host.is_unspecified or (host.is_loopback and not is_local):
        problems.append(
            f"fastagi.listen is {listen}: where does the PBX find it? needed: --address, such as 192.0.2.20:4577"
        )
    elif not is_local:
        _check_allowed(config, enterprise, problems)
    return listen


def _literal(text: str, problems: list[str]) -> Address:
    host, _, port = text.rpartition(":")
    try:
        address = Address(str(ipaddress.ip_address(host.strip("[]"))), int(port))
    except ValueError:
        problems.append(f"--address {text!r}: needed: a literal IP address and a port, such as 192.0.2.20:4577")
        return Address("127.0.0.1", 0)
    return address


def _check_allowed(config: Config, enterprise: Enterprise, problems: list[str]) -> None:
    """A PBX elsewhere has to be let in by our allowlist."""
    try:
        pbx = ipaddress.ip_address(enterprise.asterisk.ami.host)
    except ValueError:
        return  # a name: who is behind it cannot be known here
    if not any(pbx in network for network in config.fastagi.allow):
        problems.append(f"fastagi.allow does not let the PBX in; needed: {pbx}, the address of its AMI")


def _is_local(enterprise: Enterprise) -> bool:
    host = enterprise.asterisk.ami.host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == LOOPBACK_NAME
