"""What the bot says to people."""

from dataclasses import replace
from datetime import timedelta

from tests.support.calls import NOON, answered, internal, missed
from tests.support.cards import LABELS, MASKED, TALKED_BEFORE, customer
from vochi_agent.calls.model import Call, Direction, Reason, Status
from vochi_agent.simulator.telegram_html import shown_text
from vochi_agent.telegram import desk_text as say
from vochi_agent.telegram.text import MAX_UNITS, units

HOSTILE = '<b>&"\u202e' + "Ж" * 4000


def at(minute: int, call: Call) -> Call:
    return replace(call, linkedid=f"1.{minute}", started_at=NOON + timedelta(minutes=minute))


def test_whoever_talked_later_waits_no_more_and_whoever_talked_before_does() -> None:
    came_back, left_again = "+375290000011", "+375290000012"
    calls = [
        at(4, missed(phone=left_again)),
        at(3, answered(phone=left_again)),
        at(2, answered(phone=came_back, direction=Direction.OUT)),
        at(1, missed(phone=came_back)),
    ]

    assert [(call.linkedid, times) for call, times in say.still_missed(calls)] == [("1.4", 1)]


def test_only_customers_who_called_in_vain_wait() -> None:
    calls = [
        at(1, internal(status=Status.MISSED, reason=Reason.NO_ANSWER)),
        at(2, missed(direction=Direction.OUT, phone="+375290000012")),
        at(3, missed(reason=Reason.BLOCKED, phone="+375290000013")),
        at(4, missed(phone=None)),
        at(5, missed(phone=None)),
    ]

    assert [call.linkedid for call, _ in say.still_missed(calls)] == ["1.4", "1.5"]


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    waiting = [(at(number, missed(phone=f"+3752900001{number:02}")), 1) for number in range(40)]
    text = say.missed(waiting, {}, LABELS)

    assert text.startswith("❌ Ждут звонка: 40\n")
    assert text.endswith("\n… и ещё 25")
    assert len(text.splitlines()) == 17


def test_outside_strings_stay_one_line_of_text_however_long() -> None:
    someone = customer("+375290000011", last_name=HOSTILE, first_name=HOSTILE, enterprise_name=HOSTILE)
    waiting = [(at(number, missed(phone=f"+3752900001{number:02}")), 9) for number in range(40)]
    texts = [
        say.welcome(HOSTILE, "151", HOSTILE),
        say.who(replace(someone, history=TALKED_BEFORE, black_list=True), LABELS),
        say.named("+375290000011", someone, LABELS, crm="retailcrm"),
        say.missed(waiting, {f"+3752900001{number:02}": someone for number in range(40)}, LABELS),
        say.of_enterprise(HOSTILE, "…"),
    ]

    for text in texts:
        assert shown_text(text)
        assert "\u202e" not in text
        assert units(text) <= MAX_UNITS


def test_a_masked_chat_sees_no_middle_of_a_number() -> None:
    someone = customer("+375290000011", last_name="Тестов")
    texts = [
        say.who(someone, MASKED),
        say.unknown("+375290000011", MASKED),
        say.named("+375290000011", someone, MASKED, crm=""),
        say.missed([(missed(), 1)], {}, MASKED),
    ]

    assert not any("000-00" in text for text in texts)
    assert all("11" in text for text in texts)


def test_a_day_that_is_cut_says_so() -> None:
    assert say.day([answered()], waiting=0, complete=False).startswith("📊 Последние 1 звонок за сегодня\n")
