"""Telephone numbers: what a line delivers or an agent dials becomes E.164, E.164 becomes what people read. Pure.

Invariant: an answer is None or `+` and 7 to 15 digits, *possible* by phonenumbers, which is less than *valid*. A wrong
number is worse than none: it would join two strangers into one customer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import phonenumbers
from phonenumbers import CountryCodeSource, PhoneNumber, PhoneNumberFormat, PhoneNumberType, ValidationResult

__all__ = ["NumberRule", "dialled", "display", "mask", "national", "to_e164"]

CACHED: Final = 4096
# Shorter ends would be those of other numbers too.
SHORTEST_NATIONAL: Final = 7
# Longer ones are no numbers; the cache must not keep what a line sends by the kilobyte.
LONGEST_RAW: Final = 40
LONGEST: Final = 15  # digits of E.164
LONGEST_CODE: Final = 3  # digits of a country code
# Extensions and short services have up to five digits, some countries have subscribers of as many: these are no phones.
FEWEST_NATIONAL: Final = 6
# Shorter foreign numbers written without a plus cannot be told from local ones.
FEWEST_FOREIGN: Final = 10

# Between digits people and their telephones write hyphens and spaces of many kinds: iOS those that never break a line.
_RAW = re.compile(r"\(?\+?\(?[0-9][0-9 \u00a0\u2009\u202f().\-\u2010-\u2013/]*")
# Marks of the reading direction stand around what was copied from a screen.
_MARKS: Final = "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_RULE = re.compile(r"((?:\+?[0-9]{1,15})?)\{([0-9]{1,2})\}")
_EIGHT_AND_TEN = re.compile(r"8[0-9]{10}")
_NOT_DIGITS = re.compile(r"[^0-9]")
# Digits per group after the country code, by country code and length; other numbers are grouped by phonenumbers.
_GROUPS: Final = {("375", 9): (2, 3, 2, 2), ("380", 9): (2, 3, 2, 2), ("7", 10): (3, 3, 2, 2), ("1", 10): (3, 3, 4)}


@dataclass(frozen=True, slots=True)
class NumberRule:
    """`<prefix>{N}`: the last N digits of what a line delivers, with the prefix before them.

    Attributes:
        prefix: Digits, with or without a leading plus; may be empty.
        digits: N.
    """

    prefix: str
    digits: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `+375{9}`.

        Raises:
            ValueError: the text is no rule; the message says what is wrong.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'{text!r} is no number rule: expected a prefix and a count, such as "+375{{9}}"')
        if not 1 <= int(match[2]) <= LONGEST:
            raise ValueError(f"{text!r} is no number rule: a number has 1 to {LONGEST} digits")
        return cls(match[1], int(match[2]))

    def apply(self, digits: str) -> str:
        """The number this rule makes of at least N digits."""
        return self.prefix + digits[-self.digits :]

    def region(self, country: str) -> str:
        """Where the line's national numbers belong: the country of the prefix, else of the enterprise."""
        return (self.prefix.startswith("+") and _region(self.prefix.removeprefix("+"))) or country


def to_e164(raw: str, *, country: str, rules: Sequence[NumberRule] = ()) -> str | None:
    """The number of somebody who calls in; None when hidden, internal or no possible number.

    A rule is for national forms: it never touches a number that is international already (`+375…`, `0048…`, `81048…`
    or the bare `79000000011` on a line of Belarus), nor one with fewer digits than it keeps. The first rule that gives
    a possible number wins.

    Args:
        raw: As the PBX has it.
        country: ISO 3166 code; how national numbers are read.
        rules: `number_rule` of the line it came in by.
    """
    return _inbound(raw, country, tuple(rules)) if len(raw) <= LONGEST_RAW else None


def dialled(raw: str, *, country: str, dial_prefix: str = "") -> str | None:
    """The number an agent dialled; rules of lines are for what comes in and play no part.

    Args:
        raw: The digits the trunk was asked for.
        country: ISO 3166 code; how national numbers are read.
        dial_prefix: What the dialplan puts before the number on this line; it may be missing from `raw`.
    """
    if len(raw) > LONGEST_RAW:
        return None
    bare = raw.strip()
    if dial_prefix and bare.startswith(dial_prefix):
        number = _inbound(bare.removeprefix(dial_prefix), country, ())
        if number:
            return number
    return _inbound(bare, country, ())


@lru_cache(CACHED)
def display(number: str) -> str:
    """E.164 as people write it, `+375 (29) 000-00-11`; anything else (an extension) as it is."""
    head, rest = _shown(number)
    return head + rest


@lru_cache(CACHED)
def national(number: str) -> str:
    """The digits of an E.164 number that every spelling of it ends with; a short one's are all of its digits."""
    digits = number.removeprefix("+")
    try:
        found = phonenumbers.national_significant_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return digits
    return found if len(found) >= SHORTEST_NATIONAL else digits


@lru_cache(CACHED)
def mask(number: str) -> str:
    """E.164 for chats that must not see it, `+375 (29) ***-**-11`; an extension as it is."""
    head, rest = _shown(number)
    return head + re.sub(r"[0-9](?=(?:[^0-9]*[0-9]){2})", "*", rest)


