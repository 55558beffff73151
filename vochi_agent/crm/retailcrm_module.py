"""Our telephony module in a RetailCRM account: what has to be registered once, so that a click on a phone comes to us.

`integration-modules/{code}/edit` replaces the whole module, so what people have set up in it (the extensions of users,
the numbers of shops) is read first and given back. Wire facts: the official PHP client; that a logo has to be SVG, that
`baseUrl` is wanted and `actions` is refused: a public bridge in daily use.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from vochi_agent.crm.fields import identifier, mapping, objects, text
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.retailcrm import API, interpret

__all__ = ["Registered", "module_of", "register"]

TITLE: Final = "vochi-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the account holds now.

    Attributes:
        code: Of the module.
        extensions: User's id and extension, as the module lists them.
        renewed: There was one with this code before.
    """

    code: str
    extensions: Sequence[tuple[str, str]]
    renewed: bool


async def register(
    http: CrmHttp, *, code: str, public_url: str, call_url: str, agents: Mapping[str, str]
) -> Registered:
    """Make the module, or bring it up to date; what others entered in it stays.

    Args:
        public_url: Ours, for people.
        call_url: Where a click on a phone is to be told.
        agents: CRM user's id -> extension.

    Raises:
        CrmUnavailable, CrmAuthFailed, CrmRejected: nothing was changed, or nobody knows (CrmUncertain).
    """
    deadline = http.deadline()
    path = f"{API}/integration-modules/{quote(code, safe='')}"
    found = await http.get(path, (), interpret, deadline=deadline)
    present = mapping(found.get("integrationModule"))
    module = module_of(code, present, public_url=public_url, call_url=call_url, agents=agents)
    form = {"integrationModule": json.dumps(module, ensure_ascii=False)}
    # The same module twice is one module.
    await http.send("POST", f"{path}/edit", interpret, deadline=deadline, form=form, repeatable=True)
    telephony = mapping(mapping(module["integrations"]).get("telephony"))
    codes = [(identifier(each.get("userId")), text(each.get("code"))) for each in _list(telephony, "additionalCodes")]
    return Registered(code=code, extensions=codes, renewed=bool(present))


def module_of(
    code: str, present: Mapping[str, object], *, public_url: str, call_url: str, agents: Mapping[str, str]
) -> Mapping[str, object]:
    """The module as it should be, made of the one that is there."""
    telephony = mapping(mapping(present.get("integrations")).get("telephony"))
    codes = _list(telephony, "additionalCodes")
    listed = {(identifier(each.get("userId")), text(each.get("code"))) for each in codes}
    ours = [
        {"userId": int(user), "code": extension}
        for user, extension in agents.items()
        if user.isascii() and user.isdigit() and (user, extension) not in listed
    ]
    numbers = _list(telephony, "externalPhones")
    return {
        "code": code,
        "integrationCode": code,
        "active": True,
        "name": text(present.get("name")) or TITLE,
        "clientId": code,
        "baseUrl": public_url,
        "accountUrl": public_url,
        "integrations": {
            "telephony": {
                "makeCallUrl": call_url,
                "allowEdit": True,
                "inputEventSupported": True,
                "outputEventSupported": True,
                "hangupEventSupported": True,
                "additionalCodes": [*codes, *ours],
                **({"externalPhones": numbers} if numbers else {}),
            }
        },
    }


def _list(telephony: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    return list(objects(telephony.get(key)))
