"""Which numbers somebody outside the PBX may have called: a browser that reaches us must not run up a bill. Pure."""

import re
from collections.abc import Sequence
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumberType

from vochi_agent.errors import NotPossible

from .numbers import dialled

__all__ = ["outward"]

# What people and CRMs write numbers with; anything else would be a feature code, a letter, a second number.
WRITTEN: Final = re.compile(r"\s*\+?[0-9\s().\-\u2010-\u2015]{1,40}\s*")
DEAR: Final = frozenset({PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.PERSONAL_NUMBER})


def outward(written: str, *, country: str, prefixes: Sequence[str] = ()) -> str:
    """The E.164 number of a click.

    Args:
        country: ISO 3166 code; numbers without a country are read as its own.
        prefixes: Beginnings of numbers that may be called, in E.164; empty: the country's own. A premium number has to
            stand under one that says more than its country.

    Raises:
        NotPossible: it is none, or must not be called; the text says which, without the number.
    """
    number = dialled(written, country=country) if WRITTEN.fullmatch(written) else None
    if number is None:
        raise NotPossible("that is no phone number")
    parsed = phonenumbers.parse(number)
    code = f"+{parsed.country_code}"
    allowed = prefixes or (f"+{phonenumbers.country_code_for_region(country)}",)
    fitting = [prefix for prefix in allowed if number.startswith(prefix)]
    if not fitting:
        raise NotPossible("numbers of that country are not called by a click (click_prefixes)")
    if phonenumbers.number_type(parsed) in DEAR and max(map(len, fitting)) <= len(code):
        raise NotPossible("premium numbers are not called by a click (click_prefixes)")
    return number
