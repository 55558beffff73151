"""Badges, hashtags, what phones did, the link to the CRM; none of them lets an outside string out."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.cards import LABELS, LINKED, PERSON, final, finished, phone_leg
from vochi_agent.calls.model import Direction, Status
from vochi_agent.customers.model import History
from vochi_agent.telegram.extras import badges, hashtags, phone_notes, profile_link


@pytest.mark.parametrize(
    ("last_call_at", "found"),
    [
        (None, {"new"}),
        (datetime(2026, 11, 20, 6, 0, tzinfo=UTC), {"repeated"}),
        (datetime(2026, 11, 19, 21, 30, tzinfo=UTC), {"repeated"}),  # after midnight in Minsk
        (datetime(2026, 11, 19, 20, 30, tzinfo=UTC), set()),
    ],
)
def test_today_is_that_of_the_enterprise(last_call_at: datetime | None, found: set[str]) -> None:
    before = History(last_call_at=last_call_at)

    assert set(badges(finished(), None, before, LABELS.timezone)) == found


def test_of_a_hidden_caller_nothing_is_known() -> None:
    assert badges(finished(phone=None), None, None, LABELS.timezone) == {}


def test_only_the_badges_that_a_chat_asked_for_are_shown() -> None:
    for shown in (set(), {"new"}):
        card = final(finished(), before=History(), labels=replace(LABELS, badges=frozenset(shown)))
        assert ("🆕" in card) is bool(shown)


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("МТС Центр", "#МТС_Центр"),
        ("", ""),
        ("<b>&\"'", "#b"),
        ("103", "#линия_103"),
        ("--", ""),
        ("я" * 99, "#" + "я" * 30),
    ],
)
def test_a_hashtag_is_letters_and_digits(label: str, tag: str) -> None:
    assert (
        hashtags(finished(direction=Direction.OUT, status=Status.MISSED), label)
        == f"#пропущенный #исходящий {tag}".rstrip()
    )


@pytest.mark.parametrize(
    ("leg", "note"),
    [
        (phone_leg("151", rang=1.0, cause=26), None),
        (phone_leg("151", cause=17), "занят"),
        (phone_leg("151", dial_status="BUSY"), "занят"),
        (phone_leg("151", rang=1.0, cause=21), "отклонил"),
        (phone_leg("151", cause=3), "не в сети"),
        (phone_leg("151", dial_status="CHANUNAVAIL"), "не в сети"),
        (phone_leg("151", cause=16), None),  # the caller left before it rang
        (phone_leg("151", up=2.0, cause=16), None),
    ],
)
def test_a_phone_that_did_not_simply_ring_says_why(leg, note: str | None) -> None:
    assert phone_notes(finished(status=Status.MISSED, evidence=(leg,))).get("151") == note


def test_a_phone_that_rang_at_the_second_try_rang() -> None:
    legs = (phone_leg("151", cause=17), phone_leg("151", rang=9.0, cause=16))

    assert phone_notes(finished(status=Status.MISSED, evidence=legs)) == {}


@pytest.mark.parametrize(
    ("links", "link"),
    [
        ({"retailcrm": "https://a/1", "uon": "https://b/2"}, "https://b/2"),
        ({"retailcrm": "https://a/1"}, "https://a/1"),
        ({"uon": "javascript:alert(1)"}, ""),
        ({"uon": "http://[", "retailcrm": "https://a/1"}, "https://a/1"),
        ({"uon": "https://b/" + "x" * 600}, ""),
        ("https://a/1", ""),
        ({"uon": 7}, ""),
    ],
)
def test_the_link_is_that_of_the_source_whose_names_win(links: object, link: str) -> None:
    assert profile_link(replace(PERSON, meta={"links": links, "primary_source": "uon"})) == link


def test_a_link_breaks_out_of_nothing() -> None:
    who = replace(LINKED, meta={"links": {"retailcrm": 'https://a/"><b>&'}})

    assert '<a href="https://a/&quot;&gt;&lt;b&gt;&amp;">Тестов Тест</a>' in final(finished(), who)
