"""Which numbers are one human's, for whoever wants to be forgotten. Pure."""

from collections.abc import Sequence

from .identity import CORPORATE, ids_of, is_corporate
from .model import Customer
from .parting import uid_of

__all__ = ["cards_of", "numbers_of_human"]


def numbers_of_human(row: Customer, kin: Sequence[Customer]) -> list[str]:
    """All numbers of the human behind a row.

    A company's numbers are those of its contacts: of them only the ones that share a card of a person with the row.

    Args:
        kin: All rows of the row's person or company.
    """
    if not is_corporate(uid_of(row)):
        return sorted({row.phone_e164, *(each.phone_e164 for each in kin)})
    cards = set(cards_of(row))
    return sorted({row.phone_e164, *(each.phone_e164 for each in kin if cards & set(cards_of(each)))})


def cards_of(row: Customer) -> list[tuple[str, str]]:
    """The cards of persons that a row is known by: source and id there."""
    return [
        (source, each) for source, ids in ids_of(row.meta).items() if not source.endswith(CORPORATE) for each in ids
    ]
