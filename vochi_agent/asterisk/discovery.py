"""What a PBX turned out to be: its endpoints, and which of them are lines and which are telephones. Pure.

Invariant: nothing is guessed in silence. An endpoint of which neither can be said is neither, and is told about.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from vochi_agent.config import Address

__all__ = ["EXTENSION", "FoundEndpoint", "Kind", "PbxFacts", "agent_of", "kinds_of", "merged"]

# Contract §2: every channel TECH/<2-5 digits> whose endpoint is no line's is that extension.
EXTENSION: Final = re.compile(r"[0-9]{2,5}")
DIGITS: Final = re.compile(r"[0-9+]{6,}")
NUMBER_SHOWN: Final = re.compile(r"<\s*([^>]*?)\s*>|^\s*\"?([0-9]+)\"?\s*$")
# Endpoints that are doors, not people or lines.
DOORS: Final = frozenset({"anonymous", "dpma_endpoint", "guest", "default"})


class Kind(Enum):
    """What an endpoint is to a company."""

    LINE = "line"
    PHONE = "phone"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEndpoint:
    """An endpoint of a PBX.

    Attributes:
        name: TECH/resource.
        context: Where its calls enter the dialplan; "" when that is not known.
        caller: Its caller id as configured: `Анна <151>`.
        is_provider: We register or log in there, or know it by its address: somebody else's exchange.
        file: The configuration file in which it is a section of its own that can be added to; "" when it is not.
    """

    name: str
    context: str = ""
    caller: str = ""
    is_provider: bool = False
    file: str = ""

    @property
    def resource(self) -> str:
        """The name without its technology."""
        return self.name.partition("/")[2]

    @property
    def number_shown(self) -> str:
        """The number of its caller id."""
        found = NUMBER_SHOWN.search(self.caller)
        return (found[1] or found[2] or "") if found else ""

    @property
    def name_shown(self) -> str:
        """The name of its caller id."""
        name = self.caller.partition("<")[0].strip().strip('"').strip()
        return "" if name.isdecimal() else name


@dataclass(frozen=True, slots=True, kw_only=True)
class PbxFacts:
    """Everything that could be found out; what is empty could not.

    Attributes:
        version: Of Asterisk.
        utc_offset: Of its wall clock, as `+0300`.
        ami: Where its manager interface listens; `ami_on` whether it does.
        http: Where its web server listens; `http_on` whether it does.
        cel_on: Whether it writes channel events; None when that is not known.
        log_folder: Where its logs are.
        spool_folder: Where its recordings are below.
        missing: `file/section` for each section of its own files that cannot be added to because it is not there.
        is_freepbx: Its files are written by FreePBX or Issabel.
        notes: Sentences: what was asked, and what could not be known.
    """

    version: str = ""
    utc_offset: str = ""
    endpoints: tuple[FoundEndpoint, ...] = ()
    ami: Address | None = None
    ami_on: bool | None = None
    http: Address | None = None
    http_on: bool | None = None
    cel_on: bool | None = None
    log_folder: str = ""
    spool_folder: str = ""
    missing: frozenset[str] = frozenset()
    is_freepbx: bool = False
    notes: tuple[str, ...] = field(default=())


def merged(first: PbxFacts, second: PbxFacts) -> PbxFacts:
    """Both; of an endpoint that both know, and of single facts, the first one's word counts."""
    known = {each.name for each in first.endpoints}
    return replace(
        first,
        version=first.version or second.version,
        utc_offset=first.utc_offset or second.utc_offset,
        endpoints=(*first.endpoints, *(each for each in second.endpoints if each.name not in known)),
        ami=first.ami or second.ami,
        ami_on=second.ami_on if first.ami_on is None else first.ami_on,
        http=first.http or second.http,
        http_on=second.http_on if first.http_on is None else first.http_on,
        cel_on=second.cel_on if first.cel_on is None else first.cel_on,
        log_folder=first.log_folder or second.log_folder,
        spool_folder=first.spool_folder or second.spool_folder,
        missing=first.missing | second.missing,
        is_freepbx=first.is_freepbx or second.is_freepbx,
        notes=(*first.notes, *second.notes),
    )


def kinds_of(endpoints: Iterable[FoundEndpoint]) -> dict[str, Kind]:
    """What each endpoint is, by its name; doors are left out."""
    listed = [each for each in endpoints if each.resource.lower() not in DOORS]
    sure = {each.name: _kind(each) for each in listed}
    inside = {each.context for each in listed if sure[each.name] is Kind.PHONE and each.context}
    # Calls of a line enter the dialplan elsewhere than those of telephones, or anybody could dial out through us.
    return {
        each.name: Kind.LINE
        if sure[each.name] is Kind.UNCLEAR and inside and each.context and each.context not in inside
        else sure[each.name]
        for each in listed
    }


def agent_of(endpoint: FoundEndpoint) -> str:
    """The extension of a telephone: its own name when that is one, else the number it shows."""
    if EXTENSION.fullmatch(endpoint.resource):
        return endpoint.resource
    return endpoint.number_shown if EXTENSION.fullmatch(endpoint.number_shown) else ""


def _kind(endpoint: FoundEndpoint) -> Kind:
    if endpoint.is_provider:
        return Kind.LINE
    if EXTENSION.fullmatch(endpoint.resource):
        return Kind.PHONE
    # A slot of a gateway registers with us as a telephone does; its name is as long as a number.
    if DIGITS.fullmatch(endpoint.resource):
        return Kind.LINE
    return Kind.PHONE if agent_of(endpoint) else Kind.UNCLEAR
