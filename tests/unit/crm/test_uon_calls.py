"""Calls in U-ON's words, and when its history tells whether a call is in it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.calls import NOON, answered, missed
from tests.support.cards import told
from vochi_agent.calls.model import Direction, Phase, Reason
from vochi_agent.crm.uon_calls import Look, Seen, look_for, notice_of, record_of, worth_reading
from vochi_agent.customers.model import Customer, History, Names
from vochi_agent.ports import Popup

MINSK = ZoneInfo("Europe/Minsk")
AGENTS = {"5": "151", "6": "152", "8": "152"}


def record(call: Any, recording_url: str = "") -> Mapping[str, str]:
    return record_of(call, recording_url=recording_url, agents=AGENTS, timezone=MINSK)


def item(number: int = 1, start: str = "2026-11-20 15:00:00", phone: object = "375290000011") -> dict[str, object]:
    return {"id": number, "phone": phone, "start": start}


def look(*pages: list[dict[str, object]], all_pages: int = 0) -> Look:
    read = {page: {"users": items, "pages_all": all_pages or len(pages)} for page, items in enumerate(pages, 1)}
    return look_for(answered(), read, timezone=MINSK)


def test_a_conversation_in_and_out() -> None:
    assert record(answered(), "https://pbx.example/r/1.wav") == {
        "phone": "375290000011",
        "start": "2026-11-20 15:00:00",
        "duration": "62",
        "direction": "2",
        "manager_id": "5",
        "record_link": "https://pbx.example/r/1.wav",
    }
    assert record(answered(direction=Direction.OUT))["direction"] == "1"


def test_why_nobody_talked_stands_in_the_note() -> None:
    call = record(missed(reason=Reason.BUSY))

    assert (call["duration"], call["note"]) == ("0", "Занято")


def test_an_extension_of_two_managers_or_of_none_is_nobodys_call() -> None:
    assert "manager_id" not in record(answered(last_agent="152"))
    assert "manager_id" not in record(answered(last_agent="199"))


@pytest.mark.parametrize("start", ["2026-11-20 15:00:01", "2026-11-20T15:00:00+0300"])
def test_a_listed_call_is_known_by_number_and_beginning(start: str) -> None:
    assert look([item(3, "2026-11-20 14:00:00"), item(4, start, "+375 (29) 000-00-11")]) == Look(Seen.LISTED, "4")


def test_another_call_of_the_same_number_or_at_the_same_moment_is_not_it() -> None:
    assert look([item(start="2026-11-20 15:05:00"), item(phone=375290000012)]) == Look(Seen.ABSENT)
    assert look([]) == Look(Seen.ABSENT)


@pytest.mark.parametrize("bad", [{"id": 1}, item(start="yesterday"), item(start="2026-13-45 15:00:00"), item(phone="")])
def test_a_history_that_does_not_say_what_we_compare_tells_nothing(bad: dict[str, object]) -> None:
    assert look([bad]) == Look(Seen.UNCLEAR)


def test_of_a_long_history_both_ends_are_read_and_the_newest_has_to_reach_back_beyond_the_call() -> None:
    assert list(worth_reading(1)) == []
    assert list(worth_reading(3)) == [2, 3]
    assert list(worth_reading(40)) == [2, 39, 40]

    old, fresh = [item(start="2020-01-01 10:00:00")], [item(2, "2026-11-20 14:59:00"), item(3, "2026-11-20 15:10:00")]
    far = [item(4, "2026-11-19 10:00:00")]
    assert look_ends(old, old, fresh, fresh) == Look(Seen.UNCLEAR)
    assert look_ends(old, old, far, fresh) == Look(Seen.ABSENT)
    assert look_ends(fresh, far, old, old) == Look(Seen.ABSENT)


def look_ends(*ends: list[dict[str, object]]) -> Look:
    read = {page: {"users": items, "pages_all": 40} for page, items in zip((1, 2, 39, 40), ends, strict=True)}
    return look_for(answered(), read, timezone=MINSK)


def test_a_notice_shows_who_calls_and_escapes_what_others_wrote() -> None:
    customer = Customer(
        enterprise_number="0901",
        phone_e164="+375290000011",
        names=Names(last_name="<b>Тестов", first_name="Тест", enterprise_name='ООО "Ромашка & Ко"'),
        history=History(last_call_at=NOON - timedelta(days=1)),
        meta={"ids": {"uon": ['7"><script>']}},
    )
    text = notice_of(Popup(progress=told(Phase.DIAL), customer=customer), subdomain="demo")

    assert text == (
        "Входящий звонок<br/><b>+375 (29) 000-00-11</b><br/>"
        "&lt;b&gt;Тестов Тест (ООО &quot;Ромашка &amp; Ко&quot;)<br/>"
        '<a href="https://demo.u-on.ru/client_edit.php?client_id=7%22%3E%3Cscript%3E">Карточка клиента</a>'
    )


def test_a_stranger_has_no_link_and_no_name() -> None:
    text = notice_of(Popup(progress=told(Phase.DIAL), customer=None), subdomain="demo")

    assert text == "Входящий звонок<br/><b>+375 (29) 000-00-11</b>"
