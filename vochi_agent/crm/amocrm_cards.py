"""What amoCRM's cards mean: whose card counts, who is behind it. Pure. Source: the vendor's PHP client."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from vochi_agent.crm.fields import identifier, numbers, objects, same_number, text
from vochi_agent.customers.model import Names, Profile

__all__ = ["SOURCE", "choose", "is_of", "latest", "to_profile"]

SOURCE: Final = "amocrm"


def choose(cards: Sequence[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The card that has this number: of several the one changed last."""
    return max((card for card in cards if is_of(card, phone)), key=_changed, default=None)


def latest(cards: Sequence[Mapping[str, object]], known: Collection[str]) -> Sequence[str]:
    """Ids of those cards that were asked for, the one changed last first."""
    ids = (identifier(card.get("id")) for card in sorted(cards, key=_changed, reverse=True))
    return [each for each in ids if each in known]


def to_profile(
    contact: Mapping[str, object] | None,
    company: Mapping[str, object] | None,
    *,
    phone: str,
    url: str,
    agents: Mapping[str, str],
    country: str,
) -> Profile:
    """A contact and his company, or a company alone, as a profile."""
    person, firm = contact or {}, company or {}
    last_name, first_name = text(person.get("last_name")), text(person.get("first_name"))
    contact_id, company_id = identifier(person.get("id")), identifier(firm.get("id"))
    read = [numbers(each, country) for each in _numbers(contact or firm) if each]
    kind, card_id = ("contacts", contact_id) if contact_id else ("companies", company_id)
    manager = identifier(person.get("responsible_user_id")) or identifier(firm.get("responsible_user_id"))
    return Profile(
        source=SOURCE,
        external_id=contact_id,
        names=Names(
            # Where the parts are empty, people have written everything into the one field.
            last_name=last_name if last_name or first_name else text(person.get("name")),
            first_name=first_name,
            enterprise_name=text(firm.get("name")),
        ),
        company_id=company_id,
        phones=tuple(dict.fromkeys(each for found in read for each in found if each != phone)),
        # What cannot be read may be a number that we know: then nothing may be concluded from its absence.
        phones_complete=all(read),
        responsible=agents.get(manager, ""),
        url=f"{url}/{kind}/detail/{card_id}",
    )


def is_of(card: Mapping[str, object], phone: str) -> bool:
    """Whether the card counts and has this number."""
    return (
        bool(identifier(card.get("id")))
        and card.get("is_deleted") is not True
        and any(same_number(each, phone) for each in _numbers(card))
    )


def _changed(card: Mapping[str, object]) -> tuple[int, str]:
    updated = card.get("updated_at")
    return (updated if isinstance(updated, int) else 0, identifier(card.get("id")))


def _numbers(card: Mapping[str, object]) -> Sequence[str]:
    # `custom_fields_values` is null on a card without any.
    fields = objects(card.get("custom_fields_values"))
    phones = [field for field in fields if field.get("field_code") == "PHONE"]
    return [text(value.get("value")) for field in phones for value in objects(field.get("values"))]
