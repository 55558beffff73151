"""What MoySklad's answers mean: is it an answer at all, whose card counts, who is behind it. Pure.

Source: the vendor's documentation of JSON API 1.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vochi_agent.crm.fields import identifier, mapping, numbers, objects, same_number, text
from vochi_agent.crm.http import Answer, json_object
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected

__all__ = ["OF", "SOURCE", "choose", "contact_of", "contacts_of", "interpret", "owner_of", "size_of", "to_profile"]

SOURCE: Final = "moysklad"
# Between the ids of a counterparty and of his contact person.
OF: Final = "/"
MAX_MESSAGE: Final = 200
NOT_FOUND, UNAUTHORIZED, FORBIDDEN = 404, 401, 403
# 1056 the key is wrong; 1016 and 1017 the tariff or the rights do not allow it; 55008 no telephony is installed.
AUTH_CODES: Final = frozenset({1056})


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for 404 and for an answer without a body.

    Raises:
        CrmUnavailable: no JSON object came.
        CrmAuthFailed: the key is wrong.
        CrmRejected: anything else that the API says no to.
    """
    if answer.status == NOT_FOUND or (answer.status < 300 and not answer.body.strip()):  # noqa: PLR2004 - HTTP
        return {}
    if not answer.body.strip():
        raise CrmRejected(f"status {answer.status} without a reason")
    body = json_object(answer)
    errors = objects(body.get("errors"))
    if not errors and answer.status < 300:  # noqa: PLR2004 - as above
        return body
    first = errors[0] if errors else {}
    message = text(first.get("error"))[:MAX_MESSAGE] or f"status {answer.status} without a reason"
    if answer.status in (UNAUTHORIZED, FORBIDDEN) or first.get("code") in AUTH_CODES:
        raise CrmAuthFailed(message)
    raise CrmRejected(message)


def choose(rows: Iterable[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The counterparty one of whose numbers this is: living before archived, of several the one changed last."""
    matching = [
        row
        for row in rows
        if identifier(row.get("id"))
        and (same_number(text(row.get("phone")), phone) or contact_of(row, phone) is not None)
    ]
    return max(
        matching,
        key=lambda row: (row.get("archived") is not True, text(row.get("updated")), identifier(row.get("id"))),
        default=None,
    )


def to_profile(
    counterparty: Mapping[str, object],
    contact: Mapping[str, object] | None,
    *,
    phone: str,
    extensions: Mapping[str, str],
    country: str,
) -> Profile:
    """A counterparty, or one of his contact persons, as a profile.

    A person is kept under the last name whole: the API has one field for it. A contact person has an id only together
    with his counterparty's.

    Args:
        phone: The number that was asked for; it is not listed again.
    """
    counterparty_id, name = identifier(counterparty.get("id")), text(counterparty.get("name"))
    company = contact is not None or text(counterparty.get("companyType")).startswith(("legal", "entrepreneur"))
    person = text(contact.get("name")) if contact else "" if company else name
    person_id = (
        f"{counterparty_id}{OF}{identifier(contact.get('id'))}" if contact else "" if company else counterparty_id
    )
    written = text((contact or counterparty).get("phone"))
    known = numbers(written, country)
    return Profile(
        source=SOURCE,
        external_id=person_id,
        names=Names(last_name=person, enterprise_name=name if company else ""),
        company_id=counterparty_id if company else "",
        phones=tuple(each for each in known if each != phone),
        # What cannot be read may be a number that we know: then nothing may be concluded from its absence.
        phones_complete=bool(known or not written),
        responsible=extensions.get(owner_of(counterparty), ""),
        url=text(mapping(counterparty.get("meta")).get("uuidHref")),
    )


def contacts_of(counterparty: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The contact persons that came with a counterparty's card."""
    return objects(mapping(counterparty.get("contactpersons")).get("rows"))


def contact_of(counterparty: Mapping[str, object], phone: str) -> Mapping[str, object] | None:
    """The contact person who has this number; None when it is the counterparty's own."""
    if same_number(text(counterparty.get("phone")), phone):
        return None
    return next((each for each in contacts_of(counterparty) if same_number(text(each.get("phone")), phone)), None)


def size_of(listed: object) -> int:
    """How many a list has, whatever part of it came; -1 when it does not say."""
    size = mapping(mapping(listed).get("meta")).get("size")
    return size if isinstance(size, int) else -1


def owner_of(counterparty: Mapping[str, object]) -> str:
    """Id of the employee who is responsible, "" for none."""
    owner = mapping(counterparty.get("owner"))
    return identifier(owner.get("id")) or text(mapping(owner.get("meta")).get("href")).rpartition("/")[2]
