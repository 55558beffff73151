"""What an answer to a card names, and what it does not."""

import pytest

from vochi_agent.telegram.naming import named_in


@pytest.mark.parametrize(
    ("text", "company", "person"),
    [
        ("ООО Ромашка, Анна", "ООО Ромашка", ("", "Анна", "")),
        ("Анна, ООО Ромашка", "ООО Ромашка", ("", "Анна", "")),
        ("  Ромашка ,  Петрова   Анна Ивановна ", "Ромашка", ("Петрова", "Анна", "Ивановна")),
        ('ООО "Ромашка & Ко", Анна', 'ООО "Ромашка & Ко"', ("", "Анна", "")),
        ("«Ромашка», Анна", "«Ромашка»", ("", "Анна", "")),
        ("7 дней, Анна", "7 дней", ("", "Анна", "")),
        ("Петрова-Иванова Анна", None, ("Петрова-Иванова", "Анна", "")),
        ("О'Нил Шон", None, ("О'Нил", "Шон", "")),
    ],
)
def test_a_company_and_a_person_are_told_apart(text: str, company: str | None, person: tuple[str, str, str]) -> None:
    names = named_in(text)

    assert names.get("enterprise_name") == company
    assert (names["last_name"], names["first_name"], names["middle_name"]) == person


@pytest.mark.parametrize("text", ["ООО Ромашка", "ИП Иванов", "Ромашка ООО", "ОАО «Василёк»"])
def test_a_legal_form_alone_makes_a_company_and_leaves_the_person(text: str) -> None:
    assert named_in(text) == {"enterprise_name": text}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ",",
            ", ,",
            "ООО",
            "Спасибо",
            "Анна",
            "перезвонил",
            "петрова анна",
            "ок, понял",
            "Перезвонил, всё ок",
        ),
        *("Ромашка, анна", "ромашка, Анна", "ООО Ромашка, ООО Василёк", "Раз, Два, Три", "Петрова\nАнна", "👍, Анна"),
        *("А Б В Г", "Петрова Анна " + "Ж" * 200, "1, 2", "Петрова @anna", "http://x.example, Анна1"),
    ],
)
def test_what_may_be_a_remark_names_nobody(text: str) -> None:
    assert named_in(text) == {}
