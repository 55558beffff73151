"""Messages about several calls: bounded, honest about what is left out, the same again when nothing changed."""

from tests.unit.telegram.test_plan import card
from vochi_agent.simulator.telegram_html import shown_text
from vochi_agent.telegram.text import MAX_UNITS, units
from vochi_agent.telegram.together import (
    LINES_ON_A_BOARD,
    MOST_IN_FULL,
    board_of,
    in_one_message,
    recovered_digest,
    which_share,
)

LONG = "✅ " + "я" * 600


def test_one_card_alone_is_the_card() -> None:
    assert in_one_message([("текст", "кратко")], held=True) == "текст"


def test_cards_share_a_message_only_as_far_as_there_is_room_for_a_late_name() -> None:
    cards = [card(number, text=LONG) for number in range(1, 10)]
    shared = which_share(cards)

    assert 1 < len(shared) < len(cards)
    assert units(in_one_message([(each.text, each.brief) for each in shared], held=False)) < MAX_UNITS - 500


def test_a_shared_message_that_outgrew_telegram_becomes_a_list() -> None:
    text = in_one_message([(LONG, "✅ кратко")] * 8, held=False)

    assert text == "\n".join(["📋 8 звонков", *["✅ кратко"] * 8])


def test_more_cards_than_anybody_reads_are_a_list() -> None:
    assert in_one_message([("✅ раз", "✅ раз")] * MOST_IN_FULL, held=False).count("\n\n") == MOST_IN_FULL - 1
    assert in_one_message([("✅ раз", "✅ раз")] * (MOST_IN_FULL + 1), held=False).startswith("📋 13 звонков\n✅ раз")


def test_the_longest_list_fits() -> None:
    brief = f"❌ 10:00 · {'&amp;' * 30} · {'🔥' * 30} · {'&lt;' * 30}"
    cards = [card(number, text=LONG, brief=brief) for number in range(1, 100)]
    text = in_one_message([(each.text, each.brief) for each in which_share(cards)], held=False)

    assert units(shown_text(text)) <= MAX_UNITS
    assert text.count("❌ 10:00") == len(which_share(cards))
    assert units(recovered_digest([brief] * 100)) <= MAX_UNITS


def test_a_board_says_how_many_talk_and_how_many_wait() -> None:
    assert board_of([]) == ""
    assert board_of([("dial", "📞")]) == "🔥 Сейчас 1 звонок ждёт ответа\n📞"
    assert board_of([("bridge", "🔗")] * 2 + [("start", "📞")] * 2).startswith(
        "🔥 Сейчас 2 разговора, 2 звонка ждут ответа\n"
    )
    assert board_of([("bridge", "🔗")] * 20).split("\n")[0] == "🔥 Сейчас 20 разговоров"
    assert board_of([("bridge", "🔗")] * 20).split("\n")[-1] == f"… и ещё {20 - LINES_ON_A_BOARD}"


def test_a_digest_shows_the_newest_calls() -> None:
    lines = recovered_digest([f"✅ {number}" for number in range(100)]).split("\n")

    assert lines[:2] == ["🔄 Восстановлено: 100 звонков", "… и ещё 70 раньше"]
    assert lines[-1] == "✅ 99"
