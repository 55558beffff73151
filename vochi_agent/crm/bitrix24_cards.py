"""Who is calling in Bitrix24: contacts, companies and leads by number and by id.

It costs two batches: one finds ids by the number (`crm.duplicate.findbycomm`) and the responsible user with his
extension (`telephony.externalCall.searchCrmEntities`), the other reads the cards found. A batch counts once against the
portal's limit. They are not one batch, because a reference into an empty result would list everything.
Invariant: a card counts only when a number of it is the caller's. Source: the vendor's documentation of its REST API.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from vochi_agent.crm.bitrix24_portal import Portal, refusal
from vochi_agent.crm.fields import (
    dialled_digits,
    identifier,
    mapping,
    numbers,
    numeric_id,
    objects,
    same_number,
    search_digits,
    text,
)
from vochi_agent.customers.model import Names, Profile

__all__ = [
    "COMPANY",
    "KINDS",
    "LEAD",
    "SOURCE",
    "Card",
    "cards_of",
    "company_cards",
    "find_cards",
    "mark_of",
    "to_profile",
]

SOURCE: Final = "bitrix24"
# Ids of leads, contacts and companies are counted apart.
LEAD, COMPANY = "lead-", "company-"
KINDS: Final[Mapping[str, str]] = {LEAD: "LEAD", COMPANY: "COMPANY", "": "CONTACT"}
# Enough to tell people who share a number from each other, few enough for one batch.
MOST_CARDS: Final = 5
MOST_COMMANDS: Final = 50  # of a batch
MOST_CONTACTS: Final = 2000  # of a larger company these are named and nobody is let go
# The code of this error is empty.
NOT_FOUND: Final = "not found"


@dataclass(frozen=True, slots=True)
class Card:
    """A contact, company or lead, and the company of a contact."""

    kind: str
    id: str
    fields: Mapping[str, object]
    company: Mapping[str, object]

    @property
    def numbers(self) -> Sequence[str]:
        """As somebody wrote them."""
        return [text(each.get("VALUE")) for each in objects(self.fields.get("PHONE"))]


async def find_cards(
    portal: Portal, phone: str, deadline: float
) -> tuple[Sequence[Card], Sequence[Mapping[str, object]]]:
    """Cards that may have this number, and what the portal's telephony says of it. Raises as `Portal.call`."""
    values = [(f"values[{number}]", digits) for number, digits in enumerate(_spellings(phone))]
    found = await _batch(
        portal,
        {
            "ids": _command("crm.duplicate.findbycomm", [("type", "PHONE"), *values]),
            "who": _command("telephony.externalCall.searchCrmEntities", [("PHONE_NUMBER", phone)]),
        },
        deadline,
        needed=["ids"],
    )
    ids = mapping(found.get("ids"))  # an empty list when nobody was found
    cards = await cards_of(portal, ids, deadline) if ids else []
    return cards, objects(found.get("who"))


async def _batch(
    portal: Portal, commands: Mapping[str, str], deadline: float, *, needed: Collection[str]
) -> Mapping[str, object]:
    """The results of a batch by name; a command that failed has none.

    Raises:
        CrmUnavailable, CrmAuthFailed, CrmRejected: the batch failed, or every command of `needed`, one of them not
            because nothing is there.
    """
    body = await portal.call("batch", {"halt": 0, "cmd": commands}, deadline=deadline, repeatable=True)
    found = mapping(body.get("result"))
    results, errors = mapping(found.get("result")), mapping(found.get("result_error"))
    failed = [mapping(errors[name]) for name in needed if name in errors]
    grave = [each for each in failed if text(each.get("error_description")).lower() != NOT_FOUND]
    if grave and not any(name in results for name in needed):
        raise refusal(grave[0])
    return results


async def cards_of(portal: Portal, ids: Mapping[str, object], deadline: float) -> Sequence[Card]:
    """The cards of these ids by kind, contacts with their companies. Raises as `Portal.call`."""
    wanted = [
        (kind, number)
        for kind in ("CONTACT", "COMPANY", "LEAD")
        for each in _first(ids.get(kind))
        if (number := numeric_id(each))
    ]
    commands = {f"{kind}{number}": _command(f"crm.{kind.lower()}.get", [("id", number)]) for kind, number in wanted}
    cards = set(commands)
    commands |= {
        f"of{number}": f"crm.company.get?id=$result[CONTACT{number}][COMPANY_ID]"
        for kind, number in wanted
        if kind == "CONTACT"
    }
    found = await _batch(portal, commands, deadline, needed=cards)
    return [
        Card(kind, number, mapping(found.get(f"{kind}{number}")), mapping(found.get(f"of{number}")))
        for kind, number in wanted
        if mapping(found.get(f"{kind}{number}"))
    ]


