"""How people name a caller in an answer to his card: «ООО Ромашка, Анна», «Петрова Анна». Pure.

Invariant: what could be a remark («перезвонил», «Спасибо», «Перезвонил, всё ок») is no name: better one name typed
again than a customer who is called «Спасибо».
"""

import re
from collections.abc import Mapping
from typing import Final

from vochi_agent.customers.legal_forms import without_legal_form
from vochi_agent.customers.names import printable

__all__ = ["named_in"]

LONGEST: Final = 200
MOST_WORDS: Final = 3
# One word of a person's name: a capital letter first, then letters, hyphens, apostrophes.
_NAME_WORD: Final = re.compile(r"[^\W\d_][^\W\d_'’.-]*(?:['’-][^\W\d_]+)*\.?")
_COMPANY: Final = re.compile(r"[\w«\"“„]")


def named_in(text: str) -> Mapping[str, str]:
    """The name columns of `customers` that a text gives; nothing when it names nobody.

    A part with a legal form is the company, else what stands before the comma. A person is «Фамилия Имя Отчество»,
    beside a company one word is enough: the first name.
    """
    if "\n" in text.strip() or len(text) > LONGEST:
        return {}
    parts = [part for part in map(str.strip, printable(text).split(",")) if part]
    match parts:
        case [only]:
            return {"enterprise_name": only} if _is_company(only) else _person(only, alone=True)
        case [first, second] if _is_company(first) and _is_company(second):
            return {}
        case [first, second]:
            company, person = (second, first) if _is_company(second) else (first, second)
            names = _person(person, alone=False)
            return {"enterprise_name": company, **names} if names and _may_be_company(company) else {}
        case _:
            return {}


def _is_company(text: str) -> bool:
    """It has a legal form, and something beside it."""
    return without_legal_form(text) not in (text, text.strip('«»"'))


def _may_be_company(text: str) -> bool:
    return bool(_COMPANY.match(text)) and not text[0].islower()


def _person(text: str, *, alone: bool) -> Mapping[str, str]:
    words = text.split()
    if not (2 if alone else 1) <= len(words) <= MOST_WORDS:
        return {}
    if not all(word[0].isupper() and _NAME_WORD.fullmatch(word) for word in words):
        return {}
    last, first, middle = ("", words[0], "") if len(words) == 1 else (*words, "")[:3]
    return {"last_name": last, "first_name": first, "middle_name": middle}
