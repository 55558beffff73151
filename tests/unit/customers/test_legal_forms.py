"""Companies without their legal form."""

import pytest

from vochi_agent.customers.legal_forms import without_legal_form


@pytest.mark.parametrize(
    ("company", "own"),
    [
        ('ООО "Ромашка"', "Ромашка"),
        ("Ромашка, ООО", "Ромашка"),
        ("ЧТУП «Салон-1»", "Салон-1"),
        ('АО"Вектор"', "Вектор"),
        ("СП ООО Лес", "СП ООО Лес"),  # the form stands in the middle
        ("ИП Иванов И.И.", "Иванов И.И."),
        ("Общество с ограниченной ответственностью «Рога и Копыта»", "Рога и Копыта"),
        ("Индивидуальный предприниматель Иванов", "Иванов"),
        ("Romashka LLC", "Romashka"),
        ("Ип Ман", "Ип Ман"),
        ("АОРТА", "АОРТА"),
        ("ООО", "ООО"),
        ("ООО ЗАО", "ООО ЗАО"),
        ("Ромашка", "Ромашка"),
        ("", ""),
    ],
)
def test_the_legal_form_goes_and_the_name_stays(company: str, own: str) -> None:
    assert without_legal_form(company) == own
