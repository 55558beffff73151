"""Who has which telephone, and what one call is called on each of them. Pure.

One old telephone must not cost the others their letters, so the dialplan is told every form of the name that is needed:
the plain one as `CALLERID(name)`, and beside it `VOCHI_NAME_<kind>` for each kind of telephone that shows it otherwise.
`VOCHI_PHONES` lists those telephones, `VOCHI_KINDS` their kinds in the same order; a pre-dial handler finds its own
(`handset` in dialplan/vochi.conf). All of them are inherited by the channels that are dialled.
"""

from collections.abc import Mapping
from typing import Final

from vochi_agent.config import Agent, Enterprise

from .names import CallerName, Handset

__all__ = ["CALLERID_NAME", "form_for", "handset_of", "name_variables"]

PLAIN: Final = Handset()
CALLERID_NAME: Final = "CALLERID(name)"
PHONES: Final = "__VOCHI_PHONES"
KINDS: Final = "__VOCHI_KINDS"
NAME_OF_KIND: Final = "__VOCHI_NAME_"
# Stands in no endpoint's name: Dial() takes it apart there.
BETWEEN: Final = "&"
# Of the list of telephones in one AGI command.
LONGEST_LIST: Final = 1900


def handset_of(enterprise: Enterprise, extension: str) -> Handset:
    """The telephone of an extension; one that is not listed shows everything."""
    return next((_handset(agent) for agent in enterprise.agents if agent.extension == extension), PLAIN)


def name_variables(name: CallerName, enterprise: Enterprise) -> dict[str, str]:
    """What to set on the caller's channel so that every telephone shows him right; {} leaves the name alone."""
    plain = name.on(PLAIN)
    if not plain:
        return {}
    special = {_telephone(agent): _handset(agent) for agent in enterprise.agents if not _shows_everything(agent)}
    if not special:
        return {CALLERID_NAME: plain}
    forms = {handset: name.on(handset) for handset in special.values()}
    kinds: dict[str, str] = {}
    room = LONGEST_LIST
    for phone, handset in special.items():
        room -= len(BETWEEN) + max(len(phone), len(handset.key))
        if forms[handset] != plain and room >= 0:
            kinds[phone] = handset.key
    return {
        CALLERID_NAME: plain,
        **{NAME_OF_KIND + handset.key: form for handset, form in forms.items() if form != plain},
        KINDS: BETWEEN.join(kinds.values()),
        # Also when it is empty: a name that came later may need none where the first one did.
        PHONES: BETWEEN.join(kinds),
    }


def form_for(extension: str, variables: Mapping[str, str], enterprise: Enterprise) -> str:
    """What the telephone of an extension shows by those variables, found as the dialplan finds it."""
    phone = next((_telephone(agent) for agent in enterprise.agents if agent.extension == extension), extension)
    phones = variables.get(PHONES, "").split(BETWEEN)
    if phone not in phones:
        return variables.get(CALLERID_NAME, "")
    return variables[NAME_OF_KIND + variables[KINDS].split(BETWEEN)[phones.index(phone)]]


def _telephone(agent: Agent) -> str:
    """His endpoint without the technology, as the name of a channel has it."""
    return agent.endpoint.partition("/")[2] or agent.extension


def _shows_everything(agent: Agent) -> bool:
    return agent.charset == PLAIN.charset and agent.name_width == PLAIN.width


def _handset(agent: Agent) -> Handset:
    return Handset(agent.charset, agent.name_width)
