"""What RetailCRM's answers mean: is it an answer at all, whose card counts, which company is the caller's. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from vochi_agent.crm.fields import identifier, mapping, numbers, objects, same_number, text
from vochi_agent.crm.http import Answer, json_object
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected

__all__ = ["API", "SOURCE", "choose_company", "choose_customer", "companies_of", "interpret", "rank", "to_profile"]

API: Final = "/api/v5"
SOURCE: Final = "retailcrm"
MAX_MESSAGE: Final = 200  # characters of a CRM's own words that our messages repeat


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for 404 "Not found".

    Raises:
        CrmUnavailable: no JSON object came.
        CrmAuthFailed: the key is missing or wrong. The texts are the API's; its status for a wrong key is not
            documented.
        CrmRejected: any other `success:false`, which also comes with status 200.
    """
    body = json_object(answer)
    if body.get("success") is True:
        return body
    message = text(body.get("errorMsg"))[:MAX_MESSAGE] or f"status {answer.status} without a reason"
    if "apikey" in message.lower() or "account does not exist" in message.lower():
        raise CrmAuthFailed(message)
    if answer.status == 404 and message.lower().startswith("not found"):  # noqa: PLR2004 - HTTP
        return {}
    raise CrmRejected(message)


def choose_customer(customers: Iterable[Mapping[str, object]], phone: str) -> Mapping[str, object] | None:
    """The card that has this number: of several the one changed last."""
    matching = [
        customer
        for customer in customers
        if identifier(customer.get("id")) and any(same_number(number, phone) for number in _numbers(customer))
    ]
    # `updatedAt` is `Y-m-d H:i:s`: text order is time order. The id makes the choice the same every time.
    return max(matching, key=lambda card: (text(card.get("updatedAt")), rank(card)), default=None)


def companies_of(found: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The companies of a search by contact; none when there is more than a page: the server ignored the filter."""
    pages = mapping(found.get("pagination")).get("totalPageCount")
    if isinstance(pages, int) and pages > 1:
        return ()
    return [company for company in objects(found.get("customersCorporate")) if identifier(company.get("id"))]


def choose_company(
    companies: Sequence[Mapping[str, object]], customer_id: str, members: Mapping[str, Collection[str]]
) -> Mapping[str, object] | None:
    """The company of a contact: one that is proved to be his; an only one without proof to the contrary.

    The search does not name the contacts it found a company by, and a server that ignores its filter finds everybody's.
    He is proved a contact as the main one on the company's card, or by its list of contacts. Of several that are proved
    the one he is the main contact of counts, else the oldest.

    Args:
        companies: What the search found.
        customer_id: The contact.
        members: The contacts of companies, by id, as far as they were asked for.
    """

    def is_main(company: Mapping[str, object]) -> bool:
        contact = mapping(mapping(company.get("mainCustomerContact")).get("customer"))
        return identifier(contact.get("id")) == customer_id

    def proved(company: Mapping[str, object]) -> bool | None:
        known = members.get(identifier(company.get("id")))
        return customer_id in known if known is not None else (True if is_main(company) else None)

    sure = [company for company in companies if proved(company)]
    if not sure and len(companies) == 1 and proved(companies[0]) is None:
        return companies[0]
    return min(sure, key=lambda company: (not is_main(company), rank(company)), default=None)


def to_profile(
    customer: Mapping[str, object],
    company: Mapping[str, object] | None,
    *,
    phone: str,
    url: str,
    agents: Mapping[str, str],
    country: str,
) -> Profile:
    """A customer card and, for a contact, his company's card as a profile; without `phone` all numbers are `phones`."""
    company = company or {}
    read = [numbers(each, country) for each in _numbers(customer)]
    customer_id = identifier(customer.get("id"))
    manager = identifier(customer.get("managerId")) or identifier(company.get("managerId"))
    return Profile(
        source=SOURCE,
        external_id=customer_id,
        names=Names(
            last_name=text(customer.get("lastName")),
            first_name=text(customer.get("firstName")),
            middle_name=text(customer.get("patronymic")),
            enterprise_name=text(company.get("nickName")) or text(mapping(company.get("mainCompany")).get("name")),
        ),
        company_id=identifier(company.get("id")),
        phones=tuple(dict.fromkeys(each for found in read for each in found if each != phone)),
        # What cannot be read may be a number that we know: then nothing may be concluded from its absence.
        phones_complete=isinstance(customer.get("phones"), list | dict) and all(read),
        responsible=agents.get(manager, ""),
        url=f"{url}/customers/{customer_id}",
    )


def rank(card: Mapping[str, object]) -> int:
    """The order in which cards were made: a number that grows."""
    number = identifier(card.get("id"))
    return int(number) if number.isascii() and number.isdigit() else 0


def _numbers(customer: Mapping[str, object]) -> Sequence[str]:
    written = (text(phone.get("number")) for phone in objects(customer.get("phones")))
    return [number for number in written if any(map(str.isdecimal, number))]