@lru_cache(CACHED)
def _inbound(raw: str, country: str, rules: tuple[NumberRule, ...]) -> str | None:
    bare = raw.strip(_MARKS).strip()
    if not _RAW.fullmatch(bare):
        return None  # "", anonymous, <unknown>, s, restricted, sip:…: whatever is no number has no digits alone
    digits = _NOT_DIGITS.sub("", bare)
    if bare.startswith(("+", "(+")):
        found = _plus(digits)
        if found:
            return _e164(found)
        if _region(digits):
            return None
        # No country code begins so: a plus before a national number, as one operator's `+0290000011`.
    if digits.startswith("00"):
        return _e164(_plus(digits.removeprefix("00")))
    for made in _by_rules(digits, country, rules):
        number = _complete(made.removeprefix("+")) if made.startswith("+") else _e164(_national(made, country))
        if number:
            return number
    return _e164(_national(digits, country))


def _by_rules(digits: str, country: str, rules: tuple[NumberRule, ...]) -> Iterator[str]:
    for rule in rules:
        if not rule.digits <= len(digits) <= LONGEST:
            continue
        region = rule.region(country)
        own = _own_with_code(digits, country) or _own_with_code(digits, region)
        international = own or _foreign(digits, region) or _with_exit_code(digits, region)
        if len(digits) == rule.digits or not international:
            yield rule.apply(digits)


def _national(digits: str, country: str) -> PhoneNumber | None:
    """A number without a plus, as somebody in that country would dial it."""
    own = _own_with_code(digits, country)
    if own:
        return own
    foreign = _foreign(digits, country)
    if foreign:
        return foreign
    return _possible(digits, country) if len(digits) >= FEWEST_NATIONAL else None


def _own_with_code(digits: str, country: str) -> PhoneNumber | None:
    """`375290000011` in Belarus: the country's own code stands first."""
    found = _possible(digits, country)
    without_plus = CountryCodeSource.FROM_NUMBER_WITHOUT_PLUS_SIGN
    return found if found and found.country_code_source == without_plus else None


def _with_exit_code(digits: str, country: str) -> PhoneNumber | None:
    """`81048…` in Belarus: what one dials to get out of the country stands first."""
    found = _possible(digits, country)
    return found if found and found.country_code_source == CountryCodeSource.FROM_NUMBER_WITH_IDD else None


def _foreign(digits: str, country: str) -> PhoneNumber | None:
    """A number of another country without its plus, when it cannot be one of this country's subscribers."""
    own = _possible(digits, country)
    if _with_exit_code(digits, country) or (own and _is_subscriber(own)):
        return None
    if country == "BY" and _EIGHT_AND_TEN.fullmatch(digits):
        # Belarus dials 80 and nine digits; 8 and ten other digits is how Russia writes its own numbers. Only the
        # free numbers of Belarus (8 801 …) have this length too.
        free = own and phonenumbers.number_type(own) == PhoneNumberType.TOLL_FREE
        return None if free else _possible(digits, "RU")
    return _plus(digits) if len(digits) >= FEWEST_FOREIGN and _complete(digits) else None


def _plus(digits: str) -> PhoneNumber | None:
    return _possible("+" + digits, None)


def _complete(digits: str) -> str | None:
    """E.164 of digits that are just that, all of them."""
    number = _e164(_plus(digits))
    # A zero that phonenumbers drops after the country code belongs to somebody's national form.
    return number if number == "+" + digits else None


def _possible(text: str, country: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, country, keep_raw_input=True)
    except phonenumbers.NumberParseException:
        return None
    # `is_possible_number` would also take numbers that can only be dialled within one town.
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if possible else None


def _is_subscriber(number: PhoneNumber) -> bool:
    kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
    reasons = (phonenumbers.is_possible_number_for_type_with_reason(number, kind) for kind in kinds)
    return ValidationResult.IS_POSSIBLE in reasons


def _region(digits: str) -> str | None:
    """The country whose code stands first; of several that share a code, the main one."""
    if digits.startswith("0"):
        return None
    codes = (int(digits[:length]) for length in range(1, LONGEST_CODE + 1))
    return next((regions[0] for code in codes if (regions := phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code))), None)


def _e164(number: PhoneNumber | None) -> str | None:
    if number is None:
        return None
    text = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    # Some numbering plans are wider than E.164.
    return text if _E164.fullmatch(text) else None


def _shown(number: str) -> tuple[str, str]:
    """The part everybody may see, with the first group in brackets, and the rest."""
    if not _E164.fullmatch(number):
        return number, ""
    for (code, length), groups in _GROUPS.items():
        if number.startswith("+" + code) and len(number) == 1 + len(code) + length:
            return _grouped(code, number.removeprefix("+" + code), groups)
    try:
        text = phonenumbers.format_number(phonenumbers.parse(number), PhoneNumberFormat.INTERNATIONAL)
    except phonenumbers.NumberParseException:
        return number[:4], number[4:]
    code, _, national = text.partition(" ")
    first, space, rest = national.partition(" ")
    return (f"{code} ({first})", space + rest) if rest else (f"{code} ", first)


def _grouped(code: str, national: str, groups: Sequence[int]) -> tuple[str, str]:
    ends = [sum(groups[: index + 1]) for index in range(len(groups))]
    first, *others = (national[end - size : end] for end, size in zip(ends, groups, strict=True))
    return f"+{code} ({first})", " " + "-".join(others)
