"""Which chats are told about a call, and in which words."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.cards import finished, told
from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Direction, Phase, Status
from vochi_agent.config import Config
from vochi_agent.telegram.drafts import digest, live_renderer, renderer, shows_live
from vochi_agent.telegram.labels import labels_of

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
    found = renderer(config.enterprises[0], config)(finished(**facts), None, None)
    return [draft for draft in found if draft.wanted]


def live_drafts(config: Config, phase: Phase, **facts: Any) -> list[Any]:
    placed_by = facts.pop("placed_by", "")
    found = live_renderer(config.enterprises[0], config)(told(phase, **facts), None, placed_by=placed_by)
    return [draft for draft in found if draft.wanted]


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


@pytest.mark.parametrize(
    ("recording", "linked", "sound"), [("none", False, ""), ("link", True, ""), ("audio", True, "2026/11/20/1.2.wav")]
)
def test_a_chat_hears_a_conversation_in_its_own_way(recording: str, sound: str, *, linked: bool) -> None:
    config = configured(chat={"recording": recording})
    render = renderer(config.enterprises[0], config, recording_link=lambda linkedid: f"https://pbx.example/{linkedid}")
    (heard,) = render(finished(recording="2026/11/20/1.2.wav"), None, None)
    (nothing_yet,) = render(finished(), None, None)

    assert ("Запись разговора" in heard.text) is linked
    assert heard.sound == sound
    assert (nothing_yet.sound, "Запись" in nothing_yet.text) == ("", False)


def test_a_chat_without_numbers_gets_them_masked() -> None:
    (draft,) = drafts(configured(chat={"mask_phones": True}))

    assert "💰+375 (29) ***-**-11" in draft.text


@pytest.mark.parametrize(
    ("card", "status", "silent", "anew"),
    [
        ("auto", Status.ANSWERED, True, False),
        ("auto", Status.MISSED, False, True),
        ("auto", Status.UNKNOWN, False, True),
        ("edit", Status.ANSWERED, True, False),
        ("edit", Status.MISSED, False, False),
        ("resend", Status.ANSWERED, False, True),
    ],
)
def test_people_hear_what_they_missed(card: str, status: Status, *, silent: bool, anew: bool) -> None:
    (draft,) = drafts(configured(card=card), status=status)

    assert (draft.silent, draft.anew) == (silent, anew)


@pytest.mark.parametrize(
    ("card", "silent", "anew"), [("auto", True, False), ("edit", False, False), ("resend", False, True)]
)
def test_a_live_card_is_silent_where_another_message_will_be_heard(card: str, *, silent: bool, anew: bool) -> None:
    (draft,) = live_drafts(configured(card=card), Phase.DIAL, agents=("151",))

    assert (draft.silent, draft.anew) == (silent, anew)


@pytest.mark.parametrize(
    ("chat", "facts", "told"),
    [
        ({}, {}, True),
        ({"agents": ["151"]}, {}, True),
        ({"agents": ["152"]}, {}, False),
        ({"agents": ["152"]}, {"path": ("151", "152")}, True),
        ({"agents": ["152"]}, MISSED, True),
        ({"agents": ["159"]}, MISSED, False),
        ({"agents": ["151"]}, {"direction": Direction.OUT, "path": (), "first_agent": "151", **MISSED}, True),
    ],
)
def test_an_agents_chat_is_told_of_his_own_calls(chat: dict[str, Any], facts: dict[str, Any], *, told: bool) -> None:
    """Answered: who talked or placed it. Missed: whose phone rang."""
    assert bool(drafts(configured(chat=chat), **facts)) is told


@pytest.mark.parametrize(
    ("chat", "phase", "facts", "told"),
    [
        ({}, Phase.START, {}, True),
        ({"live": False}, Phase.DIAL, {}, False),
        ({"missed_only": True}, Phase.DIAL, {}, False),
        ({"directions": ["out"]}, Phase.DIAL, {}, False),
        ({"lines": ["0001701"]}, Phase.DIAL, {}, True),
        ({"agents": ["151"]}, Phase.START, {}, False),
        ({"agents": ["151"]}, Phase.DIAL, {"agents": ("150", "151")}, True),
        ({"agents": ["151"]}, Phase.BRIDGE, {"agents": ("150",)}, False),
        ({"agents": ["151"]}, Phase.DIAL, {"direction": Direction.OUT, "placed_by": "151"}, True),
        ({}, Phase.DIAL, {"direction": Direction.UNKNOWN}, False),
        ({"quiet": "09:00-11:00"}, Phase.DIAL, {}, False),
    ],
)
def test_a_chat_is_shown_the_live_calls_it_asked_for(
    chat: dict[str, Any], phase: Phase, facts: dict[str, Any], *, told: bool
) -> None:
    assert bool(live_drafts(configured(chat=chat), phase, **facts)) is told


@pytest.mark.parametrize(
    ("quiet", "until"),
    [
        ("", None),
        ("22:00-08:00", None),
        ("09:00-11:00", "2026-11-20T11:00+03:00"),
        ("10:00-10:00", None),
        ("09:00-10:00", None),
        ("20:00-10:30", "2026-11-20T10:30+03:00"),
        ("10:00-09:00", "2026-11-21T09:00+03:00"),
    ],
)
def test_a_call_that_begins_in_quiet_hours_waits_for_their_end(quiet: str, until: str | None) -> None:
    """By the enterprise's clock, where it is 10:00; also a call that was recovered when they were over long ago."""
    (draft,) = drafts(configured(chat={"quiet": quiet}))

    assert draft.held_until == (datetime.fromisoformat(until) if until else None)


