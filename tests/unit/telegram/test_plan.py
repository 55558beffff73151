"""What is done next in a chat: every line of the decision table."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from vochi_agent.cards import Card, ChatWork, Doubt
from vochi_agent.telegram.budget import BURST, GROUP_A_MINUTE, ChatBudget
from vochi_agent.telegram.plan import Delete, Edit, Fold, Look, Planner, Post, SetBoard, Step, TakeBack, Wait

SIZE = GROUP_A_MINUTE


def card(number: int = 1, **facts: Any) -> Card:
    """A final that no message shows yet."""
    known: dict[str, Any] = {
        "id": number,
        "enterprise_number": "0901",
        "linkedid": f"1.{number}",
        "kind": "call",
        "chat_id": -1,
        "topic": 0,
        "phase": "hangup",
        "text": f"итог {number}",
        "brief": f"❌ {number}",
        "silent": True,
        "anew": False,
        "held_until": None,
        "revision": 1,
        "message_id": None,
        "sent_phase": None,
        "shared": False,
        "failures": 0,
        "token": UUID(int=number),
        "buttons": "",
    }
    return Card(**known | facts)


def live(number: int = 1, **facts: Any) -> Card:
    return card(number, **{"phase": "dial", "text": f"звонит {number}", "brief": f"📞 {number}"} | facts)


def work(*cards: Card, **facts: Any) -> ChatWork:
    known: dict[str, Any] = {"live": (), "leftovers": (), "doubt": None}
    return ChatWork(open=cards, **known | facts)


def step(
    todo: ChatWork, left: int = SIZE, planner: Planner | None = None, *, burst: int = BURST, now: float = 1000.0
) -> Step:
    return (planner or Planner(SIZE)).next(todo, left=left, burst=burst, now=now)


def rushing() -> Planner:
    """A planner that has just posted and changed its board."""
    planner = Planner(SIZE)
    step(work(card()), left=1, planner=planner)
    assert planner.rushing
    return planner


BOARD = live(9, kind="board", linkedid="board", text="🔥 Сейчас 1 разговор", message_id=5, sent_phase="bridge")
DOUBT = Doubt(text="итог", age=2.0, after=4, newest=7)


def test_a_final_is_a_new_message() -> None:
    assert step(work(card())) == Post([card()])


def test_finals_come_before_live_states_and_oldest_first() -> None:
    assert step(work(live(1), card(2), card(3))) == Post([card(2)])


def test_a_final_edits_what_shows_its_call_unless_it_is_to_be_heard() -> None:
    shown = card(message_id=7, sent_phase="dial")
    loud = replace(shown, anew=True, silent=False)

    assert step(work(shown)) == Edit(shown)
    assert step(work(loud)) == Post([loud])


def test_a_correction_edits_also_a_message_that_was_heard() -> None:
    told = card(message_id=7, sent_phase="hangup", anew=True, silent=False)

    assert step(work(told)) == Edit(told)


def test_what_is_to_show_nothing_is_taken_back_first() -> None:
    gone = live(2, text="", message_id=7)

    assert step(work(card(), gone)) == TakeBack([gone])


@pytest.mark.parametrize(("left", "shown"), [(SIZE, True), (SIZE // 2 + 1, True), (SIZE // 2, False)])
def test_live_states_leave_half_of_the_budget_to_finals(left: int, *, shown: bool) -> None:
    assert isinstance(step(work(live()), left), Post if shown else Wait)


@pytest.mark.parametrize(("burst", "shown"), [(3, True), (2, False)])
def test_live_states_never_make_a_final_wait_for_the_next_burst(burst: int, *, shown: bool) -> None:
    assert isinstance(step(work(live()), burst=burst), Post if shown else Wait)
    assert isinstance(step(work(card()), burst=1), Post)


def test_finals_are_told_one_by_one_as_long_as_the_budget_is_not_short() -> None:
    assert step(work(card(1), card(2)), SIZE // 3 + 1) == Post([card(1)])


def test_what_waited_through_an_outage_is_told_together() -> None:
    waiting = [card(number) for number in range(1, 7)]
    post = step(work(*waiting))

    assert isinstance(post, Post)
    assert list(post.cards) == waiting


def test_many_finals_that_waited_become_a_list() -> None:
    post = step(work(*[card(number) for number in range(1, 41)]))

    assert isinstance(post, Post)
    assert post.text.split("\n")[:2] == ["📋 30 звонков, пропущено: 30", "❌ 1"]


def test_what_waited_for_the_morning_is_one_digest() -> None:
    morning = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
    post = step(work(card(1, held_until=morning, silent=False), card(2, held_until=morning)))

    assert isinstance(post, Post)
    assert post.text == "🌙 В тихие часы: 2 звонка, пропущено: 2\n❌ 1\n❌ 2"
    assert not post.silent


def test_cards_of_different_topics_share_no_message() -> None:
    post = step(work(*[card(number, topic=number % 2) for number in range(1, 9)]))

    assert isinstance(post, Post)
    assert {each.topic for each in post.cards} == {1}


def test_messages_that_have_to_go_go_when_nothing_is_told() -> None:
    assert step(work(leftovers=[3, 4])) == Delete([3, 4])
    assert isinstance(step(work(card(), leftovers=[3])), Post)


def test_an_idle_chat_is_left_alone_until_woken() -> None:
    assert step(work()) == Wait(None)


def test_a_doubt_is_looked_into_at_once_and_once_more_when_nothing_can_arrive_any_more() -> None:
    planner = Planner(SIZE)
    steps = [step(work(doubt=replace(DOUBT, age=age)), planner=planner) for age in (2.0, 10.0, 31.0)]

    assert [type(each) for each in steps] == [Look, Wait, Look]
    assert [each.last for each in steps if isinstance(each, Look)] == [False, True]


# ---------------------------------------------------------------- in a rush


def test_a_short_budget_begins_a_rush_and_a_free_one_ends_it() -> None:
    planner = rushing()

    step(work(card()), left=SIZE, planner=planner)
    assert planner.rushing, "finals wait"
    step(work(), left=SIZE // 2, planner=planner)
    assert planner.rushing
    assert step(work(live=[BOARD]), left=SIZE * 2 // 3, planner=planner) == SetBoard(0, "")
    assert not planner.rushing


def test_a_short_budget_is_no_rush_when_there_is_nothing_to_tell() -> None:
    planner = Planner(SIZE)
    step(work(), left=0, planner=planner)

    assert not planner.rushing


def test_a_board_of_an_earlier_life_means_that_the_rush_goes_on() -> None:
    planner = Planner(SIZE)
    step(work(card(), live=[BOARD]), planner=planner)

    assert planner.rushing


def test_in_a_rush_single_live_messages_give_way_to_the_board() -> None:
    planner = rushing()
    talking = live(2, phase="bridge", message_id=8, sent_phase="bridge", brief="🔗 второй")

    assert step(work(live=[talking]), left=3, planner=planner) == Fold()
    folded = replace(talking, message_id=None)
    set_board = step(work(live=[folded, live(3)]), left=3, planner=planner, now=1100.0)
    assert set_board == SetBoard(0, "🔥 Сейчас 1 разговор, 1 звонок ждёт ответа\n🔗 второй\n📞 3")


def test_in_a_rush_finals_gather_before_they_share_a_message() -> None:
    planner = rushing()

    assert isinstance(step(work(card(1)), left=3, planner=planner, now=1003.0), Wait)
    assert step(work(card(1), card(2)), left=3, planner=planner, now=1005.0) == Post([card(1), card(2)])


def test_the_board_changes_seldom() -> None:
    planner = rushing()
    step(work(live=[live(1)]), left=3, planner=planner, now=1100.0)

    assert isinstance(step(work(live=[live(1), live(2)]), left=3, planner=planner, now=1110.0), Wait)
    assert isinstance(step(work(live=[live(1), live(2)]), left=3, planner=planner, now=1112.0), SetBoard)


def test_a_late_name_in_a_rush_waits_for_what_people_wait_for() -> None:
    planner = rushing()
    told = card(message_id=7, sent_phase="hangup", shared=True)

    assert isinstance(step(work(told), left=2, planner=planner), Wait)
    assert step(work(told), left=3, planner=planner) == Edit(told)


# ---------------------------------------------------------------- the budget


@pytest.mark.parametrize(("chat", "a_minute"), [(-1, 18), (1, 40)])
def test_whatever_minute_is_looked_at_holds_no_more_than_so_many(chat: int, a_minute: int) -> None:
    budget, now, made = ChatBudget(chat), 0.0, []
    while now < 300:
        now += budget.wait(now)
        budget.spend(now)
        made.append(now)

    windows = [(60.0, a_minute), (5.0, BURST)]
    assert all(sum(at <= each < at + span for each in made) <= count for at in made for span, count in windows)
    assert len(made) >= a_minute * 4
