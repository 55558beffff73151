"""A request without an answer: the card is shown at once, and what it may have left twice is found and taken away."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.chats import GROUP, OTHER, QUICK, Chats, sending
from vochi_agent.calls.model import Phase
from vochi_agent.simulator.telegram import Fault, SandboxMessage
from vochi_agent.store.postgres import PostgresStore

# What a chat is asked does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

SETTLED = "NOT EXISTS (SELECT 1 FROM cards WHERE doubtful_text IS NOT NULL)"


@pytest.fixture
async def chats(store: PostgresStore, dsn: str) -> AsyncIterator[Chats]:
    async with sending(store, dsn) as found:
        yield found


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.RESET, Fault.SILENCE])
async def test_a_new_message_without_an_answer_stands_there_once_in_the_end(chats: Chats, fault: Fault) -> None:
    await chats.cards.until_shown(await chats.cards.put("до неё", chat_id=GROUP))
    chats.sandbox.break_next(fault, chat_id=GROUP)
    linkedid = await chats.cards.put("текст", chat_id=GROUP)
    card = await chats.cards.until_shown(linkedid)
    await chats.cards.until(SETTLED)

    assert chats.texts() == ["до неё", "текст"]
    assert chats.sandbox.messages(GROUP)[-1].message_id == card["message_id"]
    assert chats.counted("lost") == 1
    assert chats.counted("duplicate") == (1 if fault is Fault.LOST_ANSWER else 0)


async def test_the_words_of_people_and_other_cards_are_never_touched(chats: Chats) -> None:
    """Also when somebody repeats a card word by word, or the bot wrote the same for another call."""
    await chats.cards.until_shown(await chats.cards.put("текст", chat_id=GROUP))
    chats.sandbox.say(GROUP, "текст")
    chats.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
    chats.sandbox.on_message = lambda message: _answer(chats, message)
    await chats.cards.until_shown(await chats.cards.put("текст", chat_id=GROUP))
    await chats.cards.until(SETTLED)

    everything = [message.by_people for message in chats.sandbox.chat(GROUP).messages.values()]
    assert everything.count(False) == 2
    assert everything.count(True) == 3


def _answer(chats: Chats, message: SandboxMessage) -> None:
    if not message.edits:
        chats.sandbox.say(message.chat_id, message.text)


async def test_of_two_calls_without_an_answer_each_stands_there_once_in_the_end(chats: Chats) -> None:
    """What is looked for first meets what the other one left."""
    for text in ("один", "два"):
        chats.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
        await chats.cards.until_shown(await chats.cards.put(text, chat_id=GROUP))
    await chats.cards.until(SETTLED)

    assert chats.texts() == ["один", "два"]
    assert chats.counted("duplicate") == 2


async def test_what_the_bot_wrote_itself_and_no_table_knows_keeps_its_words(chats: Chats) -> None:
    """An answer to a person whose own answer was lost, another program with the same token, `doctor --test-card`."""
    chats.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
    linkedid = await chats.cards.put("текст", chat_id=GROUP)
    await chats.sandbox.until(lambda: bool(chats.texts()))
    async with aiohttp.ClientSession() as http:
        words = {"chat_id": str(GROUP), "text": "Сервер не отвечает"}
        await http.post(f"{chats.sandbox.url}/bot42:TEST/sendMessage", data=words)
    await chats.cards.until_shown(linkedid)
    await chats.cards.until(SETTLED)

    assert sorted(chats.texts()) == ["Сервер не отвечает", "текст"]
    assert [message.buttons for message in chats.sandbox.messages(GROUP)] == [[], []]


async def test_an_edit_without_an_answer_is_repeated(chats: Chats) -> None:
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    await chats.cards.until_shown(linkedid)
    chats.sandbox.break_next(Fault.LOST_ANSWER)
    await chats.cards.put("поговорили", chat_id=GROUP, linkedid=linkedid)
    await chats.cards.until_shown(linkedid)

    (message,) = chats.sandbox.messages(GROUP)
    assert (message.text, message.edits) == ("поговорили", 1)


async def test_a_live_card_whose_answer_was_lost_is_no_orphan(chats: Chats) -> None:
    """By the time it is looked for, its call is over and says something else."""
    chats.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
    linkedid = await chats.cards.put("звонит", chat_id=GROUP, phase=Phase.DIAL)
    await chats.sandbox.until(lambda: bool(chats.texts()))
    await chats.cards.put("поговорили", chat_id=GROUP, linkedid=linkedid)
    await chats.cards.until_shown(linkedid)
    await chats.cards.until(SETTLED)

    await chats.until_texts("поговорили")


async def test_a_mute_telegram_delays_no_other_chat(chats: Chats) -> None:
    chats.sandbox.break_next(Fault.SILENCE, chat_id=GROUP)
    await chats.cards.put("без ответа", chat_id=GROUP)
    async with asyncio.timeout(QUICK.request):
        await chats.cards.until_shown(await chats.cards.put("сразу", chat_id=OTHER))


async def test_what_a_killed_sender_left_is_taken_over_at_once(store: PostgresStore, dsn: str) -> None:
    """The message arrived, its sender is gone before it could note that: the next one finds both."""
    async with sending(store, dsn) as chats:
        await chats.cards.until_shown(await chats.cards.put("до неё", chat_id=GROUP))
        chats.sandbox.break_next(Fault.LOST_ANSWER, chat_id=GROUP)
        linkedid = await chats.cards.put("текст", chat_id=GROUP)
        await chats.sandbox.until(lambda: len(chats.texts()) > 1)
        store.cards._holder = "dead"  # what the first one would note from now on is nobody's
        await chats.stop()
        async with (
            PostgresStore(dsn) as fresh,
            sending(fresh, dsn, sandbox=chats.sandbox) as later,
        ):
            await later.cards.until_shown(linkedid)
            await later.cards.until(SETTLED)

            assert chats.texts() == ["до неё", "текст"]