def test_a_chat_that_is_not_told_of_a_call_may_have_to_be_corrected() -> None:
    config = configured(chat={"missed_only": True})
    (draft,) = renderer(config.enterprises[0], config)(finished(), None, None)

    assert not draft.wanted
    assert "✅" in draft.text


def test_many_recovered_calls_are_one_message_of_those_a_chat_asked_for() -> None:
    calls = [finished(), *[finished(status=Status.MISSED, linkedid=f"1.{number}") for number in range(40)]]
    (enterprise,) = configured(chat={"missed_only": True}).enterprises
    (draft,) = digest(enterprise, calls)

    lines = draft.text.split("\n")
    assert lines[:2] == ["🔄 Восстановлено: 40 звонков, пропущено: 40", "… и ещё 10 раньше"]
    assert lines[2:] == ["❌ 10:00 · +375 (29) 000-00-11 · 📡МТС Центр"] * 30


def test_live_calls_are_followed_only_where_somebody_is_shown_them() -> None:
    chats: list[dict[str, Any]] = [{}, {"live": False}, {"missed_only": True}]

    assert [shows_live(configured(chat=chat).enterprises[0]) for chat in chats] == [True, False, False]


def test_an_enterprise_without_a_bot_makes_no_cards() -> None:
    assert drafts(configured(token="")) == []


def test_departments_have_names_like_agents() -> None:
    (enterprise,) = configured().enterprises

    assert labels_of(enterprise, enterprise.chats[0]).agents == {"151": "Второй Агент", "901": "Продажи"}


def at(clock: str, day: int = 20) -> datetime:
    return datetime.fromisoformat(f"2026-11-{day}T{clock}:00+03:00")


@pytest.mark.parametrize(
    ("quiet", "started", "ended", "reminded"),
    [
        ("", at("10:00"), at("10:01"), at("10:16")),
        ("22:00-08:00", at("10:00"), at("10:01"), at("10:16")),
        ("22:00-08:00", at("23:00"), at("23:01"), at("08:15", 21)),
        ("22:00-08:00", at("21:50"), at("21:51"), at("08:00", 21)),
        ("13:00-14:00", at("12:50"), at("12:50"), at("14:00")),
    ],
)
def test_a_chat_is_reminded_some_time_after_it_was_told_and_never_in_its_quiet_hours(
    quiet: str, started: datetime, ended: datetime, reminded: datetime
) -> None:
    config = configured(chat={"quiet": quiet})
    call = finished(**MISSED, started_at=started, ended_at=ended)
    (draft,) = renderer(config.enterprises[0], config)(call, None, None, call_back=CallBack(ended_at=ended))

    assert draft.reminder is not None
    assert draft.reminder.at == reminded
    assert ("уже 15 мин" in draft.reminder.text) is (reminded - ended == timedelta(minutes=15))


def test_nobody_is_reminded_who_does_not_want_to_be_or_of_what_is_done() -> None:
    call = finished(**MISSED)
    waits, taken = CallBack(ended_at=call.ended_at), CallBack(ended_at=call.ended_at, taken_by="151")
    for chat, call_back in (({"remind_min": 0}, waits), ({}, taken), ({}, None)):
        config = configured(chat=chat)
        (draft,) = renderer(config.enterprises[0], config)(call, None, None, call_back=call_back)
        assert draft.reminder is None
