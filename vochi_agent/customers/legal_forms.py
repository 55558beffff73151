"""Companies without their legal form: `ООО "Ромашка"` is `Ромашка` on a handset of sixteen characters. Pure."""

import re
from typing import Final

__all__ = ["without_legal_form"]

# Belarus, Russia, Ukraine, Kazakhstan, and what foreign partners write behind the name.
_FORMS: Final = frozenset(
    {
        *("ООО", "ОДО", "АО", "ЗАО", "ОАО", "ПАО", "НАО", "ИП", "ЧП", "ЧУП", "ЧТУП", "ЧПУП", "ЧСУП", "ЧТПУП", "ЧПТУП"),
        *("УП", "РУП", "КУП", "ГУП", "МУП", "ФГУП", "СООО", "ИООО", "СЗАО", "ИЧУП", "АНО", "НКО", "КФХ"),
        *("ТОО", "ТОВ", "ФОП", "OOO", "LLC", "LTD", "GMBH", "INC", "LLP"),
    }
)
# Longer ones are told from names whatever their case; `Ип` may be a surname.
_SURE: Final = 3
_SPELLED_OUT: Final = re.compile(
    r"(?:общество с (?:ограниченной|дополнительной) ответственностью|индивидуальный предприниматель"
    r"|(?:открытое |закрытое |публичное )?акционерное общество"
    r"|частное (?:торгов\w* |производственн\w* )*унитарное предприятие)\b",
    re.IGNORECASE,
)
_LOOSE: Final = " ,;:-"
_EDGE: Final = " \t\"'«»“”„,.;:()-"


def without_legal_form(company: str) -> str:
    """The company's own name; a name that is nothing but a legal form stays as it is."""
    bare = _SPELLED_OUT.sub(" ", company)
    words = re.split(r'[\s"«»“”„]+', bare.strip(_LOOSE + "«»“”„\"'"))
    while len(words) > 1 and _is_form(words[0]):
        words.pop(0)
    while len(words) > 1 and _is_form(words[-1]):
        words.pop()
    own = " ".join(words).strip(_LOOSE)
    return own if own and not _is_form(own) else company


def _is_form(word: str) -> bool:
    bare = word.strip(_EDGE)
    return bare.upper() in _FORMS and (bare.isupper() or len(bare) >= _SURE)
