"""Why a call counts as what it does, in Russian: readable, bounded, and nothing of it breaks the markup."""

from dataclasses import replace

import pytest

from tests.support.cards import LABELS, MASKED, finished, in_vain, phone_leg, talk
from vochi_agent.calls.evidence import MAX_LEGS, LegRole
from vochi_agent.calls.model import Direction, Reason, Source, Status
from vochi_agent.simulator.telegram_html import shown_text
from vochi_agent.telegram.text import MAX_UNITS, units
from vochi_agent.telegram.why import BECAUSE, LONGEST_ALERT, WORDS, why, why_briefly

HOSTILE = '<b>&"\u202e' + "я" * 500


def test_every_reason_and_everything_a_channel_does_has_words() -> None:
    assert set(BECAUSE) == set(Reason)
    for what in WORDS.values():
        assert what.format(who="А", other="Б")


@pytest.mark.parametrize("reason", Reason)
def test_the_short_form_fits_above_a_chat(reason: Reason) -> None:
    labels = replace(LABELS, agents={str(number): "Ы" * 300 for number in range(150, 170)})
    call = finished(
        status=Status.MISSED, reason=reason, rung=tuple(labels.agents), partial=True, source=Source.RECOVERY
    )

    assert 0 < len(why_briefly(call, labels=labels)) <= LONGEST_ALERT
    assert why_briefly(call, labels=LABELS)[0].isupper()


def test_a_call_with_very_many_channels_is_told_as_far_as_a_message_goes() -> None:
    labels = replace(LABELS, agents={str(number): HOSTILE for number in range(100, 200)})
    legs = [phone_leg(str(100 + number), rang=1.5, cause=16, ended=40.0) for number in range(MAX_LEGS - 1)]
    text = why(finished(status=Status.MISSED, evidence=(in_vain(40.0), *legs)), customer=None, labels=labels)

    assert units(text) <= MAX_UNITS
    assert "… и ещё" in shown_text(text)


def test_hostile_names_are_one_line_of_text() -> None:
    labels = replace(LABELS, agents={"151": HOSTILE}, lines={"0001701": HOSTILE})
    shown = shown_text(why(talk(), customer=None, labels=labels))

    assert '<b>&"яяя' in shown
    assert "\u202e" not in shown


def test_a_chat_without_numbers_is_told_none() -> None:
    outside = phone_leg("+375290000095", rang=1.5, cause=16, ended=40.0)
    plumbing = replace(phone_leg("", endpoint="Local/375290000095"), role=LegRole.LOCAL)
    call = finished(status=Status.MISSED, rung=("+375290000095",), evidence=(in_vain(40.0), outside, plumbing))
    for text in (why(call, customer=None, labels=MASKED), why_briefly(call, labels=MASKED)):
        assert "000-00" not in text
        assert "290000095" not in text


def test_a_call_read_from_the_records_says_that_nothing_more_is_known() -> None:
    text = why(finished(source=Source.RECOVERY), customer=None, labels=LABELS)

    assert "Восстановлен из журнала АТС" in text
    assert text.endswith("Подробностей о каналах нет: звонок прочитан из журнала АТС.")


def test_an_outgoing_call_is_given_up_by_us() -> None:
    call = finished(direction=Direction.OUT, status=Status.MISSED, reason=Reason.ABANDONED, rung=())

    assert why_briefly(call, labels=LABELS).startswith("Звонивший отменил вызов")
