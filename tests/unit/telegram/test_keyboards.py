"""Buttons below cards: what they carry, and what is taken for one."""

from uuid import UUID

import pytest

from tests.unit.telegram.test_plan import card, live
from vochi_agent.telegram.keyboards import keyboard_of, pressed

BUTTONS = {"buttons": "why,call,take", "token": UUID(int=7)}
TOKEN = "0" * 31 + "7"


def test_a_card_alone_has_its_buttons_what_waits_first() -> None:
    rows = keyboard_of([card(**BUTTONS)])

    assert [[(each.label, each.data) for each in row] for row in rows] == [
        [("Взял(а)", f"take:{TOKEN}")],
        [("Почему?", f"why:{TOKEN}"), ("Перезвонить", f"call:{TOKEN}")],
    ]


def test_calls_that_go_on_messages_about_several_and_cards_without_any_have_none() -> None:
    assert keyboard_of([live(**BUTTONS)]) == ()
    assert keyboard_of([card(1, **BUTTONS), card(2, **BUTTONS)]) == ()
    assert keyboard_of([card()]) == ()
    assert keyboard_of([card(buttons="later")]) == (), "of a newer version"


@pytest.mark.parametrize(
    "data", ["", "why", f"why:{TOKEN}0", f"drop:{TOKEN}", f"why:{TOKEN}\n", f"WHY:{TOKEN}", "why:" + "٧" * 32, TOKEN]
)
def test_only_what_a_button_of_ours_carries_is_one(data: str) -> None:
    assert pressed(data) is None
    assert pressed(f"why:{TOKEN}") == ("why", UUID(int=7))
