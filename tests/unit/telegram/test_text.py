"""Cards: the texts people know, line by line, and nothing that an outside string can break."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cards import (
    COMPANY,
    GOLDEN,
    LABELS,
    PAGE,
    PERSON,
    PICTURES,
    STARTED_AT,
    cards,
    customer,
    final,
    finished,
    golden,
    live,
    page,
    pictures,
    told,
)
from tests.support.pictures import sheet
from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Direction, Phase, Reason, Source, Status
from vochi_agent.customers.model import History
from vochi_agent.simulator.telegram_html import shown_text
from vochi_agent.telegram.text import MAX_UNITS, Labels, done_about, final_card, live_card, plain
from vochi_agent.telegram.words import roughly


def test_the_golden_file_and_the_page_of_the_docs_show_the_cards_as_they_are() -> None:
    assert golden() == GOLDEN.read_text(encoding="utf-8"), "python -m tests.support.cards"
    assert page() == PAGE.read_text(encoding="utf-8"), "python -m tests.support.cards"


def test_the_pictures_show_the_cards_as_they_are() -> None:
    drawn = pictures()

    assert {path.name for path in drawn} == {path.name for path in PICTURES.glob("telegram*.svg")}
    for path, svg in drawn.items():
        assert svg == path.read_text(encoding="utf-8"), "python -m tests.support.cards"
        ET.fromstring(svg)


def test_every_word_of_a_card_is_in_its_picture() -> None:
    """But for what a folded quote hides."""
    for title, text in cards():
        seen = "".join(ET.fromstring(sheet([(title, text)], columns=1, title="")).itertext())
        hidden = [line for quote in re.findall(r"<blockquote expandable>(.*?)</blockquote>", text, re.DOTALL)
                  for line in quote.split("\n")[3:]]  # fmt: skip
        words = [word for line in plain(text).split("\n") if line not in hidden for word in line.split()]
        assert [word for word in words if word not in seen] == [], title


def test_an_answered_call_of_a_stranger() -> None:
    assert final(finished()).split("\n") == [
        "✅Успешный входящий звонок",
        "💰+375 (29) 000-00-11",
        "☎️Второй Агент (151)",
        "📡МТС Центр",
        "⏰Начало звонка 10:00",
        "⌛ Длительность: 01:02",
    ]


def test_a_missed_call_quotes_the_phones_that_rang() -> None:
    assert final(finished(status=Status.MISSED)).split("\n") == [
        "❌ Мы не подняли трубку",
        "💰+375 (29) 000-00-11",
        "<blockquote>☎️Первый Агент (150)",
        "☎️Второй Агент (151)",
        "☎️Третий Агент (152)</blockquote>",
        "📡МТС Центр",
        "⏰Начало звонка 10:00",
        "⌛ Дозванивался: 00:40",
    ]


def test_a_call_missed_during_the_greeting_names_no_agent() -> None:
    card = final(finished(status=Status.MISSED, rung=(), reason=Reason.ABANDONED_GREETING))

    assert "☎️" not in card
    assert "Неизвестный" not in card


def test_a_transferred_call_shows_the_whole_path_and_all_talk() -> None:
    card = final(finished(path=("151", "152", "150"), talk_seconds=90.0))

    assert "☎️Второй Агент (151) → ☎️Третий Агент (152) → ☎️Первый Агент (150)" in card.split("\n")
    assert "⌛ Длительность: 01:30" in card.split("\n")


def test_an_outgoing_call_shows_the_agent_above_the_customer() -> None:
    lines = final(finished(direction=Direction.OUT, rung=(), talk_seconds=4.0), PERSON).split("\n")

    assert lines[:4] == [
        "✅Успешный исходящий звонок",
        "☎️Второй Агент (151)",
        "💰+375 (29) 000-00-11",
        "👤Тестов Тест",
    ]
    assert lines[-1] == "⌛ Длительность: 00:04"


def test_an_outgoing_call_that_nobody_took_names_who_placed_it() -> None:
    call = finished(direction=Direction.OUT, status=Status.MISSED, rung=(), first_agent="151", wait_seconds=32.0)
    lines = final(call).split("\n")

    assert lines[:2] == ["❌ Абонент не поднял трубку", "☎️Второй Агент (151)"]
    assert lines[-1] == "⌛ Дозванивался: 00:32"


def test_a_hidden_caller_is_said_to_be_hidden_whatever_the_pbx_gave() -> None:
    for raw in ("", "anonymous", "0001701"):
        assert "💰Номер не определен" in final(finished(phone=None, raw_number=raw)).split("\n")


def test_more_than_four_phones_are_folded_under_their_number() -> None:
    card = final(finished(status=Status.MISSED, rung=("150", "151", "152", "153", "154")))

    assert "<blockquote expandable>👨🏼‍💼Менеджеры (5):\n☎️Первый Агент (150)\n" in card
    assert "☎️Доб.154</blockquote>" in card


def test_the_history_says_what_was_before_this_call() -> None:
    before = History(
        calls_total_in=3, last_call_at=datetime(2026, 11, 18, 21, 30, tzinfo=UTC), last_call_status="missed"
    )

    assert live(told(Phase.START), before=before).split("\n")[-3:] == [
        "Звонил: 3 раза",
        "Последний раз: 19.11.2026 в 00:30",
        "❌",
    ]
    assert final(finished(), before=before).split("\n")[-3:] == [
        "Звонил: 3 раза",
        "Последний раз: 19.11.2026 в 00:30",
        "❌",
    ]


def test_a_first_call_has_no_history() -> None:
    assert final(finished(), before=History()) == final(finished(), before=None) == final(finished())


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "1 раз"),
        (2, "2 раза"),
        (4, "4 раза"),
        (5, "5 раз"),
        (11, "11 раз"),
        (12, "12 раз"),
        (21, "21 раз"),
        (22, "22 раза"),
        (112, "112 раз"),
        (103, "103 раза"),
    ],
)
def test_plurals_are_right(count: int, words: str) -> None:
    before = History(calls_total_in=count, last_call_at=STARTED_AT, last_call_status="answered")

    assert f"Звонил: {words}" in final(finished(), before=before).split("\n")


def test_somebody_whom_only_we_called_is_not_said_to_have_called() -> None:
    before = History(calls_total_out=2, last_call_at=STARTED_AT, last_call_status="answered", last_agent_internal="151")
    lines = final(finished(), before=before).split("\n")

    assert "Мы звонили: 2 раза" in lines
    assert lines[-2:] == ["✅ Разговаривал: ☎️151", "🔁 Сегодня уже был звонок"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "00:00"), (61.98, "01:02"), (62.4, "01:02"), (3725.0, "62:05"), (-3.0, "00:00")]
)
def test_durations_are_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert final(finished(talk_seconds=seconds)).endswith(f"⌛ Длительность: {shown}")


def test_a_recovered_call_bears_the_mark() -> None:
    assert final(finished(source=Source.RECOVERY)).startswith("✅🔄Успешный входящий звонок\n")
    assert final(finished(source=Source.RECOVERY, status=Status.MISSED)).startswith("❌🔄 Мы не подняли трубку\n")


def test_times_are_those_of_the_enterprise() -> None:
    assert "⏰Начало звонка 07:00" in final(finished(), labels=replace(LABELS, timezone=UTC))


def test_a_company_stands_in_brackets_behind_its_contact() -> None:
    assert '👤Контактова Анна (ООО "Ромашка &amp; Ко")' in final(finished(), COMPANY).split("\n")


def test_a_chat_without_numbers_shows_none_of_them() -> None:
    masked = replace(LABELS, mask=True)
    calls = [
        finished(path=("+375290000011",)),
        finished(direction=Direction.OUT, phone=None, raw_number="290000011290000011", rung=()),
        finished(direction=Direction.OUT, rung=()),
    ]

    for call in calls:
        assert not re.search(r"0{3}.?0?0", final(call, labels=masked))


@pytest.mark.parametrize(
    "name",
    [
        "<b>&\"'",
        "</blockquote>",
        "&lt;script&gt;",
        "Ромашка\n✅Успешный входящий звонок",
        "\u202eавонавИ",
        "🌼" * 4000,
        "&" * 4000,
        "a" * 4000,
        "🌼🌼🌼",
    ],
)
def test_hostile_names_arrive_as_one_line_of_text(name: str) -> None:
    labels = Labels(agents={"151": name}, lines={"0001701": name}, timezone=UTC)
    card = final_card(
        finished(), customer=customer("+375290000011", last_name=name, enterprise_name=name), before=None, labels=labels
    )
    shown = shown_text(card)

    assert len(shown.split("\n")) == 7
    assert len(card.encode("utf-16-le")) // 2 <= MAX_UNITS
    assert "\u202e" not in shown
    if len(name) < 20:
        assert " ".join(name.replace("\u202e", "").split()) in shown


def test_a_hundred_phones_are_listed_as_far_as_a_message_goes() -> None:
    labels = replace(LABELS, agents={str(number): "&" * 200 for number in range(100, 200)})
    call = finished(status=Status.MISSED, rung=tuple(str(number) for number in range(100, 200)))
    card = final(call, labels=labels)

    assert len(card.encode("utf-16-le")) // 2 <= MAX_UNITS
    assert "👨🏼‍💼Менеджеры (100):" in card
    assert re.search(r"… и ещё \d+</blockquote>", card)


def test_without_markup_people_read_the_same() -> None:
    for card in (final(finished(status=Status.MISSED), COMPANY), live(told(Phase.BRIDGE, agents=("151",)), COMPANY)):
        assert plain(card) == shown_text(card)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(seconds=7), "7 с"),
        (timedelta(seconds=61), "1 мин"),
        (timedelta(hours=1), "1 ч"),
        (timedelta(hours=2, minutes=5), "2 ч 5 мин"),
        (timedelta(days=1), "1 дн"),
        (timedelta(days=2, hours=3, minutes=9), "2 дн 3 ч"),
    ],
)
def test_long_times_are_said_roughly(time: timedelta, words: str) -> None:
    assert roughly(time) == words


def test_who_was_reached_while_his_call_still_rang_was_reached_at_once() -> None:
    call = finished(status=Status.MISSED)
    early = CallBack(ended_at=call.ended_at, reached_by="151", reached_at=call.ended_at - timedelta(seconds=20))

    assert done_about(early, LABELS) == "☑️ Перезвонил(а) ☎️Второй Агент (151) через 0 с"


@pytest.mark.parametrize("name", ["<b>&\"'", "Анна\n✅", "\u202eаннА", "&" * 4000])
def test_a_hostile_name_in_telegram_is_one_line_of_a_card(name: str) -> None:
    call = finished(status=Status.MISSED)
    taken = CallBack(ended_at=call.ended_at, taken_by="159", taken_name=name, taken_at=call.ended_at)
    card = final_card(call, customer=None, before=None, labels=LABELS, call_back=taken)

    assert len(shown_text(card).split("\n")) == 9
    assert "\u202e" not in card
    assert len(card.encode("utf-16-le")) // 2 <= MAX_UNITS


texts = st.text(max_size=300)
agents = st.lists(st.sampled_from(["150", "+375290000095"]) | st.text(max_size=8), max_size=60).map(tuple)


@given(
    name=texts,
    company=texts,
    agent=texts,
    line=texts,
    raw=texts,
    agents=agents,
    direction=st.sampled_from(Direction),
    status=st.sampled_from(Status),
    phase=st.sampled_from(Phase),
    phone=st.none() | st.just("+375290000011"),
)
def test_no_call_makes_a_text_that_telegram_refuses(
    *,
    name: str,
    company: str,
    agent: str,
    line: str,
    raw: str,
    agents: tuple[str, ...],
    direction: Direction,
    status: Status,
    phase: Phase,
    phone: str | None,
) -> None:
    labels = Labels(agents={"150": agent}, lines={line: line}, timezone=UTC)
    who = customer("+375290000011", last_name=name, enterprise_name=company)
    facts = {"direction": direction, "phone": phone, "line": line, "raw_number": raw}
    call = finished(**facts, status=status, path=agents, rung=agents, first_agent=agents[0] if agents else None)
    for card in (
        final_card(call, customer=who, before=None, labels=labels),
        live_card(told(phase, **facts, agents=agents), customer=who, before=None, labels=labels),
    ):
        assert shown_text(card).strip()
        assert len(card.encode("utf-16-le")) // 2 <= MAX_UNITS
