"""Handset texts: the right parts, in order, harmless and never too wide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.customers.model import Names
from vochi_agent.customers.names import caller_name, clean, compose, cut, printable

ALL_PARTS = ["customer", "line", "shop"]
PERSON = Names(last_name="Тестов", first_name="Тест", middle_name="Тестович")
COMPANY = Names(last_name="Контактова", first_name="Анна", enterprise_name="Ромашка")
STRANGER = Names()


def shown(parts: list[str], names: Names, *, shop: str = "Салон 1", width: int = 60) -> str:
    return caller_name(parts, names, label="МТС Центр", shop=shop, number="+375 (29) 000-00-11", width=width)


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

    assert compose(parts, width=20) == "Рома | МТС | Сало"
    assert compose(parts, width=12) == "Рома | МТС"
    assert compose(parts, width=8) == "Ромашка"
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
