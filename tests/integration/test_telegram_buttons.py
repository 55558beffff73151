"""Buttons below cards: aiogram between a real database and the sandbox Bot API."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.calls import answered, missed
from tests.support.card_table import CardTable
from tests.support.chats import GROUP, OTHER
from tests.support.desks import ANNA, BORIS, Front, listening
from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.calls.model import Call, Direction
from vochi_agent.clicks import Clicks
from vochi_agent.customers.model import Names, Profile
from vochi_agent.desk_ports import Operator, Person, PressedCard
from vochi_agent.errors import NotReachable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.simulator.telegram import Fault, SandboxMessage, TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram import press_text as say
from vochi_agent.telegram.drafts import renderer

CALLER, OTHER_NUMBER = "+375290000011", "+375290000012"
# What becomes of a press does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

MINUTE = timedelta(minutes=1)
ARI = "http://127.0.0.1:8088"
DUE = "UPDATE cards SET retry_at = now(), changed_at = now() WHERE kind = 'reminder' RETURNING id"


class Pbx:
    """Where calls are placed."""

    def __init__(self) -> None:
        self.placed: list[tuple[str, str]] = []
        self.away = False

    async def call_out(self, extension: str, phone: str) -> str:
        """Fulfils `clicks.Placing`."""
        if self.away:
            raise NotReachable("nobody answers")
        self.placed.append((extension, phone))
        return "vochi-1.1"


@pytest.fixture
def pbx() -> Pbx:
    return Pbx()


@pytest.fixture
async def front(store: PostgresStore, pbx: Pbx) -> AsyncIterator[Front]:
    """Anna is 151, Boris 152."""
    clock = asyncio.get_running_loop().time
    clicks = Clicks(
        "0901", "telegram", agents={}, country="BY", prefixes=(), place=pbx.call_out, clock=clock, metrics=Metrics()
    )
    async with listening(store, ari=ARI, redial={"0901": clicks}) as found:
        for person, extension in ((Person(ANNA, "Анна"), "151"), (Person(BORIS, "Борис"), "152")):
            code = await store.operators.invite("0901", extension)
            assert await store.operators.redeem(code, person, ["0901"])
        yield found


@pytest.fixture
def table(store: PostgresStore, dsn: str) -> CardTable:
    return CardTable(store, dsn)


def ago(minutes: float, **facts: Any) -> Mapping[str, Any]:
    """When a call began and ended, of a database whose clock is the real one."""
    started = datetime.now(UTC) - timedelta(minutes=minutes)
    return {"started_at": started, "ended_at": started + timedelta(seconds=facts.pop("lasts", 40)), **facts}


def in_vain(linkedid: str = "1.1", **facts: Any) -> Call:
    return missed(**{"linkedid": linkedid, "phone": CALLER, **ago(2), **facts})


def reached(linkedid: str = "1.2", *, minutes: float = 0.5, **facts: Any) -> Call:
    started = ago(minutes)["started_at"]
    known = {"direction": Direction.OUT, "answered_at": started, "path": ("152",), "first_agent": "152", "rung": ()}
    return answered(linkedid=linkedid, **{"phone": CALLER, **ago(minutes), **known, **facts})


async def told(front: Front, call: Call) -> None:
    """A call is stored as the daemon does."""
    await front.store.calls.record(call, renderer(front.config.enterprises[0], front.config))
    front.call_backs.wake()


async def carded(front: Front, call: Call) -> SandboxMessage:
    """The message of the group that shows a call."""
    known = len(front.sandbox.messages(GROUP))
    await told(front, call)
    await front.sandbox.until(lambda: len(front.sandbox.messages(GROUP)) > known)
    message = front.sandbox.messages(GROUP)[-1]
    async with asyncio.timeout(5):  # until the table knows it too
        while await front.store.cards.unknown(GROUP, [message.message_id]):
            await asyncio.sleep(0.01)
    return message


async def pressed(front: Front, message: SandboxMessage, label: str, *, user_id: int = ANNA) -> tuple[str, bool]:
    """What somebody who presses a button is told, and whether he has to close it."""
    return await front.sandbox.answered(front.sandbox.press(message, label, user_id=user_id))


async def until_says(front: Front, words: str) -> SandboxMessage:
    """The message of the group, once it says something."""
    await front.sandbox.until(lambda: any(words in text for text in front.texts(GROUP)))
    return next(each for each in front.sandbox.messages(GROUP) if words in each.text)


def counted(front: Front, button: str, result: str) -> float:
    labels = {"button": button, "result": result}
    return front.metrics.registry.get_sample_value("vochi_bot_presses_total", labels) or 0.0


# ---------------------------------------------------------------- which there are


async def test_a_missed_call_can_be_taken_asked_about_and_called_back(front: Front) -> None:
    card = await carded(front, in_vain())

    assert [[text for text, _ in row] for row in card.keyboard] == [["Взял(а)"], ["Почему?", "Перезвонить"]]
    for _, data in (button for row in card.keyboard for button in row):
        assert len(data.encode()) <= 64
        assert "1.1" not in data
        assert "290000011" not in data


async def test_an_answered_call_and_a_hidden_number_have_fewer_buttons(front: Front) -> None:
    talked = await carded(front, reached())
    hidden = await carded(front, in_vain("1.3", phone=None, raw_number="anonymous"))

    assert talked.buttons == ["Почему?", "Перезвонить"]
    assert hidden.buttons == ["Почему?"]


async def test_no_button_is_shown_that_could_not_work(store: PostgresStore) -> None:
    async with listening(store) as front:
        assert (await carded(front, in_vain())).buttons == ["Взял(а)", "Почему?"]
        config = front.config.model_copy(
            update={"telegram": front.config.telegram.model_copy(update={"updates": "off"})}
        )
        (draft, _) = renderer(config.enterprises[0], config)(in_vain(), None, None)
        assert draft.buttons == ()
        without = config.enterprises[0].chats[0].model_copy(update={"buttons": False})
        quiet = config.enterprises[0].model_copy(update={"chats": (without,)})
        (draft,) = renderer(quiet, front.config)(in_vain(), None, None)
        assert draft.buttons == ()


async def test_a_correction_of_the_card_keeps_its_buttons(front: Front) -> None:
    card = await carded(front, in_vain())
    await front.store.customers.edit("0901", CALLER, {"last_name": "Тестов"})
    render = renderer(front.config.enterprises[0], front.config)
    assert await front.store.calls.refresh_cards("0901", "1.1", render)
    named = await until_says(front, "Тестов")

    assert (named.message_id, named.keyboard) == (card.message_id, card.keyboard)


# ---------------------------------------------------------------- taken


async def test_one_press_takes_a_missed_call_and_the_card_says_who(front: Front) -> None:
    card = await carded(front, in_vain())

    assert await pressed(front, card, "Взял(а)") == (say.TAKEN, False)
    taken = await until_says(front, "🙋 Взял(а) ☎️Второй Агент (151) в ")
    assert taken.message_id == card.message_id
    assert taken.buttons == ["Почему?", "Перезвонить"]
    assert counted(front, "take", "done") == 1


async def test_who_comes_second_is_told_who_was_first(front: Front) -> None:
    card = await carded(front, in_vain())
    await pressed(front, card, "Взял(а)", user_id=BORIS)

    text, alert = await pressed(front, card, "Взял(а)")
    assert text.startswith("🙋 Взял(а) ☎️Борис (152) в ")
    assert alert
    assert await pressed(front, card, "Взял(а)", user_id=BORIS) == (say.MINE, False)
    assert counted(front, "take", "late") == 2


async def test_of_many_who_press_at_once_exactly_one_gets_it(front: Front) -> None:
    await told(front, in_vain())
    card = PressedCard(enterprise_number="0901", linkedid="1.1", topic=0)
    people = [
        Operator(enterprise_number="0901", user_id=each, extension=str(each), name="") for each in range(100, 120)
    ]
    results = await asyncio.gather(*(front.store.call_backs.take(card, person) for person in people))

    (winner,) = [person for person, (taken, _) in zip(people, results, strict=True) if taken]
    assert {stands.taken_by for _, stands in results if stands} == {winner.extension}


async def test_a_card_that_was_not_rewritten_before_a_crash_is_rewritten_after_it(front: Front) -> None:
    await carded(front, in_vain())
    card = PressedCard(enterprise_number="0901", linkedid="1.1", topic=0)
    anna = Operator(enterprise_number="0901", user_id=ANNA, extension="151", name="Анна")
    await front.store.call_backs.take(card, anna)  # and nobody is woken

    await until_says(front, "🙋 Взял(а) ☎️Второй Агент (151)")


# ---------------------------------------------------------------- closed by itself


async def test_whoever_reaches_the_customer_closes_it(front: Front) -> None:
    card = await carded(front, in_vain())
    await pressed(front, card, "Взял(а)")
    await until_says(front, "🙋")
    await told(front, reached(minutes=-3))  # the PBX's clock, not ours, says when
    closed = await until_says(front, "☑️ Перезвонил(а) ☎️Доб.152 через 4 мин")

    assert closed.message_id == card.message_id
    assert "🙋" not in closed.text
    text, alert = await pressed(front, replace(card, keyboard=card.keyboard), "Взял(а)", user_id=BORIS)
    assert text.startswith("☑️ Перезвонил(а)")
    assert alert


async def test_a_customer_who_calls_again_and_is_answered_closes_it_too(front: Front) -> None:
    await carded(front, in_vain())
    await told(front, reached(direction=Direction.IN, path=("151",), first_agent="151", minutes=-60))

    await until_says(front, "☑️ Дозвонился через 1 ч 1 мин: ☎️Второй Агент (151)")


async def test_a_call_back_in_vain_closes_nothing(front: Front, table: CardTable) -> None:
    await carded(front, in_vain())
    await told(front, in_vain("1.2", direction=Direction.OUT, first_agent="152", **ago(0.5)))
    await table.until("(SELECT count(*) = 2 FROM calls)")

    assert not await table.rows("SELECT 1 FROM call_backs WHERE reached_at IS NOT NULL OR linkedid = '1.2'")


async def test_a_talk_that_was_over_before_he_called_closes_nothing(front: Front, table: CardTable) -> None:
    await told(front, reached("1.0", minutes=10))
    await told(front, in_vain())

    assert not await table.rows("SELECT 1 FROM call_backs WHERE reached_at IS NOT NULL")


async def test_calls_that_become_known_in_the_wrong_order_say_the_same(front: Front) -> None:
    await told(front, reached())
    await told(front, in_vain())
    card = await until_says(front, "☑️ Перезвонил(а) ☎️Доб.152")

    assert card.buttons == ["Почему?", "Перезвонить"]


async def test_a_call_that_turns_out_to_be_answered_is_nobodys(front: Front, table: CardTable) -> None:
    call = in_vain()
    card = await carded(front, replace(call, partial=True))
    await pressed(front, card, "Взял(а)")
    await until_says(front, "🙋")
    fact = answered(linkedid="1.1", phone=CALLER, started_at=call.started_at, ended_at=call.ended_at)
    await told(front, fact)
    corrected = await until_says(front, "✅")

    assert "🙋" not in corrected.text
    assert await table.rows("SELECT 1 FROM call_backs") == []


async def test_a_talk_that_was_part_of_another_call_did_not_close_it(front: Front, table: CardTable) -> None:
    await carded(front, in_vain())
    await told(front, reached())
    await until_says(front, "☑️")
    await front.store.calls.merge("0901", "1.2", "1.9")

    await front.sandbox.until(lambda: not any("☑️" in text for text in front.texts(GROUP)))
    assert (await until_says(front, "❌ Мы не подняли трубку")).buttons[0] == "Взял(а)"


def profile(external_id: str, *phones: str, company: str) -> Profile:
    names = Names(last_name="Тестов")
    return Profile(source="retailcrm", external_id=external_id, company_id=company, names=names, phones=phones)


@pytest.mark.parametrize("company", ["", "77"])
async def test_another_number_of_the_same_person_closes_it(front: Front, table: CardTable, company: str) -> None:
    his = profile("2003", CALLER, OTHER_NUMBER, company=company)
    await front.store.customers.enrich("0901", CALLER, his, primary=False)
    await told(front, in_vain())
    await told(front, reached(phone=OTHER_NUMBER))

    assert await table.rows("SELECT 1 FROM call_backs WHERE reached_at IS NOT NULL")


async def test_a_colleague_of_the_same_company_does_not_close_it(front: Front, table: CardTable) -> None:
    for external_id, phone in (("2003", CALLER), ("2004", OTHER_NUMBER)):
        colleague = profile(external_id, phone, company="77")
        await front.store.customers.enrich("0901", phone, colleague, primary=False)
    await told(front, in_vain())
    await told(front, reached(phone=OTHER_NUMBER))

    assert not await table.rows("SELECT 1 FROM call_backs WHERE reached_at IS NOT NULL")


async def test_whose_numbers_they_are_may_become_known_after_both_calls(front: Front) -> None:
    """The CRM was away, or a manager put the number that nobody knew on the card of whom he had reached."""
    await carded(front, in_vain())
    await told(front, reached(phone=OTHER_NUMBER))
    await front.store.customers.enrich("0901", CALLER, profile("3", CALLER, company=""), primary=True)
    await front.store.customers.link("0901", CALLER, OTHER_NUMBER)
    front.call_backs.wake()
    await until_says(front, "☑️ Перезвонил(а) ☎️Доб.152")


async def test_numbers_that_turn_out_to_be_of_two_people_open_it_again(front: Front, table: CardTable) -> None:
    his = profile("2003", CALLER, OTHER_NUMBER, company="")
    await front.store.customers.enrich("0901", CALLER, his, primary=True)
    await carded(front, in_vain())
    await told(front, reached(phone=OTHER_NUMBER))
    await until_says(front, "☑️")
    left = replace(his, phones=(CALLER,), phones_complete=True)
    await front.store.customers.enrich("0901", CALLER, left, primary=True)
    front.call_backs.wake()

    await front.sandbox.until(lambda: not any("☑️" in text for text in front.texts(GROUP)))


# ---------------------------------------------------------------- reminded


async def test_nobody_for_a_while_is_reminded_of_once(front: Front, table: CardTable) -> None:
    await carded(front, in_vain())
    await asyncio.sleep(0.3)
    assert len(front.texts(GROUP)) == 1
    (row,) = await table.rows(
        "SELECT retry_at - now() AS wait FROM cards WHERE kind = 'reminder' AND chat_id = $1", GROUP
    )
    assert timedelta(minutes=12) < row["wait"] < timedelta(minutes=15)
    assert await front.store.cards.waiting() == {}, "it is late for nothing"

    await table.rows(DUE)
    reminder = await until_says(front, "⏰ Никто не перезвонил уже 15 мин\n💰+375 (29) 000-00-11\n")
    assert not reminder.silent
    assert reminder.buttons == ["Взял(а)", "Почему?", "Перезвонить"]
    await asyncio.sleep(0.3)
    assert len(front.texts(GROUP)) == 2


async def test_a_reminder_goes_when_somebody_takes_the_call_below_it(front: Front, table: CardTable) -> None:
    await carded(front, in_vain())
    await table.rows(DUE)
    reminder = await until_says(front, "⏰ Никто не перезвонил")
    await table.until("(SELECT bool_and(sent_revision = revision) FROM cards WHERE chat_id = $1)", GROUP)

    assert await pressed(front, reminder, "Взял(а)", user_id=BORIS) == (say.TAKEN, False)
    await front.sandbox.until(lambda: len(front.texts(GROUP)) == 1 and "🙋" in front.texts(GROUP)[0])


async def test_nobody_is_reminded_of_what_is_done(front: Front, table: CardTable) -> None:
    card = await carded(front, in_vain())
    await carded(front, in_vain("1.3", phone=OTHER_NUMBER))
    await pressed(front, card, "Взял(а)")
    await told(front, reached(phone=OTHER_NUMBER))
    await until_says(front, "🙋")
    await until_says(front, "☑️")
    await table.rows(DUE)
    await asyncio.sleep(0.3)

    assert not any("⏰ Никто" in text for text in front.texts(GROUP))
    assert len(await table.rows("SELECT 1 FROM cards WHERE kind = 'reminder' AND chat_id = $1", GROUP)) == 2


async def test_a_reminder_outlives_restarts_and_is_said_once(store: PostgresStore, table: CardTable) -> None:
    async with TelegramSandbox() as sandbox:
        for chat in (GROUP, OTHER, ANNA):
            sandbox.add_chat(chat)
        async with listening(store, sandbox=sandbox) as front:
            await carded(front, in_vain())
        await table.rows(DUE)
        sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
        async with listening(store, sandbox=sandbox) as front:
            await until_says(front, "⏰")
        store.cards._holder = "another life"
        async with listening(store, sandbox=sandbox) as front:
            await table.until("(SELECT bool_and(sent_revision = revision) FROM cards WHERE chat_id = $1)", GROUP)
            await table.until("NOT EXISTS (SELECT 1 FROM cards WHERE doubtful_text IS NOT NULL)")

            assert sum("⏰ Никто" in text for text in front.texts(GROUP)) == 1


async def test_calls_that_become_known_late_remind_of_nothing(front: Front, table: CardTable) -> None:
    await carded(front, in_vain(**ago(200)))

    assert await table.rows("SELECT 1 FROM cards WHERE kind = 'reminder'") == []


# ---------------------------------------------------------------- asked about


async def test_why_is_told_privately_in_russian(front: Front) -> None:
    legs = (
        LegEvidence(endpoint="PJSIP/gsm1", extension="", role=LegRole.CUSTOMER, entered=True, started=0.0, ended=40.0),
        LegEvidence(
            endpoint="PJSIP/151", extension="151", role=LegRole.AGENT, entered=False, started=1.0, rang=1.5, cause=26
        ),
    )
    card = await carded(front, in_vain(evidence=legs))
    said = len(front.texts(ANNA))

    assert await pressed(front, card, "Почему?") == (say.PRIVATELY, False)
    assert len(front.texts(GROUP)) == 1
    (text,) = front.texts(ANNA)[said:]
    assert "Телефон звонил, никто не ответил." in text
    assert "Звонили: 150, Второй Агент (151)" in text
    assert "00:02 звонит: Второй Агент (151)" in text


async def test_who_has_blocked_the_bot_reads_the_verdict_above_the_chat(front: Front) -> None:
    card = await carded(front, in_vain())
    front.sandbox.chat(ANNA).closed = "bot was blocked by the user"
    text, alert = await pressed(front, card, "Почему?")

    assert text == "Телефон звонил, никто не ответил. Звонили: 150, Второй Агент (151). Ожидание: 00:40"
    assert alert


# ---------------------------------------------------------------- called back


async def test_a_call_back_rings_the_telephone_of_who_pressed(front: Front, pbx: Pbx) -> None:
    card = await carded(front, in_vain())

    assert await pressed(front, card, "Перезвонить", user_id=BORIS) == (say.RINGING.format(extension="152"), False)
    assert await pressed(front, card, "Перезвонить", user_id=BORIS) == (say.RINGS_ALREADY, False)
    assert pbx.placed == [("152", CALLER)]


async def test_a_press_that_waited_for_the_daemon_rings_no_telephone(front: Front, pbx: Pbx) -> None:
    """Whoever pressed does something else by now; a second press is his to make."""
    card = await carded(front, in_vain())
    person = {"id": ANNA, "is_bot": False, "first_name": "Анна"}
    shown = {"message_id": card.message_id, "chat": {"id": GROUP, "type": "supergroup", "title": "x"}, "date": 1}
    query_id = front.sandbox.queries.begin(asyncio.get_running_loop().time())
    query = {"id": query_id, "from": person, "chat_instance": "1", "message": shown, "data": card.button("Перезвонить")}
    update = json.dumps({"update_id": 7, "callback_query": query})
    await front.store.operators.keep_polled(42, {7: update}, next_update=8, waited=timedelta(seconds=20))

    assert await front.sandbox.answered(query_id) == (say.LATE, True)
    assert pbx.placed == []
    assert await pressed(front, card, "Перезвонить") == (say.RINGING.format(extension="151"), False)


async def test_a_telephone_is_rung_once_though_its_daemon_is_killed_before_it_says_so(
    front: Front, store: PostgresStore, pbx: Pbx, table: CardTable
) -> None:
    card = await carded(front, in_vain())
    front.sandbox.break_next(Fault.SILENCE, method="answerCallbackQuery")
    front.sandbox.press(card, "Перезвонить", user_id=ANNA)
    await table.until("EXISTS (SELECT FROM bot_inbox WHERE content IS NULL)")
    async with asyncio.timeout(5):
        while not pbx.placed:
            await asyncio.sleep(0.01)

    assert await store.operators.kept_updates(42, limit=1) == []


async def test_a_number_that_costs_and_a_pbx_that_is_away_are_said(front: Front, pbx: Pbx) -> None:
    abroad = await carded(front, in_vain(phone="+4915112345678"))
    assert await pressed(front, abroad, "Перезвонить") == (say.NOT_CALLED, True)
    here = await carded(front, in_vain("1.3"))
    pbx.away = True

    assert await pressed(front, here, "Перезвонить") == (say.PBX_SILENT, True)
    assert pbx.placed == []


# ---------------------------------------------------------------- refused


async def unchanged(front: Front, table: CardTable, pbx: Pbx, texts: list[str]) -> None:
    """Nothing was done."""
    assert front.texts(GROUP) == texts
    assert pbx.placed == []
    assert await table.rows("SELECT 1 FROM call_backs WHERE taken_by IS NOT NULL") == []


async def test_strangers_are_refused_politely(
    front: Front, table: CardTable, pbx: Pbx, caplog: pytest.LogCaptureFixture
) -> None:
    card = await carded(front, in_vain())
    await front.store.operators.dismiss("0901", "152")
    for label in card.buttons:
        assert await pressed(front, card, label, user_id=BORIS) == (say.STRANGER, True)

    await unchanged(front, table, pbx, [card.text])
    assert sum(getattr(record, "action", "") == "press_refused" for record in caplog.records) == 3
    assert "290000011" not in caplog.text
    assert counted(front, "take", "stranger") == 1


async def test_forged_and_replayed_presses_do_nothing(front: Front, table: CardTable, pbx: Pbx) -> None:
    card = await carded(front, in_vain())
    other = await carded(front, in_vain("1.3", phone=OTHER_NUMBER))
    data = card.button("Взял(а)")
    texts = front.texts(GROUP)
    for chat_id, message_id, sent in (
        (OTHER, card.message_id, data),  # another chat
        (GROUP, other.message_id, data),  # below another card
        (GROUP, 999, data),  # below a message that is gone
        (ANNA, card.message_id, data),
        (GROUP, card.message_id, "take:" + "0" * 32),
        (GROUP, card.message_id, data.replace("take", "drop")),
        (GROUP, card.message_id, "1.1"),
        (GROUP, card.message_id, "take:1.1' OR true --"),
        (GROUP, card.message_id, "\0" * 64),
    ):
        query = front.sandbox.press_forged(chat_id, message_id, sent, user_id=ANNA)
        assert await front.sandbox.answered(query) == (say.STALE, True)

    await unchanged(front, table, pbx, texts)


async def test_a_button_of_an_earlier_message_of_the_card_is_worth_nothing(front: Front, table: CardTable) -> None:
    card = await carded(front, in_vain())
    front.sandbox.chat(GROUP).messages.clear()
    await front.store.customers.edit("0901", CALLER, {"last_name": "Тестов"})
    await front.store.calls.refresh_cards("0901", "1.1", renderer(front.config.enterprises[0], front.config))
    again = await until_says(front, "Тестов")
    await table.until(
        "(SELECT bool_and(sent_revision = revision) FROM cards WHERE kind = 'call' AND chat_id = $1)", GROUP
    )

    query = front.sandbox.press_forged(GROUP, card.message_id, card.button("Взял(а)"), user_id=ANNA)
    assert await front.sandbox.answered(query) == (say.STALE, True)
    assert await pressed(front, again, "Взял(а)") == (say.TAKEN, False)


async def test_a_card_of_another_enterprise_is_out_of_reach(front: Front, table: CardTable) -> None:
    card = await carded(front, in_vain())
    await table.rows("UPDATE cards SET enterprise_number = '0902'")

    assert await pressed(front, card, "Взял(а)") == (say.STALE, True)


async def test_a_person_who_presses_without_end_is_slowed_down(front: Front) -> None:
    card = await carded(front, reached())
    answers = [await pressed(front, card, "Перезвонить") for _ in range(21)]

    assert answers[-1] == (say.TOO_OFTEN, True)
    assert (await pressed(front, card, "Перезвонить", user_id=BORIS))[0] != say.TOO_OFTEN


async def test_a_press_that_nobody_waits_for_any_more_breaks_nothing(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    card = await carded(front, in_vain())
    front.sandbox.press(card, "Взял(а)", user_id=ANNA)
    front.sandbox.queries._waiting.clear()
    await until_says(front, "🙋")

    assert await pressed(front, card, "Взял(а)", user_id=BORIS) != (say.TAKEN, False)
    assert "Traceback" not in caplog.text


# ---------------------------------------------------------------- beside the rest


async def test_a_duplicate_with_buttons_is_found_and_taken_away(front: Front, table: CardTable) -> None:
    await carded(front, reached("1.0"))
    front.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
    await told(front, in_vain("1.3", phone=OTHER_NUMBER))
    await table.until("(SELECT count(*) = 1 FROM cards WHERE linkedid = '1.3' AND sent_revision = 1)")
    await table.until("NOT EXISTS (SELECT 1 FROM cards WHERE doubtful_text IS NOT NULL)")

    (left,) = [each for each in front.sandbox.messages(GROUP) if each.text.startswith("❌")]
    assert left.buttons == ["Взял(а)", "Почему?", "Перезвонить"]
    assert await pressed(front, left, "Взял(а)") == (say.TAKEN, False)


async def test_a_message_about_several_calls_has_no_buttons(front: Front, store: PostgresStore) -> None:
    until = datetime.now(UTC) + timedelta(seconds=0.5)
    draft = CardDraft(
        chat_id=GROUP, topic=0, text="❌ итог", brief="❌", silent=True, buttons=("why",), held_until=until
    )
    for linkedid in ("1.1", "1.2"):
        await store.calls.record(in_vain(linkedid), lambda *_, **__: [draft])
    shared = await until_says(front, "🌙 В тихие часы: 2 звонка")

    assert shared.buttons == []


async def test_a_group_that_became_a_supergroup_is_the_same_chat(front: Front) -> None:
    moved = -1001000000099
    front.sandbox.add_chat(moved)
    front.sandbox.chat(GROUP).moved_to = moved
    await told(front, in_vain())
    await front.sandbox.until(lambda: bool(front.texts(moved)))
    (card,) = front.sandbox.messages(moved)
    async with asyncio.timeout(5):  # until the table knows it too
        while await front.store.cards.unknown(GROUP, [card.message_id]):
            await asyncio.sleep(0.01)

    assert await pressed(front, card, "Взял(а)") == (say.TAKEN, False)
    await front.sandbox.until(lambda: any("🙋" in text for text in front.texts(moved)))
