"""Cards reach the chats: aiogram between a real table of cards and the sandbox Bot API, through everything that goes
wrong there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.cards import COMPANY, final, finished
from tests.support.chats import FORUM, GROUP, OTHER, QUICK, Chats, configured, sending
from tests.support.tcp_gate import TcpGate
from vochi_agent.calls.model import Phase, Status
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.telegram import Fault, TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram import door
from vochi_agent.telegram.budget import GROUP_A_MINUTE
from vochi_agent.telegram.cards import CardSender
from vochi_agent.telegram.door import OUTDATED

# Cards come on being woken, not because somebody looks often.
# What a chat is sent does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

WOKEN = replace(QUICK, look_again=600.0)
CARD = final(finished(status=Status.MISSED), COMPANY)


@pytest.fixture
async def chats(store: PostgresStore, dsn: str) -> AsyncIterator[Chats]:
    async with sending(store, dsn) as found:
        yield found


def said(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return sum(1 for record in caplog.records if getattr(record, "action", "") == action)


# ---------------------------------------------------------------- the ordinary way


async def test_a_card_is_sent_as_html_without_a_sound_or_a_preview(chats: Chats) -> None:
    card = await chats.cards.until_shown(await chats.cards.put(CARD, chat_id=GROUP))

    (message,) = chats.sandbox.messages(GROUP)
    assert message.source == CARD
    assert message.text.startswith(
        '❌ Мы не подняли трубку\n💰+375 (29) 000-00-11\n👤Контактова Анна (ООО "Ромашка & Ко")'
    )
    assert message.silent
    assert (card["message_id"], card["sent_phase"]) == (message.message_id, "hangup")
    assert '"is_disabled": true' in chats.sandbox.requests[-1].fields["link_preview_options"]


async def test_a_card_is_sent_as_soon_as_the_sender_is_woken(store: PostgresStore, dsn: str) -> None:
    async with sending(store, dsn, pace=WOKEN) as chats:
        for text in ("первая", "вторая"):
            linkedid = await chats.cards.put(text, chat_id=GROUP)
            chats.sender.wake()
            await chats.cards.until_shown(linkedid)

        assert chats.texts() == ["первая", "вторая"]


async def test_what_waits_and_what_a_chat_may_still_be_told_are_shown(store: PostgresStore, dsn: str) -> None:
    async with sending(store, dsn, pace=replace(QUICK, minute=60.0)) as chats:

        def shown(name: str, **labels: str) -> float | None:
            return chats.metrics.registry.get_sample_value(f"vochi_{name}", {"enterprise": "0901", **labels})

        await chats.cards.until_shown(await chats.cards.put("первая", chat_id=GROUP))
        assert shown("telegram_budget_left", chat=str(GROUP)) == GROUP_A_MINUTE - 1

        chats.sandbox.chat(GROUP).closed = "bot was kicked from the supergroup chat"
        await chats.cards.put("вторая", chat_id=GROUP)
        async with asyncio.timeout(8):
            while shown("cards_waiting") != 1 or not shown("outbox_age_seconds", sink="telegram"):
                await asyncio.sleep(0.02)


async def test_a_newer_text_edits_the_same_message(chats: Chats) -> None:
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    await chats.cards.until_shown(linkedid)
    await chats.cards.put("поговорили", chat_id=GROUP, linkedid=linkedid)
    await chats.cards.until_shown(linkedid)

    (message,) = chats.sandbox.messages(GROUP)
    assert (message.text, message.edits) == ("поговорили", 1)


async def test_a_message_that_says_so_already_is_done(chats: Chats) -> None:
    linkedid = await chats.cards.put("текст", chat_id=GROUP, phase=Phase.DIAL)
    await chats.cards.until_shown(linkedid)
    await chats.cards.put("текст", chat_id=GROUP, linkedid=linkedid)
    await chats.cards.until_shown(linkedid)

    (message,) = chats.sandbox.messages(GROUP)
    assert (message.edits, chats.asked("editMessageText")) == (0, 1)


async def test_a_missed_call_is_heard_and_its_silent_live_card_goes(chats: Chats) -> None:
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    live = await chats.cards.until_shown(linkedid)
    await chats.cards.put("не подняли", chat_id=GROUP, linkedid=linkedid, silent=False, anew=True)
    await chats.until_texts("не подняли")

    (message,) = chats.sandbox.messages(GROUP)
    assert not message.silent
    assert message.message_id > live["message_id"]
    await chats.cards.until("NOT EXISTS (SELECT 1 FROM card_leftovers)")


async def test_a_correction_of_a_missed_call_is_no_second_sound(chats: Chats) -> None:
    linkedid = await chats.cards.put("не подняли", chat_id=GROUP, silent=False, anew=True)
    await chats.cards.until_shown(linkedid)
    await chats.cards.put("не подняли, а звонила Анна", chat_id=GROUP, linkedid=linkedid, silent=False, anew=True)
    await chats.cards.until_shown(linkedid)

    (message,) = chats.sandbox.messages(GROUP)
    assert message.edits == 1


async def test_a_call_that_a_chat_does_not_want_any_more_leaves_no_trace(chats: Chats) -> None:
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    await chats.cards.until_shown(linkedid)
    await chats.cards.put("поговорил другой", chat_id=GROUP, linkedid=linkedid, phase=Phase.BRIDGE, wanted=False)

    await chats.until_texts()


async def test_the_next_life_goes_on_with_the_same_message(store: PostgresStore, dsn: str) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(GROUP)
        async with sending(store, dsn, sandbox=sandbox) as chats:
            answered, missed = [await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL) for _ in range(2)]
            before = await chats.cards.until_shown(answered)
            await chats.cards.until_shown(missed)
        async with sending(store, dsn, sandbox=sandbox) as later:
            await later.cards.put("поговорили", chat_id=GROUP, linkedid=answered)
            await later.cards.put("не подняли", chat_id=GROUP, linkedid=missed, silent=False, anew=True)
            after = await later.cards.until_shown(answered)
            await later.until_texts("поговорили", "не подняли")

    assert after["message_id"] == before["message_id"]


async def test_a_deleted_message_is_sent_anew(chats: Chats) -> None:
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    shown = await chats.cards.until_shown(linkedid)
    chats.sandbox.chat(GROUP).messages.clear()
    await chats.cards.put("поговорили", chat_id=GROUP, linkedid=linkedid)
    again = await chats.cards.until_shown(linkedid)

    assert chats.texts() == ["поговорили"]
    assert again["message_id"] == shown["message_id"] + 1


# ---------------------------------------------------------------- errors, by class


@pytest.mark.parametrize("live", [False, True], ids=["new", "edit"])
async def test_a_flood_wait_is_obeyed_exactly_and_delays_no_other_chat(chats: Chats, *, live: bool) -> None:
    linkedid = ""
    if live:
        linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
        await chats.cards.until_shown(linkedid)
    before = chats.asked("sendMessage") + chats.asked("editMessageText")
    chats.sandbox.break_next(Fault.FLOOD, chat_id=GROUP, retry_after=2)
    loop = asyncio.get_running_loop()
    refused = loop.time()
    limited = await chats.cards.put("ждёт", chat_id=GROUP, linkedid=linkedid)
    free = await chats.cards.put("сразу", chat_id=OTHER)
    await chats.cards.until_shown(free, within=1.0)
    await chats.cards.until_shown(limited)

    assert 2.0 <= loop.time() - refused < 4.0
    assert chats.texts() == ["ждёт"]
    assert chats.asked("sendMessage") + chats.asked("editMessageText") == before + 2  # refused, then taken
    assert chats.counted("flood") == 1


async def test_a_flood_wait_without_a_time_is_waited_out(chats: Chats) -> None:
    chats.sandbox.break_next(Fault.BARE_FLOOD, chat_id=GROUP)
    await chats.cards.until_shown(await chats.cards.put("текст", chat_id=GROUP))

    assert chats.texts() == ["текст"]


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.SERVER_ERROR])
async def test_a_broken_telegram_is_tried_again_and_complained_of_once(
    chats: Chats, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chats.sandbox.break_next(fault, times=3)
    await chats.cards.until_shown(await chats.cards.put("текст", chat_id=GROUP))

    assert chats.texts() == ["текст"]
    assert (said(caplog, "telegram_lost"), said(caplog, "telegram_back")) == (1, 1)
    assert chats.counted("away") == 3


async def test_a_telegram_that_is_not_there_is_waited_for(
    store: PostgresStore, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TelegramSandbox() as gone:
        url = gone.url
    async with sending(store, dsn, sandbox=gone) as chats:
        linkedid = await chats.cards.put("текст", chat_id=GROUP)
        await chats.cards.until("(SELECT failures >= 3 FROM cards)")
        async with TelegramSandbox(port=int(url.rpartition(":")[2])) as back:
            back.add_chat(GROUP)
            await chats.cards.until_shown(linkedid)

            assert [message.text for message in back.messages(GROUP)] == ["текст"]
    assert said(caplog, "telegram_lost") == 1


@pytest.mark.parametrize("why", ["bot was kicked from the supergroup chat", "bot was blocked by the user"])
async def test_a_closed_chat_waits_with_one_warning_and_its_cards_are_kept(
    chats: Chats, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chats.sandbox.chat(GROUP).closed = why
    kept = [await chats.cards.put(text, chat_id=GROUP) for text in ("первая", "вторая")]
    await chats.cards.until_shown(await chats.cards.put("другая", chat_id=OTHER))
    await chats.cards.until("(SELECT max(failures) >= 3 FROM cards)")
    await chats.cards.until("EXISTS (SELECT 1 FROM telegram_chats WHERE closed_at IS NOT NULL AND closed_why <> '')")
    chats.sandbox.chat(GROUP).closed = ""
    for linkedid in kept:
        await chats.cards.until_shown(linkedid)

    assert sorted(chats.texts()) == ["вторая", "первая"]
    assert (said(caplog, "telegram_lost"), said(caplog, "telegram_back")) == (1, 1)
    await chats.cards.until("NOT EXISTS (SELECT 1 FROM telegram_chats WHERE closed_at IS NOT NULL)")


async def test_a_closed_chat_is_left_alone_by_the_next_life_too(store: PostgresStore, dsn: str) -> None:
    patient = replace(QUICK, closed=600.0)
    async with sending(store, dsn, pace=patient) as chats:
        chats.sandbox.chat(GROUP).closed = "bot was kicked from the supergroup chat"
        await chats.cards.put("текст", chat_id=GROUP)
        await chats.cards.until("EXISTS (SELECT 1 FROM telegram_chats WHERE closed_at IS NOT NULL)")
        async with sending(store, dsn, sandbox=chats.sandbox, pace=patient) as later:
            await later.cards.until_shown(await later.cards.put("другая", chat_id=OTHER))

        assert chats.asked("sendMessage") == 1


async def test_a_clock_that_is_set_back_keeps_no_chat_closed(store: PostgresStore, dsn: str) -> None:
    await store.cards.closed("0901", GROUP, "kicked")
    async with sending(store, dsn, pace=replace(QUICK, closed=0.5)) as chats:
        await chats.cards.rows("UPDATE telegram_chats SET closed_at = now() + interval '1 year' RETURNING chat_id")
        for text in ("один", "два"):
            await chats.cards.until_shown(await chats.cards.put(text, chat_id=GROUP))


async def test_an_unknown_chat_is_a_closed_one(chats: Chats, caplog: pytest.LogCaptureFixture) -> None:
    linkedid = await chats.cards.put("текст", chat_id=-404)
    await chats.cards.until("(SELECT failures >= 2 FROM cards)")

    assert "chat not found" in caplog.text
    card = await chats.cards.card(linkedid)
    assert (card["sent_revision"], card["gave_up"]) == (0, None)


async def test_a_group_that_became_a_supergroup_is_followed_also_by_the_next_life(
    store: PostgresStore, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sending(store, dsn) as chats:
        linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
        await chats.cards.until_shown(linkedid)
        chats.sandbox.chat(GROUP).moved_to = OTHER
        await chats.cards.put("поговорили", chat_id=GROUP, linkedid=linkedid)
        await chats.cards.until_shown(linkedid)
        await chats.cards.until("EXISTS (SELECT 1 FROM telegram_chats WHERE moved_to IS NOT NULL)")
    asked = 0
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(GROUP).moved_to = OTHER
        sandbox.add_chat(OTHER)
        async with sending(store, dsn, sandbox=sandbox) as later:
            await later.cards.until_shown(await later.cards.put("ещё одна", chat_id=GROUP))
            asked = later.asked("sendMessage")

        assert [message.text for message in sandbox.messages(OTHER)] == ["ещё одна"]
    assert chats.texts(OTHER) == ["поговорили"]
    assert asked == 0
    assert said(caplog, "telegram_moved") == 1


async def test_no_message_of_a_supergroup_is_taken_for_one_of_the_group_it_was(chats: Chats) -> None:
    """A supergroup numbers its messages anew, so a card of before and one of after may have the same id."""
    before = await chats.cards.put("до", chat_id=GROUP)
    await chats.cards.until_shown(before)
    chats.sandbox.chat(GROUP).moved_to = OTHER
    await chats.cards.until_shown(await chats.cards.put("после", chat_id=GROUP))
    await chats.cards.put("до: исправлено", chat_id=GROUP, linkedid=before)
    await chats.cards.until_shown(before)

    assert chats.texts(OTHER) == ["после", "до: исправлено"]
    assert chats.texts(GROUP) == ["до"]


async def test_a_card_stands_in_its_topic_and_without_one_when_that_is_gone(
    chats: Chats, caplog: pytest.LogCaptureFixture
) -> None:
    await chats.cards.until_shown(await chats.cards.put("в теме", chat_id=FORUM, topic=7))
    chats.sandbox.chat(FORUM).topics.clear()
    for text in ("темы нет", "и не было"):
        await chats.cards.until_shown(await chats.cards.put(text, chat_id=FORUM, topic=7))

    assert [(message.text, message.topic) for message in chats.sandbox.messages(FORUM)] == [
        ("в теме", 7),
        ("темы нет", 0),
        ("и не было", 0),
    ]
    assert said(caplog, "telegram_topic") == 1
    assert chats.asked("sendMessage", FORUM) == 4


async def test_a_topic_that_is_opened_again_gets_its_cards_again(
    chats: Chats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "CLOSED_TOPIC_S", 0.0)
    forum = chats.sandbox.chat(FORUM)
    for topics in (set(), {7}):
        forum.topics = topics
        await chats.cards.until_shown(await chats.cards.put("в тему", chat_id=FORUM, topic=7))

    assert [message.topic for message in chats.sandbox.messages(FORUM)] == [0, 7]
    assert said(caplog, "telegram_topic") == 1


async def test_a_forum_in_which_nobody_may_write_outside_of_topics_is_waited_for(chats: Chats) -> None:
    chats.sandbox.chat(FORUM).general_closed = True
    linkedid = await chats.cards.put("темы нет", chat_id=FORUM, topic=9)
    await chats.cards.until("EXISTS (SELECT 1 FROM telegram_chats WHERE closed_why LIKE '%TOPIC_CLOSED%')")
    chats.sandbox.chat(FORUM).general_closed = False
    await chats.cards.until_shown(linkedid)

    assert chats.texts(FORUM) == ["темы нет"]


async def test_what_is_too_old_to_be_deleted_says_that_it_holds_no_longer(chats: Chats) -> None:
    """A reminder that was there over the weekend, a live card of before a long outage; others of the same go."""
    gone = [await chats.cards.put(text, chat_id=GROUP, phase=Phase.DIAL) for text in ("звонит", "звонит другой")]
    for linkedid in gone:
        await chats.cards.until_shown(linkedid)
    chats.sandbox.chat(GROUP).too_old = {1}
    for linkedid in gone:
        await chats.cards.put("", chat_id=GROUP, linkedid=linkedid, phase=Phase.BRIDGE, wanted=False)

    await chats.until_texts(OUTDATED)
    await chats.cards.until("NOT EXISTS (SELECT 1 FROM card_leftovers)")


async def test_markup_that_telegram_refuses_is_sent_as_plain_text(chats: Chats) -> None:
    await chats.cards.until_shown(await chats.cards.put("<b>звонит <i>Анна &amp; Ко</b>", chat_id=GROUP))

    assert chats.texts() == ["звонит Анна & Ко"]


async def test_a_card_that_telegram_will_never_take_is_given_up_and_the_next_one_goes(chats: Chats) -> None:
    bad = await chats.cards.put("я" * 5000, chat_id=GROUP)
    await chats.cards.until_shown(await chats.cards.put("следующая", chat_id=GROUP))

    assert chats.texts() == ["следующая"]
    assert "message is too long" in (await chats.cards.card(bad))["gave_up"]


async def test_a_refused_token_is_one_alarm_and_nothing_is_given_up(
    store: PostgresStore, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sending(store, dsn, token="42:WRONG") as chats:
        linkedid = await chats.cards.put("текст", chat_id=GROUP)
        await chats.cards.until("(SELECT failures >= 2 FROM cards)")

        assert (await chats.cards.card(linkedid))["gave_up"] is None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "WRONG" not in caplog.text


async def test_an_absent_database_costs_no_second_message(dsn: str) -> None:
    host, _, port = dsn.rpartition("@")[2].partition("/")[0].partition(":")
    async with (
        TcpGate(int(port)) as gate,
        PostgresStore(dsn.replace(f"{host}:{port}", f"{host}:{gate.port}")) as store,
        sending(store, dsn) as chats,
    ):
        loop = asyncio.get_running_loop()
        closed = loop.create_future()
        chats.sandbox.on_message = lambda _: closed.set_result(loop.create_task(gate.close()))
        linkedid = await chats.cards.put("текст", chat_id=GROUP)
        await (await closed)
        await asyncio.sleep(1.0)
        chats.sandbox.on_message = lambda _: None
        await gate.open()
        await chats.cards.until_shown(linkedid)

        assert chats.texts() == ["текст"]


async def test_without_a_bot_there_is_nothing_to_run(store: PostgresStore) -> None:
    async with asyncio.timeout(1):
        await CardSender(configured("http://127.0.0.1:9", token=""), store.cards, metrics=Metrics()).run()


async def test_a_daemon_whose_turn_it_is_not_sends_nothing(store: PostgresStore, dsn: str) -> None:
    async with sending(store, dsn) as chats:
        other = CardSender(
            configured("http://127.0.0.1:9"), store.cards, metrics=Metrics(), pace=QUICK, ours=lambda _: False
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(other.run())
            await chats.cards.until_shown(await chats.cards.put("текст", chat_id=GROUP))
            task.cancel()

        assert (await chats.cards.rows("SELECT max(failures) AS failures FROM cards"))[0]["failures"] == 0


async def test_a_bug_met_in_one_chat_delays_no_other_and_the_chat_comes_back(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, bugs = chats.cards.store.cards.work, [1]

    async def haunted(enterprise_number: str, chat_id: int) -> object:
        if chat_id == GROUP and bugs:
            bugs.pop()
            raise ZeroDivisionError("a bug")
        return await work(enterprise_number, chat_id)

    monkeypatch.setattr(chats.cards.store.cards, "work", haunted)
    later, other = [await chats.cards.put(CARD, chat_id=chat_id) for chat_id in (GROUP, OTHER)]
    await chats.cards.until_shown(other)
    assert chats.sandbox.messages(GROUP) == []
    await chats.cards.until_shown(later)

    assert bugs == []


@pytest.mark.parametrize("name", ["<b>&\"'", "Я" * 4000, "\u202eавонавИ\u200f", "🌼🌼🌼"])
async def test_hostile_names_arrive(chats: Chats, name: str) -> None:
    who = replace(COMPANY, names=replace(COMPANY.names, last_name=name, first_name="", enterprise_name=name))
    await chats.cards.until_shown(await chats.cards.put(final(finished(), who), chat_id=GROUP))

    (text,) = chats.texts()
    assert len(text.split("\n")) == 7
    assert chats.counted("refused") == 0
