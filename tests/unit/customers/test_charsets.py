"""What a telephone with few letters makes of a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.customers.charsets import fitted


@pytest.mark.parametrize(
    ("text", "latin", "plain"),
    [
        ("Щеглова Юлия", "Shcheglova Yuliya", "Shcheglova Yuliya"),
        ("Подъячев Ильич", "Podyachev Ilyich", "Podyachev Ilyich"),
        ("ЩЁЛК ЮГ", "SHCHYOLK YUG", "SHCHYOLK YUG"),
        ("Уладзімір Яўген Їжак", "Uladzimir Yaugen Yizhak", "Uladzimir Yaugen Yizhak"),
        ("ЇЖАК КИЇВ ЄВРОБУД ЉУБА", "YIZHAK KIYIV YEVROBUD LJUBA", "YIZHAK KIYIV YEVROBUD LJUBA"),
        ("Łódź Müller Straße", "Łódź Müller Straße", "Lodz Muller Strasse"),
        ("№ 5 — склад…", "No 5 - sklad...", "No 5 - sklad..."),
        ("🌼 Ромашка 👨‍👩‍👧", "Romashka", "Romashka"),
        ("Ｉｖａｎ", "Ivan", "Ivan"),
        ("王小明", "", ""),
        ("Иван 王", "Ivan", "Ivan"),
        ("И\u0306ван", "Yvan", "Yvan"),
        ("", "", ""),
    ],
)
def test_a_name_in_few_letters(text: str, latin: str, plain: str) -> None:
    assert fitted(text, "latin") == latin
    assert fitted(text, "ascii") == plain
    assert fitted(text, "utf-8") == text


@given(st.text(max_size=60))
def test_ascii_is_ascii_whatever_comes(text: str) -> None:
    assert fitted(text, "ascii").isascii()