async def company_cards(portal: Portal, number: str, deadline: float) -> tuple[Sequence[Card], bool]:
    """The cards of a company and of its contacts, and whether these are all; none when there is no such company.

    A contact of several companies belongs to the one on his own card, as in `cards_of`. Raises as `Portal.call`.
    """
    query = [("id", number)]
    found = await _batch(
        portal,
        {"card": _command("crm.company.get", query), "ids": _command("crm.company.contact.items.get", query)},
        deadline,
        needed=["card"],
    )
    company, listed = mapping(found.get("card")), found.get("ids")
    if identifier(company.get("ID")) != number:
        return [], False
    ids = list(dict.fromkeys(numeric_id(each.get("CONTACT_ID")) for each in objects(listed)))
    cards = [Card("COMPANY", number, company, {})]
    whole = isinstance(listed, list) and "" not in ids and len(ids) <= MOST_CONTACTS
    for begin in range(0, min(len(ids), MOST_CONTACTS), MOST_COMMANDS):
        wanted = ids[begin : begin + MOST_COMMANDS]
        commands = {f"CONTACT{each}": _command("crm.contact.get", [("id", each)]) for each in wanted if each}
        people = await _batch(portal, commands, deadline, needed=set(commands))
        whole = whole and people.keys() == commands.keys()
        cards += [
            Card("CONTACT", name.removeprefix("CONTACT"), mapping(person), company)
            for name, person in people.items()
            if identifier(mapping(person).get("COMPANY_ID")) == number
        ]
    return cards, whole


def to_profile(
    cards: Sequence[Card],
    who: Sequence[Mapping[str, object]],
    *,
    phone: str,
    url: str,
    agents: Mapping[str, str],
    country: str,
) -> Profile | None:
    """The first card one of whose numbers this is, as a profile; contacts come before companies and leads.

    Args:
        who: What the portal's own search of telephony says: who is responsible, with his extension.
        phone: "" takes the first card as it is.
    """
    matching = [card for card in cards if not phone or any(same_number(each, phone) for each in card.numbers)]
    if not matching:
        return None
    card = matching[0]
    company = card.fields if card.kind == "COMPANY" else card.company
    person = card.fields if card.kind != "COMPANY" else {}
    read = [numbers(each, country) for each in card.numbers if each]
    person_id = {"CONTACT": card.id, "LEAD": f"{LEAD}{card.id}"}.get(card.kind, "")
    return Profile(
        source=SOURCE,
        external_id=person_id,
        names=Names(
            last_name=text(person.get("LAST_NAME")),
            first_name=text(person.get("NAME")),
            middle_name=text(person.get("SECOND_NAME")),
            enterprise_name=text(company.get("TITLE")) or text(person.get("COMPANY_TITLE")),
        ),
        company_id=identifier(company.get("ID")),
        phones=tuple(dict.fromkeys(each for found in read for each in found if each != phone)),
        # What cannot be read may be a number that we know: then nothing may be concluded from its absence.
        phones_complete=all(read),
        responsible=_responsible(card, who, agents),
        url=f"{url}/crm/{card.kind.lower()}/details/{card.id}/",
    )


def mark_of(profile: Profile) -> str:
    """How a task names the card it is about: `C_77`, `CO_12`, `L_3`."""
    if not profile.external_id:
        return f"CO_{profile.company_id}"
    lead = profile.external_id.removeprefix(LEAD)
    return f"L_{lead}" if lead != profile.external_id else f"C_{profile.external_id}"


def _responsible(card: Card, who: Sequence[Mapping[str, object]], agents: Mapping[str, str]) -> str:
    user = identifier(card.fields.get("ASSIGNED_BY_ID"))
    if user in agents:
        return agents[user]
    of_user = (mapping(each.get("ASSIGNED_BY")) for each in who)
    inner = (text(each.get("USER_PHONE_INNER")) for each in of_user if identifier(each.get("ID")) == user)
    return next((extension for extension in inner if extension), "")


def _spellings(phone: str) -> Sequence[str]:
    """How the number may stand in a card: what the portal takes for the same is not documented."""
    return list(dict.fromkeys((phone, *search_digits(phone), *dialled_digits(phone))))


def _command(method: str, parameters: Sequence[tuple[str, str]]) -> str:
    return f"{method}?{urlencode(parameters)}"


def _first(ids: object) -> Sequence[object]:
    return ids[:MOST_CARDS] if isinstance(ids, list) else []
