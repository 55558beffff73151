"""Whose dialplan is written, and what may stand in one.

A dialplan is code: a comma parts arguments, `${` runs functions, a line break begins a new command. So nothing is
escaped: a value with anything but the signs that its kind needs is refused.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from vochi_agent.config import Address, Agent, Enterprise, Line

from .discovery import PbxFacts

__all__ = ["Pack", "check", "dids_of"]

WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
ENDPOINT: Final = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9_.+-]{1,64}")
# [general] of manager.conf and ari.conf is no user.
USER: Final = re.compile(r"(?!general\Z)[A-Za-z0-9_.+-]{1,64}")
# One sign would also be h, i, s or t, which Asterisk keeps for itself.
DID: Final = re.compile(r"\+?[A-Za-z0-9]{2,64}")
# Where calls from outside enter, unless we know better.
FROM_TRUNK: Final = "from-trunk"


@dataclass(frozen=True, slots=True)
class Pack:
    """Whose files are made.

    Attributes:
        agi: Where the PBX reaches our FastAGI.
        is_local: The PBX is on our machine.
        pbx: What the files have to fit to, where they stand beside an administrator's own.
    """

    enterprise: Enterprise
    instance: str
    agi: Address
    is_local: bool
    pbx: PbxFacts = field(default_factory=PbxFacts)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The listed agents."""
        return self.enterprise.agents

    def desk(self, agent: Agent) -> str:
        """The agent's telephone, as Dial() takes it."""
        first = self.enterprise.lines[0].endpoint.partition("/")[0] if self.enterprise.lines else "PJSIP"
        return agent.endpoint or f"{'SIP' if first == 'SIP' else 'PJSIP'}/{agent.extension}"

    def context_of(self, line: Line) -> str:
        """Where calls of a line enter the PBX's own dialplan."""
        return next((each.context for each in self.pbx.endpoints if each.name == line.endpoint), "") or FROM_TRUNK


def dids_of(line: Line) -> tuple[str, ...]:
    """What is dialled from outside to reach a line.

    Without `dids` that is its id. One that is named after its trunk, `gsm-1`, no dialplan could carry and nobody dials.
    """
    return tuple(did for did in line.dids if did != line.id or DID.fullmatch(did))


def check(pack: Pack, *, plain: bool, problems: list[str]) -> None:
    """Add a sentence to `problems` for each value that cannot be written; `plain` needs more than the others."""
    enterprise, asterisk = pack.enterprise, pack.enterprise.asterisk

    def needs(what: str, value: str, pattern: re.Pattern[str], allowed: str) -> None:
        if not pattern.fullmatch(value):
            problems.append(f"{what} is {value!r}; a dialplan can carry: {allowed}")

    for line in enterprise.lines:
        needs(f"line {line.id!r}: id", line.id, WORD, "letters, digits and . _ + -")
        needs(f"line {line.id!r}: endpoint", line.endpoint, ENDPOINT, "TECH/name of letters, digits and . _ + -")
        for did in dids_of(line):
            needs(
                f"line {line.id!r}: dids", did, DID, "two or more letters and digits, with or without a + before them"
            )
        needs(f"line {line.id!r}: context", pack.context_of(line), WORD, "letters, digits and . _ + -")
    for agent in enterprise.agents:
        needs(
            f"agent {agent.extension}: endpoint", pack.desk(agent), ENDPOINT, "TECH/name of letters, digits and . _ + -"
        )
    needs("asterisk.ami_username", asterisk.ami_username, USER, "letters, digits and . _ + -")
    needs("asterisk.ari_username", asterisk.ari_username or "vochi", USER, "letters, digits and . _ + -")
    if plain:
        _check_numbers(enterprise, problems)
        problems += [f"{key} is empty; needed: {what}" for key, what, there in (
            ("enterprises.lines", "where calls come from and go to", enterprise.lines),
            ("enterprises.agents", "the telephones that ring", enterprise.agents),
        ) if not there]  # fmt: skip


def _check_numbers(enterprise: Enterprise, problems: list[str]) -> None:
    """An internal number can be one thing only."""
    numbers = [agent.extension for agent in enterprise.agents]
    numbers += [department.number for department in enterprise.departments]
    numbers += [agent.follow_me for agent in enterprise.agents if agent.follow_me]
    problems += [
        f"{number} is the number of two: extensions, departments and follow_me must differ"
        for number in dict.fromkeys(numbers)
        if numbers.count(number) > 1
    ]
