"""People write to the bot: aiogram between a real database and the sandbox Bot API."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import asyncpg
import pytest

from tests.support.calls import NOON, answered, missed
from tests.support.card_table import CardTable
from tests.support.chats import GROUP, OTHER
from tests.support.desks import ANNA, BORIS, Front, configured, listening
from vochi_agent.config import Enterprise
from vochi_agent.desk_ports import Incoming, Person
from vochi_agent.simulator.telegram import Fault, SandboxMessage, TelegramSandbox
from vochi_agent.simulator.telegram_updates import WEBHOOK_SET
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.desk import Desk, Reply

CALLER, OTHER_CALLER = "+375290000011", "+375290000012"


# What the bot answers does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)


@pytest.fixture
async def front(store: PostgresStore) -> AsyncIterator[Front]:
    async with listening(store) as found:
        yield found


def said(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return sum(getattr(record, "action", "") == action for record in caplog.records)


# ---------------------------------------------------------------- who somebody is


async def test_a_link_makes_a_person_an_extension_once(front: Front) -> None:
    code = await front.store.operators.invite("0901", "151")
    answer = await front.ask(f"/start {code}")
    second = await front.ask(f"/start {code}", user_id=BORIS)

    assert answer.text.startswith("Готово, Анна: ваш номер 151 – Ромашка.")
    assert second.text.startswith("Эта ссылка не подходит")
    (operator,) = await front.store.operators.operators(ANNA, ["0901"])
    assert (operator.extension, operator.name) == ("151", "Анна")
    assert await front.store.operators.operators(BORIS, ["0901"]) == []


async def test_of_two_who_come_with_one_code_at_once_one_gets_it(front: Front) -> None:
    code = await front.store.operators.invite("0901", "151")
    for user_id in (ANNA, BORIS):
        front.sandbox.write(user_id, f"/start {code}", user_id=user_id)
    await front.sandbox.until(lambda: bool(front.texts(ANNA) and front.texts(BORIS)))

    assert sorted(text.startswith("Готово") for text in front.texts(ANNA) + front.texts(BORIS)) == [False, True]


async def test_a_code_is_good_for_a_day_and_kept_as_a_hash(front: Front, dsn: str) -> None:
    code = await front.store.operators.invite("0901", "151")
    connection = await asyncpg.connect(dsn)
    row = dict(await connection.fetchrow("SELECT *, expires_at - now() AS rest FROM invitations"))
    await connection.execute("UPDATE invitations SET expires_at = now() - interval '1 second'")
    await connection.close()

    assert timedelta(hours=23, minutes=59) < row["rest"] <= timedelta(hours=24)
    assert code not in str(row)
    assert (await front.ask(f"/start {code}")).text.startswith("Эта ссылка не подходит")


async def test_a_new_invitation_replaces_the_earlier_code_and_who_uses_it_the_earlier_person(front: Front) -> None:
    first = await front.store.operators.invite("0901", "151")
    await front.sign_up(BORIS)

    assert (await front.ask(f"/start {first}")).text.startswith("Эта ссылка не подходит")
    await front.sign_up(ANNA)
    assert await front.store.operators.operators(BORIS, ["0901"]) == []
    await front.sign_up(ANNA, "152")
    (operator,) = await front.store.operators.operators(ANNA, ["0901"])
    assert operator.extension == "152"


async def test_who_is_dismissed_is_a_stranger(front: Front) -> None:
    await front.sign_up()

    assert await front.store.operators.dismiss("0901", "151")
    assert (await front.ask("/today")).text.startswith("Здравствуйте! Этот бот отвечает только сотрудникам")
    assert not await front.store.operators.dismiss("0901", "151")


@pytest.mark.parametrize(
    "text", ["/missed", "/who +375290000011", "/start", "привет", "/start " + "Ж" * 3000, "/start \0"]
)
async def test_strangers_get_a_polite_sentence_and_nothing_else(
    front: Front, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    await front.stored(missed(phone=CALLER))
    answer = await front.ask(text)

    assert answer.text.startswith(("Здравствуйте! Этот бот отвечает только", "Эта ссылка не подходит"))
    assert "290000011" not in answer.text
    assert said(caplog, "operator_unknown") == 1
    assert "Анна" not in caplog.text


async def test_strangers_together_get_ten_answers_a_minute(front: Front) -> None:
    for _ in range(10):
        await front.ask("привет")

    await front.ignored("привет")
    await front.sign_up(BORIS)
    assert len(front.texts(ANNA)) == 10


async def test_strangers_in_groups_get_two_answers_a_minute(front: Front) -> None:
    for _ in range(2):
        await front.ask("/today", chat_id=GROUP)

    await front.ignored("/today", chat_id=GROUP)
    assert (await front.ask("привет")).text.startswith("Здравствуйте!")


async def test_a_name_from_telegram_is_escaped(front: Front) -> None:
    code = await front.store.operators.invite("0901", "151")
    answer = await front.ask(f"/start {code}", name='<b>&"\u202eАнна')

    assert answer.text.startswith('Готово, <b>&"Анна: ваш номер 151')


# ---------------------------------------------------------------- what they ask


async def test_missed_names_who_has_talked_with_nobody_since(front: Front) -> None:
    await front.sign_up()
    await front.store.customers.edit("0901", CALLER, {"last_name": "Тестов", "first_name": "Тест"})
    later, latest = NOON + timedelta(minutes=10), NOON + timedelta(minutes=20)
    await front.stored(
        missed(linkedid="1.1", phone=CALLER),
        missed(linkedid="1.2", phone=CALLER, started_at=later, ended_at=later + timedelta(seconds=9)),
        missed(linkedid="1.3", phone=OTHER_CALLER),
        answered(linkedid="1.4", phone=OTHER_CALLER, started_at=latest, ended_at=latest + timedelta(seconds=9)),
    )
    answer = await front.ask("/missed")

    heading, *lines = answer.text.splitlines()
    assert heading == "❌ Ждут звонка: 1"
    assert len(lines) == 1
    assert "+375 (29) *** ** 11" not in lines[0]
    assert lines[0].endswith("· 2 раза")
    assert "Тестов Тест" in lines[0]


async def test_a_day_without_missed_calls_is_said_to_be_one(front: Front) -> None:
    await front.sign_up()

    assert (await front.ask("/missed")).text == "✅ Сегодня всем ответили или перезвонили"


async def test_today_counts_the_calls_of_this_day(front: Front) -> None:
    await front.sign_up()
    yesterday = NOON - timedelta(days=1)
    await front.stored(
        missed(linkedid="1.1", phone=CALLER),
        answered(linkedid="1.2", phone=OTHER_CALLER),
        answered(linkedid="1.3", phone=CALLER, started_at=yesterday, ended_at=yesterday + timedelta(seconds=9)),
    )

    assert (await front.ask("/today")).text == (
        "📊 Сегодня\n"
        "Входящие: 2 звонка, отвечено 1, пропущено 1\n"
        "Исходящие: 0 звонков, дозвонились 0\n"
        "Ждут звонка: 1 – /missed"
    )


async def test_who_says_whose_a_number_is_without_its_middle_where_a_chat_masks(front: Front) -> None:
    await front.sign_up()
    await front.store.customers.edit("0901", CALLER, {"last_name": "Тестов", "enterprise_name": "<ООО> & Ко"})
    await front.stored(answered(phone=CALLER))
    private = await front.ask("/who 8 029 000-00-11")
    group = await front.ask("/who@vochi_bot +375290000011", chat_id=GROUP)
    masked = await front.ask("/who +375290000011", chat_id=OTHER)

    assert group.text.startswith("💰+375 (29) 000-00-11\n👤Тестов (<ООО> & Ко)\nЗвонил: 1 раз, ответили 1")
    for answer in (private, masked):
        assert "000-00-11" not in answer.text
        assert "Тестов" in answer.text
    assert (await front.ask("/who", chat_id=GROUP)).text.startswith("Напишите номер после команды")
    assert (await front.ask("/who +375290000099", chat_id=GROUP)).text.endswith("такого номера у нас ещё не было")


async def test_a_chat_hears_only_of_calls_that_it_is_told_of(front: Front) -> None:
    await front.sign_up()
    await front.stored(missed(phone=CALLER))

    assert (await front.ask("/missed", chat_id=GROUP)).text.startswith("❌ Ждут звонка: 1")
    assert (await front.ask("/missed", chat_id=OTHER)).text == "✅ Сегодня всем ответили или перезвонили"


async def test_in_a_group_only_commands_for_this_bot_are_answered(front: Front) -> None:
    await front.sign_up()
    await front.ignored("Кто перезвонит?", chat_id=GROUP)
    await front.ignored("/missed@other_bot", chat_id=GROUP)
    await front.ignored("/help", chat_id=GROUP)
    await front.ignored("/start abc", chat_id=GROUP)

    front.sandbox.add_chat(-77)
    await front.ignored("/missed", chat_id=-77)


async def test_help_says_what_the_bot_can_do(front: Front) -> None:
    await front.sign_up()

    assert (await front.ask("/help")).text.startswith("Что я умею:")
    assert (await front.ask("что ты умеешь?")).text.startswith("Что я умею:")


async def test_a_group_that_became_a_supergroup_is_the_same_chat(front: Front) -> None:
    moved = -1001000000099
    front.sandbox.add_chat(moved)
    await front.store.cards.moved("0901", GROUP, moved)
    await front.sign_up()

    assert (await front.ask("/today", chat_id=moved)).text.startswith("📊 Сегодня")


async def test_a_supergroup_whose_new_id_is_configured_by_now_is_answered(store: PostgresStore, dsn: str) -> None:
    """And answers to the cards that were sent there before the configuration was mended name their callers."""
    group = -77
    await store.cards.moved("0901", group, GROUP)
    async with TelegramSandbox() as sandbox:
        for chat_id in (GROUP, ANNA):
            sandbox.add_chat(chat_id)
        # The daemon of before: by the old id, in the new chat.
        cards = CardTable(store, dsn)
        await cards.put("не подняли", chat_id=group, linkedid="1.1")
        (card,) = (await store.cards.work("0901", group)).open
        await store.cards.claim([card], new_text=card.text)
        sent = sandbox.chat(GROUP)
        sent.last_id = 1
        sent.messages[1] = SandboxMessage(GROUP, 1, card.text, card.text, silent=False, topic=0)
        await store.cards.sent([card], 1)
        async with listening(store, sandbox=sandbox) as front:
            await front.stored(missed(linkedid="1.1", phone=CALLER))
            await front.sign_up()

            assert (await front.ask("/today", chat_id=GROUP)).text.startswith("📊 Сегодня")
            assert (await front.ask("Петрова Анна", chat_id=GROUP, reply_to=1)).text.startswith("✏️")


async def test_a_chat_that_the_configuration_no_longer_has_is_not_answered(front: Front) -> None:
    await front.sign_up()
    config = configured(front.sandbox.url)
    front.intake.use(config.model_copy(update={"enterprises": (without_chats(config.enterprises[0]),)}))

    await front.ignored("/today", chat_id=GROUP)
    assert (await front.ask("/today")).text.startswith("📊 Сегодня")


async def test_a_bot_of_two_enterprises_answers_for_those_in_which_somebody_is(store: PostgresStore) -> None:
    first = without_chats(configured("http://127.0.0.1:1").enterprises[0])
    second = first.model_copy(update={"number": "0902", "name": "<Василёк>"})
    clock = asyncio.get_running_loop().time
    desk = Desk(lambda: [first, second], store.operators, store.customers, now=lambda: NOON, clock=clock)
    for number in ("0901", "0902"):
        code = await store.operators.invite(number, "151")
        await desk.answer(privately(f"/start {code}"), username="vochi_bot")
    both = await desk.answer(privately("/missed"), username="vochi_bot")
    await store.operators.dismiss("0901", "151")
    one = await desk.answer(privately("/missed"), username="vochi_bot")

    nobody = "✅ Сегодня всем ответили или перезвонили"
    assert both == Reply(f"<b>Ромашка</b>\n{nobody}\n\n<b>&lt;Василёк&gt;</b>\n{nobody}")
    assert one == Reply(nobody)


def without_chats(enterprise: Enterprise) -> Enterprise:
    return enterprise.model_copy(update={"chats": ()})


def privately(text: str) -> Incoming:
    anna = Person(ANNA, "Анна")
    return Incoming(chat_id=ANNA, private=True, topic=0, message_id=1, person=anna, text=text, reply_to=None)


# ---------------------------------------------------------------- naming a caller


async def carded(front: Front, dsn: str, linkedid: str, text: str = "не подняли") -> int:
    """A final card that the group shows; its message id."""
    cards = CardTable(front.store, dsn)
    await cards.put(text, chat_id=GROUP, linkedid=linkedid)
    return int((await cards.until_shown(linkedid))["message_id"])


async def test_an_answer_to_a_card_names_the_caller(front: Front, dsn: str) -> None:
    await front.sign_up()
    await front.store.customers.edit("0901", CALLER, {"last_name": "Прежняя", "middle_name": "Она"})
    await front.stored(missed(linkedid="1.1", phone=CALLER))
    card = await carded(front, dsn, "1.1")
    answer = await front.ask("ООО Ромашка, Анна", chat_id=GROUP, reply_to=card)

    assert answer.text == "✏️ +375 (29) 000-00-11 – теперь ООО Ромашка, Анна"
    customer = await front.store.customers.customer("0901", CALLER)
    assert customer is not None
    assert (customer.names.enterprise_name, customer.names.person) == ("ООО Ромашка", "Анна")
    assert "manual" in str(customer.meta["sources"])


async def test_remarks_and_strangers_name_nobody(front: Front, dsn: str) -> None:
    await front.sign_up()
    await front.stored(missed(linkedid="1.1", phone=CALLER), missed(linkedid="1.2", phone=None, raw_number="anonymous"))
    card, hidden = await carded(front, dsn, "1.1"), await carded(front, dsn, "1.2", "скрытый")
    for remark in ("перезвонил", "Спасибо", "Перезвонил, всё ок", "Петрова Анна\nи ещё"):
        await front.ignored(remark, chat_id=GROUP, reply_to=card)
    refused = await front.ask("Петрова Анна", chat_id=GROUP, reply_to=card, user_id=BORIS)
    unknown = await front.ask("Петрова Анна", chat_id=GROUP, reply_to=hidden)

    assert refused.text.startswith("Здравствуйте! Этот бот отвечает только сотрудникам")
    assert unknown.text == "Номер этого звонка неизвестен, имя записать не к чему."
    customer = await front.store.customers.customer("0901", CALLER)
    assert customer is not None
    assert not customer.names


async def test_an_answer_to_no_card_or_to_a_card_of_several_calls_names_nobody(front: Front, dsn: str) -> None:
    await front.sign_up()
    await front.stored(missed(linkedid="1.1", phone=CALLER))
    card = await carded(front, dsn, "1.1")
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO cards"
        " (enterprise_number, linkedid, chat_id, phase, text, silent, sent_revision, message_id, shared)"
        " VALUES ('0901', '1.2', $1, 'hangup', 'второй', true, 1, $2, true)",
        GROUP,
        card,
    )
    await connection.close()
    several = await front.ask("Петрова Анна", chat_id=GROUP, reply_to=card)

    assert several.text.startswith("В этом сообщении несколько звонков")
    await front.ignored("Петрова Анна", chat_id=GROUP, reply_to=several.message_id)


# ---------------------------------------------------------------- once each, and one reader


async def test_nothing_is_answered_twice_after_a_restart(store: PostgresStore) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(ANNA)
        async with listening(store, sandbox=sandbox) as front:
            await front.sign_up()
            await front.ask("/help")
            await front.handled()
        sandbox.write(ANNA, "/today", user_id=ANNA)  # while nobody listens
        async with listening(store, sandbox=sandbox) as front:
            await sandbox.until(lambda: len(front.texts(ANNA)) == 3)
            await front.ask("/help")

        assert [text.split()[0] for text in front.texts(ANNA)] == ["Готово,", "Что", "📊", "Что"]


@pytest.mark.parametrize("fault", [Fault.FLOOD, Fault.SERVER_ERROR])
async def test_an_answer_that_telegram_did_not_take_is_made_again(front: Front, fault: Fault) -> None:
    await front.sign_up()
    front.sandbox.break_next(fault, chat_id=GROUP)

    assert (await front.ask("/today", chat_id=GROUP)).text.startswith("📊 Сегодня")


async def test_a_chat_that_is_to_be_left_alone_gets_no_answers_either(front: Front, dsn: str) -> None:
    await front.sign_up()
    front.sandbox.break_next(Fault.FLOOD, chat_id=GROUP, retry_after=2)
    await CardTable(front.store, dsn).put("не подняли", chat_id=GROUP)
    clock = asyncio.get_running_loop().time
    await front.sandbox.until(lambda: any(each.fields.get("chat_id") == str(GROUP) for each in front.sandbox.requests))
    refused = clock()
    front.sandbox.write(GROUP, "/today", user_id=ANNA)
    await front.sandbox.until(lambda: len(front.texts(GROUP)) == 2)

    assert clock() - refused > 1.5


async def test_what_somebody_wrote_is_done_in_the_order_in_which_he_wrote_it(store: PostgresStore) -> None:
    """While nobody listened: he signs up, and asks."""
    code = await store.operators.invite("0901", "151")
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(ANNA)
        for text in (f"/start {code}", "/today", "/help"):
            sandbox.write(ANNA, text, user_id=ANNA)
        async with listening(store, sandbox=sandbox) as front:
            await sandbox.until(lambda: len(front.texts(ANNA)) == 3)

    assert [text.split()[0] for text in front.texts(ANNA)] == ["Готово,", "📊", "Что"]


async def test_what_a_killed_daemon_was_about_to_answer_its_successor_does(store: PostgresStore) -> None:
    """Polled, and dead before anybody was answered: Telegram has forgotten it by then."""
    async with TelegramSandbox() as sandbox:
        for chat_id in (GROUP, ANNA):
            sandbox.add_chat(chat_id)
        async with listening(store, sandbox=sandbox) as front:
            await front.sign_up()
            await front.handled()
            sandbox.break_next(Fault.SILENCE, method="sendMessage")
            sandbox.write(ANNA, "/today", user_id=ANNA)
            await sandbox.until(
                lambda: sandbox.mailbox.pending == 0 and sum(r.method == "sendMessage" for r in sandbox.requests) == 2
            )
            assert len(front.texts(ANNA)) == 1
        async with listening(store, sandbox=sandbox) as front:
            await sandbox.until(lambda: len(front.texts(ANNA)) == 2)

        assert [text.split()[0] for text in front.texts(ANNA)] == ["Готово,", "📊"]


async def test_who_comes_with_his_own_code_again_is_told_who_he_is(front: Front) -> None:
    """So does a daemon that died between the extension and the answer."""
    code = await front.store.operators.invite("0901", "151")
    await front.ask(f"/start {code}")

    assert (await front.ask(f"/start {code}")).text.startswith("Сейчас ваш номер 151 – Ромашка.")


async def test_an_update_that_was_taken_is_not_handled_again(front: Front) -> None:
    await front.sign_up()
    update = front.sandbox.write(ANNA, "/help", user_id=ANNA)
    await front.sandbox.until(lambda: len(front.texts(ANNA)) == 2)

    await front.handled()
    assert not await front.store.operators.take_update(42, update)
    assert await front.store.operators.next_update(42) == update + 1


async def test_numbers_that_begin_anew_after_a_quiet_week_are_read(front: Front, dsn: str) -> None:
    await front.sign_up()
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE bot_updates SET noted_at = now() - interval '7 days'")
    await connection.close()
    front.sandbox.mailbox.count_anew(1_000)
    front.sandbox.write(ANNA, "/help", user_id=ANNA)

    await front.sandbox.until(lambda: len(front.texts(ANNA)) == 2, within=10)
    assert await front.store.operators.next_update(42) == 1_001


async def test_another_reader_costs_one_warning_and_reading_goes_on_when_it_ends(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    await front.sign_up()
    front.sandbox.mailbox.webhook = "https://other.example/hook"
    await front.sandbox.until(lambda: sum(r.method == "getUpdates" for r in front.sandbox.requests) > 1)
    for _ in range(3):
        async with aiohttp.ClientSession() as session:
            await session.post(f"{front.sandbox.url}/bot42:TEST/getUpdates", data={"timeout": "0"})
    async with asyncio.timeout(5):
        while WEBHOOK_SET.partition(":")[0] not in caplog.text:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    front.sandbox.mailbox.webhook = ""

    assert (await front.ask("/help")).text.startswith("Что я умею")
    assert said(caplog, "telegram_lost") == 1
    assert [r.levelno for r in caplog.records if getattr(r, "action", "") == "telegram_lost"] == [logging.WARNING]


async def test_a_daemon_that_does_not_send_does_not_read(store: PostgresStore) -> None:
    turn = False
    async with listening(store, ours=lambda _: turn) as front:
        code = await store.operators.invite("0901", "151")
        front.sandbox.write(ANNA, f"/start {code}", user_id=ANNA)
        await asyncio.sleep(0.3)

        assert not front.texts(ANNA)
        turn = True
        await front.sandbox.until(lambda: bool(front.texts(ANNA)))


async def test_a_bot_that_only_speaks_reads_nothing(store: PostgresStore, dsn: str) -> None:
    async with listening(store, updates="off") as front:
        await carded(front, dsn, "1.1")

        assert "getUpdates" not in {request.method for request in front.sandbox.requests}


async def test_an_answer_in_a_chat_of_cards_is_known_to_the_search_for_duplicates(front: Front) -> None:
    await front.sign_up()
    answer = await front.ask("/today", chat_id=GROUP)
    async with asyncio.timeout(5):
        while await front.store.cards.unknown(GROUP, [answer.message_id]):
            await asyncio.sleep(0.01)

    assert await front.store.cards.unknown(GROUP, [answer.message_id, 99]) == [99]
