"""Which chats are told about a call, and in which words."""

from typing import Any

import pytest

from tests.support.cards import finished
from vochi_agent.calls.model import Direction, Status
from vochi_agent.config import Config
from vochi_agent.telegram.labels import labels_of, renderer

MISSED = {"status": Status.MISSED}
INTERNAL = {"direction": Direction.INTERNAL, "line": None, "phone": None}


def configured(*, chat: dict[str, Any] | None = None, token: str = "42:TEST", card: str = "auto") -> Config:
    enterprise = {
        "number": "0901",
        "country": "BY",
        "timezone": "Europe/Minsk",
        "telegram_token": token,
        "asterisk": {"ami": "127.0.0.1:5038", "ami_username": "vochi", "ami_secret": "x"},
        "lines": [{"id": "0001701", "endpoint": "PJSIP/gsm1", "label": "МТС Центр"}],
        "agents": [{"extension": "151", "name": "Второй Агент"}],
        "departments": [{"number": "901", "label": "Продажи"}],
        "chats": [{"id": -1, "topic": 7, **(chat or {})}],
    }
    return Config.model_validate({"telegram": {"card": card}, "enterprises": [enterprise]})


def drafts(config: Config, **facts: Any) -> list[Any]:
    return list(renderer(config.enterprises[0], config)(finished(**facts), None, None))


@pytest.mark.parametrize(
    ("chat", "facts", "told"),
    [
        ({}, {}, True),
        ({}, MISSED, True),
        ({}, INTERNAL, False),
        ({"directions": ["internal"]}, INTERNAL, True),
        ({"directions": ["internal"]}, {}, False),
        ({"directions": ["out"]}, {"direction": Direction.OUT}, True),
        ({"directions": ["out"]}, {"direction": Direction.UNKNOWN, "status": Status.UNKNOWN}, True),
        ({"missed_only": True}, {}, False),
        ({"missed_only": True}, MISSED, True),
        ({"missed_only": True}, {"status": Status.UNKNOWN}, True),
        ({"lines": ["0001701"]}, {}, True),
        ({"lines": ["0001702"]}, {}, False),
        ({"lines": ["0001702"], "directions": ["internal"]}, INTERNAL, True),
    ],
)
def test_a_chat_is_told_of_the_calls_it_asked_for(chat: dict[str, Any], facts: dict[str, Any], *, told: bool) -> None:
    assert bool(drafts(configured(chat=chat), **facts)) is told


def test_a_draft_goes_to_the_topic_in_the_words_of_the_configuration() -> None:
    (draft,) = drafts(configured())

    assert (draft.chat_id, draft.topic) == (-1, 7)
    assert "☎️Второй Агент (151)\n📡МТС Центр\n⏰Начало звонка 10:00" in draft.text


def test_a_chat_without_numbers_gets_them_masked() -> None:
    (draft,) = drafts(configured(chat={"mask_phones": True}))

    assert "💰+375 (29) ***-**-11" in draft.text


@pytest.mark.parametrize(
    ("card", "status", "silent"),
    [
        ("auto", Status.ANSWERED, True),
        ("auto", Status.MISSED, False),
        ("auto", Status.UNKNOWN, False),
        ("edit", Status.ANSWERED, True),
        ("resend", Status.ANSWERED, False),
    ],
)
def test_people_hear_what_they_missed(card: str, status: Status, *, silent: bool) -> None:
    (draft,) = drafts(configured(card=card), status=status)

    assert draft.silent is silent


def test_an_enterprise_without_a_bot_makes_no_cards() -> None:
    assert drafts(configured(token="")) == []


def test_departments_have_names_like_agents() -> None:
    (enterprise,) = configured().enterprises

    assert labels_of(enterprise, mask_phones=False).agents == {"151": "Второй Агент", "901": "Продажи"}
