"""Handset texts: the right parts, in order, harmless and never too wide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.customers.charsets import Charset
from vochi_agent.customers.model import Names
from vochi_agent.customers.names import CallerName, Handset, clean, compose, cut, printable

CHARSETS: list[Charset] = ["utf-8", "latin", "ascii"]
ALL_PARTS = ["customer", "line", "shop"]
PERSON = Names(last_name="Тестов", first_name="Тест", middle_name="Тестович")
COMPANY = Names(last_name="Контактова", first_name="Анна", enterprise_name="Ромашка")
STRANGER = Names()


def shown(parts: list[str], names: Names, *, shop: str = "Салон 1", width: int = 60) -> str:
    name = CallerName(parts=parts, names=names, label="МТС Центр", shop=shop, number="+375 (29) 000-00-11")
    return name.on(Handset(width=width))


@pytest.mark.parametrize(
    ("parts", "names", "wanted"),
    [
        (ALL_PARTS, PERSON, "Тестов Тест | МТС Центр | Салон 1"),
        (ALL_PARTS, COMPANY, "Ромашка | МТС Центр | Салон 1"),
        (ALL_PARTS, STRANGER, "МТС Центр | Салон 1"),
        (["shop", "customer"], COMPANY, "Салон 1 | Ромашка"),
        (["company", "person"], COMPANY, "Ромашка | Контактова Анна"),
        (["company", "person"], PERSON, "Тестов Тест"),
        (["customer", "number"], STRANGER, "+375 (29) 000-00-11"),
        (["customer"], STRANGER, ""),
        (["customer", "company"], COMPANY, "Ромашка"),
        ([], COMPANY, ""),
    ],
)
def test_the_parts_stand_in_the_order_of_the_line_and_empty_ones_are_left_out(
    parts: list[str], names: Names, wanted: str
) -> None:
    assert shown(parts, names) == wanted


def test_a_line_without_a_shop_shows_no_empty_part() -> None:
    assert shown(ALL_PARTS, PERSON, shop="") == "Тестов Тест | МТС Центр"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('ООО "Ромашка"', "ООО Ромашка"),
        ("ООО «Рога и Копыта»", "ООО Рога и Копыта"),
        ('АО"Вектор"', "АО Вектор"),
        ("Пётр О'Нил", "Пётр О'Нил"),
        ("д’Артаньян", "д'Артаньян"),
        ("'Ромашка'", "Ромашка"),
        ("Анна\r\nEXEC System id", "Анна EXEC System id"),
        ("Анна | Склад", "Анна Склад"),
        ("<b>Анна</b>", "b Анна /b"),
        ("Анна\u202eаннА\u200b", "АннааннА"),
        ("a\\b\x00c", "a b c"),
        ("\ud83dИван", "Иван"),
        ("И\u0306ван", "Йван"),
        (" \t ", ""),
        ("🌼 Ромашка", "🌼 Ромашка"),
    ],
)
def test_what_breaks_a_header_is_taken_out_of_a_part(text: str, wanted: str) -> None:
    assert clean(text) == wanted


def test_printable_keeps_quotes_but_not_line_ends() -> None:
    assert printable('ООО "Ромашка"\n<склад>') == 'ООО "Ромашка" <склад>'


@pytest.mark.parametrize(
    ("text", "width", "wanted"),
    [
        ("Ромашка", 7, "Ромашка"),
        ("Ромашка и партнёры", 10, "Ромашка и"),
        ("Ромашка (склад)", 9, "Ромашка"),
        ("Ромашка, склад", 8, "Ромашка"),
        ("Ру Электросбыт", 10, "Ру Электро"),
        ("Иванов Й" + "\u0323", 8, "Иванов"),  # not between a letter and its accent
        ("Электросбыт", 0, ""),
    ],
)
def test_a_text_is_cut_at_a_sensible_place(text: str, width: int, wanted: str) -> None:
    assert cut(text, width) == wanted


def test_the_longest_part_is_cut_first() -> None:
    name = compose(["Производственное объединение Электросбыт", "МТС Центр", "Салон 1"], width=32)

    assert name == "Производст | МТС Центр | Салон 1"


def test_a_phone_too_narrow_for_all_parts_loses_the_last_ones() -> None:
    parts = ["Ромашка", "МТС Центр", "Салон 1"]

    assert compose(parts, width=24) == "Ромашк | МТС Це | Салон"
    assert compose(parts, width=20) == "Ромашка | МТС Центр"
    assert compose(parts, width=12) == "Ромашка"
    assert compose(parts, width=3) == "Ром"


hostile = st.text(max_size=80) | st.text(alphabet='аб"<>|\\\n\u202e\u0301 🌼', max_size=80)


@given(st.lists(hostile, max_size=6), st.integers(min_value=1, max_value=100))
def test_no_text_makes_a_name_too_wide_or_dangerous(parts: list[str], width: int) -> None:
    name = compose(parts, width=width)

    assert len(name) <= width
    assert not set('"<>\\\r\n\x00\u202e\u200f') & set(name)
    assert name.count("|") == max(0, len(name.split(" | ")) - 1)
    assert name == name.strip()


@given(hostile)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


# ---------------------------------------------------------------- telephones

LONG = Names(enterprise_name="ООО «Производственное объединение Электросбыт»")


@pytest.mark.parametrize(
    ("charset", "width", "one_of_lines", "wanted"),
    [
        ("utf-8", 60, True, "ООО Производственное объединение | МТС Центр | Салон 1"),
        ("utf-8", 32, True, "ООО Произв | МТС Центр | Салон 1"),
        ("utf-8", 20, True, "ООО Прои | МТС Центр"),
        ("utf-8", 12, True, "МТС Центр"),
        ("utf-8", 5, True, "МТС"),
        ("utf-8", 32, False, "ООО Производственное объединение"),
        ("latin", 32, True, "OOO Proiz | MTS Tsentr | Salon 1"),
        ("ascii", 12, True, "MTS Tsentr"),
    ],
)
def test_with_several_lines_the_line_survives_else_the_customer(
    charset: Charset, width: int, one_of_lines: bool, wanted: str
) -> None:
    name = CallerName(parts=ALL_PARTS, names=LONG, label="МТС Центр", shop="Салон 1", one_of_lines=one_of_lines)

    assert name.on(Handset(charset, width)) == wanted


def test_a_stranger_on_one_of_several_lines_shows_the_line() -> None:
    name = CallerName(parts=ALL_PARTS, names=STRANGER, label="МТС Центр", shop="Салон 1", one_of_lines=True)

    assert name.on(Handset("latin", 11)) == "MTS Tsentr"


def test_the_legal_form_goes_when_it_is_not_wanted() -> None:
    name = CallerName(parts=["customer"], names=LONG, legal_forms=False)

    assert name.on(Handset()) == "Производственное объединение Электросбыт"
    assert name.on(Handset("ascii", 16)) == "Proizvodstvennoy"[:16]


@given(st.lists(hostile, min_size=3, max_size=3), st.integers(min_value=1, max_value=80), st.sampled_from(CHARSETS))
def test_no_text_shows_a_telephone_what_it_cannot_show(parts: list[str], width: int, charset: Charset) -> None:
    name = CallerName(
        parts=ALL_PARTS, names=Names(last_name=parts[0]), label=parts[1], shop=parts[2], one_of_lines=True
    ).on(Handset(charset, width))

    assert len(name) <= width
    assert not set('"<>\\\r\n\x00\u202e\u200f') & set(name)
    assert charset != "ascii" or name.isascii()
    assert charset == "utf-8" or not any("а" <= char <= "я" for char in name.lower())
