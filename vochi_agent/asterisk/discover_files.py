"""Finds out about a PBX from the files of its /etc/asterisk. Reads, and changes nothing."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vochi_agent.config import Address

from .conf_files import Conf, Section, read_conf
from .discovery import EXTENSION, FoundEndpoint, PbxFacts

__all__ = ["discover_files"]

AMI_PORT, HTTP_PORT = 5038, 8088
LOG_FOLDER, SPOOL_FOLDER = "/var/log/asterisk", "/var/spool/asterisk"
# Sections of the PBX's own files to which ours add.
ADDED_TO: Final = (
    ("extensions.conf", "globals"),
    ("manager.conf", "general"),
    ("ari.conf", "general"),
    ("http.conf", "general"),
    ("cel.conf", "general"),
    ("cel_custom.conf", "mappings"),
)
# FreePBX and Issabel write this file; an administrator's own dialplan has no reason to be called so.
MARK_OF_FREEPBX: Final = "extensions_additional.conf"
YES: Final = ("yes", "true", "y", "t", "1", "on")
HIDDEN_NOTE: Final = "{name} has parts that were not read: {parts}"


def discover_files(folder: Path) -> PbxFacts | None:
    """What the files say; None when they are not there or not readable. Blocks as reading local files does."""
    conf = {name: read_conf(folder, name) for name in ("manager.conf", "http.conf", "cel.conf", "asterisk.conf")}
    endpoints = (*_pjsip(folder), *_wizard(folder), *_sip(folder))
    if not endpoints and not conf["manager.conf"].exists:
        return None
    manager, http = conf["manager.conf"], conf["http.conf"]
    directories = conf["asterisk.conf"]
    return PbxFacts(
        endpoints=endpoints,
        ami=_address(manager, "port", AMI_PORT),
        ami_on=_is_yes(manager.get("general", "enabled")),
        http=_address(http, "bindport", HTTP_PORT),
        http_on=_is_yes(http.get("general", "enabled")),
        cel_on=_is_yes(conf["cel.conf"].get("general", "enable")),
        log_folder=directories.get("directories", "astlogdir", LOG_FOLDER),
        spool_folder=directories.get("directories", "astspooldir", SPOOL_FOLDER),
        missing=frozenset(f"{name}/{part}" for name, part in ADDED_TO if not read_conf(folder, name).has(part)),
        is_freepbx=(folder / MARK_OF_FREEPBX).exists(),
        notes=(f"read {folder}", *_unread(conf)),
    )


def _unread(conf: dict[str, Conf]) -> Iterator[str]:
    for name, each in conf.items():
        if each.unread:
            yield HIDDEN_NOTE.format(name=name, parts=", ".join(each.unread))


def _pjsip(folder: Path) -> Iterator[FoundEndpoint]:
    conf = read_conf(folder, "pjsip.conf")
    # Whose registrations are ours is somebody else's exchange; so is whom an identify section recognises by his
    # address, unless he is called as a telephone is.
    recognised = {each.get("endpoint") for each in conf.sections if each.get("type") == "identify"}
    recognised = {name for name in recognised if not EXTENSION.fullmatch(name)}
    registering = {each.get("endpoint") for each in conf.sections if each.get("type") == "registration"}
    for section in conf.sections:
        if section.template or section.get("type") != "endpoint":
            continue
        yield FoundEndpoint(
            name=f"PJSIP/{section.name}",
            context=section.get("context"),
            caller=section.get("callerid"),
            is_provider=section.name in recognised | registering or bool(section.get("outbound_auth")),
            file="pjsip.conf",
        )


def _wizard(folder: Path) -> Iterator[FoundEndpoint]:
    for section in read_conf(folder, "pjsip_wizard.conf").sections:
        if section.template or section.get("type") != "wizard":
            continue
        yield FoundEndpoint(
            name=f"PJSIP/{section.name}",
            context=section.get("endpoint/context"),
            caller=section.get("endpoint/callerid"),
            is_provider=_is_yes(section.get("sends_registrations")) or _is_yes(section.get("sends_auth")),
        )


def _sip(folder: Path) -> Iterator[FoundEndpoint]:
    """Of chan_sip, which Asterisk 20 still has."""
    conf = read_conf(folder, "sip.conf")
    registered = {entry.rpartition("/")[2] for section in conf.named("general") for entry in section.all("register")}
    for section in conf.sections:
        if section.template or section.get("type") not in ("peer", "friend", "user"):
            continue
        yield FoundEndpoint(
            name=f"SIP/{section.name}",
            context=section.get("context") or conf.get("general", "context"),
            caller=section.get("callerid"),
            is_provider=section.name in registered or _is_elsewhere(section),
        )


def _is_elsewhere(section: Section) -> bool:
    """A peer with an address of its own is no telephone that registers with us."""
    host = section.get("host")
    return bool(host) and host != "dynamic"


def _address(conf: Conf, port_key: str, default_port: int) -> Address:
    """Where we reach a listener of this machine."""
    host, port = conf.get("general", "bindaddr", "127.0.0.1"), conf.get("general", port_key)
    try:
        bound = ipaddress.ip_address(host)
    except ValueError:
        bound = ipaddress.ip_address("127.0.0.1")
    reached = "127.0.0.1" if bound.is_unspecified else str(bound)
    return Address(reached, int(port) if port.isdecimal() and 0 < int(port) <= 65535 else default_port)  # noqa: PLR2004


def _is_yes(value: str) -> bool:
    return value.lower() in YES
