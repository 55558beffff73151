"""A corporate client out of the profiles of its card and of its contacts, the same for every CRM. Pure."""

from collections.abc import Iterable

from vochi_agent.customers.model import Company, Profile

__all__ = ["company_of"]


def company_of(source: str, company_id: str, profiles: Iterable[Profile], *, whole: bool) -> Company:
    """The company with every number of these profiles.

    Nobody at all contradicts the call that brought us here, and a number that nobody can read may be one that we know:
    then the company is not complete.

    Args:
        profiles: Of the company's own card, when it has numbers, and of its contacts, with all their numbers.
        whole: The CRM listed all of them.
    """
    contacts: dict[str, Profile] = {}
    for profile in profiles:
        whole = whole and profile.phones_complete
        contacts.update(dict.fromkeys(profile.phones, profile))
    return Company(source=source, company_id=company_id, contacts=contacts, complete=whole and bool(contacts))
