"""The table of cards on real PostgreSQL: the desired state of each chat, and who is bringing it there."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.calls import answered, missed
from tests.support.card_table import CardTable
from vochi_agent.calls.model import Call, Phase
from vochi_agent.cards import Card
from vochi_agent.customers.model import Customer, History
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import CardDraft
from vochi_agent.store.cards import CardQueue
from vochi_agent.store.postgres import PostgresStore

CHAT = -100
NOW = timedelta(0)


def two_chats(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
    return [
        CardDraft(chat_id=CHAT, topic=0, text=f"{call.linkedid} {call.status}", silent=False),
        CardDraft(chat_id=-200, topic=7, text=call.status, silent=True),
    ]


@pytest.fixture
def table(store: PostgresStore, dsn: str) -> CardTable:
    return CardTable(store, dsn)


@pytest.fixture
def queue(store: PostgresStore) -> CardQueue:
    return CardQueue(store.database, holder="one", ripe=NOW)


@pytest.fixture
def successor(store: PostgresStore) -> CardQueue:
    """Another life of a daemon that does not wait for the first one."""
    return CardQueue(store.database, holder="two", patience=NOW, ripe=NOW)


async def opened(queue: CardQueue, chat_id: int = CHAT) -> list[Card]:
    return list((await queue.work("0901", chat_id)).open)


async def test_a_card_is_claimed_sent_and_done(store: PostgresStore, queue: CardQueue) -> None:
    await store.calls.record(missed(), two_chats)

    assert {chat.chat_id for chat in await queue.pending_chats()} == {CHAT, -200}
    (card,) = await opened(queue, -200)
    assert (card.text, card.topic, card.silent, card.message_id, card.sent_phase) == ("missed", 7, True, None, None)
    assert await queue.claim([card], new_text=card.text)
    (seconds,) = await queue.sent([card], 42)
    assert 0 <= seconds < 5
    assert await opened(queue, -200) == []
    assert [chat.chat_id for chat in await queue.pending_chats()] == [CHAT]


async def test_a_change_while_sending_is_sent_afterwards_into_the_same_message(
    store: PostgresStore, queue: CardQueue
) -> None:
    await store.calls.record(missed(), two_chats)
    (first,) = await opened(queue, -200)
    assert await queue.claim([first], new_text=first.text)
    await store.calls.record(answered(), two_chats)
    await queue.sent([first], 42)

    (second,) = await opened(queue, -200)
    assert (second.text, second.revision, second.message_id) == ("answered", 2, 42)


async def test_a_card_that_changed_meanwhile_is_not_claimed(store: PostgresStore, queue: CardQueue) -> None:
    await store.calls.record(missed(), two_chats)
    (old,) = await opened(queue)
    await store.calls.record(answered(), two_chats)

    assert not await queue.claim([old], new_text=old.text)
    (fresh,) = await opened(queue)
    assert await queue.claim([fresh], new_text=fresh.text)


async def test_cards_of_a_chat_come_oldest_first(table: CardTable, queue: CardQueue) -> None:
    linkedids = [await table.put("текст", chat_id=CHAT) for _ in range(3)]

    assert [card.linkedid for card in await opened(queue)] == linkedids


async def test_a_refused_card_waits(table: CardTable, queue: CardQueue) -> None:
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    await queue.failed([card], timedelta(seconds=30))

    assert await opened(queue) == []
    assert await queue.pending_chats() == []
    await table.put("новый текст", chat_id=CHAT, linkedid=card.linkedid)
    (changed,) = await opened(queue)
    assert changed.failures == 1, "a new text is tried at once"


async def test_a_card_given_up_is_not_tried_again_until_its_text_changes(table: CardTable, queue: CardQueue) -> None:
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    await queue.given_up([card], "message is too long")

    assert await queue.pending_chats() == []
    await table.put("короче", chat_id=CHAT, linkedid=card.linkedid)
    assert [each.text for each in await opened(queue)] == ["короче"]


# ---------------------------------------------------------------- phases


async def test_a_call_never_goes_back(table: CardTable, queue: CardQueue) -> None:
    linkedid = await table.put("поговорили", chat_id=CHAT)
    for phase in (Phase.START, Phase.DIAL, Phase.BRIDGE):
        await table.put("звонит", chat_id=CHAT, linkedid=linkedid, phase=phase)

    assert [(card.text, card.phase, card.revision) for card in await opened(queue)] == [("поговорили", "hangup", 1)]


async def test_newest_state_wins_and_unsent_older_ones_vanish(table: CardTable, queue: CardQueue) -> None:
    linkedid = ""
    for text, phase in (("приветствие", Phase.START), ("звонит", Phase.DIAL), ("говорят", Phase.BRIDGE)):
        linkedid = await table.put(text, chat_id=CHAT, linkedid=linkedid, phase=phase)

    assert [card.text for card in await opened(queue)] == ["говорят"]


async def test_a_live_state_older_than_a_minute_is_not_sent_and_a_final_always_is(
    table: CardTable, queue: CardQueue
) -> None:
    for phase in (Phase.DIAL, Phase.HANGUP):
        await table.put(phase.value, chat_id=CHAT, phase=phase)
    await table.rows("UPDATE cards SET changed_at = now() - interval '61 s'")

    assert [card.text for card in await opened(queue)] == ["hangup"]


async def test_what_is_due_is_counted_with_its_age_and_what_is_held_is_not(table: CardTable, queue: CardQueue) -> None:
    assert await queue.waiting() == {}
    for text, held in (("сейчас", None), ("утром", timedelta(hours=8)), ("уже можно", timedelta(minutes=-1))):
        await table.put(text, chat_id=CHAT, held_until=held and datetime.now(UTC) + held)
    await table.put("старое живое", chat_id=CHAT, phase=Phase.DIAL)
    await table.rows("UPDATE cards SET changed_at = now() - interval '10 min'")

    work = (await queue.waiting())["0901"]

    assert work.waiting == 2
    assert 600 <= work.age_s < 660
    await table.rows("UPDATE cards SET gave_up = 'no' WHERE text = 'сейчас'")
    assert 60 <= (await queue.waiting())["0901"].age_s < 120, "since it was allowed, not since it was written"


async def test_a_chat_that_no_longer_wants_a_live_call_shows_nothing_and_a_final_is_corrected(
    table: CardTable, queue: CardQueue
) -> None:
    dialled = await table.put("звонит", chat_id=CHAT, phase=Phase.DIAL)
    final = await table.put("пропущен", chat_id=CHAT)
    nobody = await table.put("не нам", chat_id=CHAT, wanted=False)
    await table.put("говорит другой", chat_id=CHAT, linkedid=dialled, phase=Phase.BRIDGE, wanted=False)
    await table.put("отвечен", chat_id=CHAT, linkedid=final, wanted=False)

    assert {card.linkedid: card.text for card in await opened(queue)} == {dialled: "", final: "отвечен"}
    assert await table.rows("SELECT 1 FROM cards WHERE linkedid = $1", nobody) == []


async def test_of_two_tables_for_one_chat_the_one_that_wants_the_call_is_heard(
    store: PostgresStore, queue: CardQueue
) -> None:
    wanted = CardDraft(chat_id=CHAT, topic=0, text="текст", silent=True)
    unwanted = CardDraft(chat_id=CHAT, topic=0, text="текст", silent=True, wanted=False)
    await queue.put_live("0901", "1.1", Phase.DIAL, [wanted, unwanted])

    assert [card.text for card in await opened(queue)] == ["текст"]


async def test_a_call_that_became_part_of_another_is_taken_back(
    store: PostgresStore, table: CardTable, queue: CardQueue
) -> None:
    linkedid = await table.put("звонит", chat_id=CHAT, phase=Phase.DIAL)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    await queue.sent([card], 42)
    assert await store.calls.merge("0901", linkedid, "1.1")
    (gone,) = await opened(queue)
    assert gone.text == ""
    await queue.taken_back([gone])

    work = await queue.work("0901", CHAT)
    assert (work.open, work.leftovers) == ([], [42])
    await queue.deleted("0901", CHAT, [42])
    assert await queue.pending_chats() == []


async def test_live_cards_that_nobody_follows_any_more_are_taken_back(table: CardTable, queue: CardQueue) -> None:
    lost, goes_on, young = [await table.put("говорят", chat_id=CHAT, phase=Phase.BRIDGE) for _ in range(3)]
    over = await table.put("поговорили", chat_id=CHAT)
    await table.rows("UPDATE cards SET changed_at = now() - interval '5 min' WHERE linkedid <> $1", young)

    assert await queue.take_back_abandoned("0901", [goes_on], silent_for=timedelta(minutes=2)) == 1
    texts = {row["linkedid"]: row["text"] for row in await table.rows("SELECT * FROM cards")}
    assert texts == {lost: "", goes_on: "говорят", young: "говорят", over: "поговорили"}


async def test_quiet_hours_hold_a_card_until_they_end(table: CardTable, queue: CardQueue) -> None:
    for hours in (-1, 1):
        await table.put(f"{hours}", chat_id=CHAT, held_until=datetime.now(UTC) + timedelta(hours=hours))

    assert [card.text for card in await opened(queue)] == ["-1"]


async def test_a_digest_takes_the_place_of_what_was_shown_alone(
    store: PostgresStore, table: CardTable, queue: CardQueue
) -> None:
    linkedids = [await table.put("говорят", chat_id=CHAT, phase=Phase.BRIDGE) for _ in range(2)]
    for _ in range(2):
        await queue.put_digest("0901", linkedids, [CardDraft(chat_id=CHAT, topic=0, text="🔄 2 звонка", silent=False)])

    assert sorted(card.text for card in await opened(queue)) == ["", "", "🔄 2 звонка"]


async def test_a_late_name_makes_no_card_where_there_was_none(store: PostgresStore, queue: CardQueue) -> None:
    await store.calls.record(missed(), lambda *_, **__: ())

    assert await store.calls.refresh_cards("0901", missed().linkedid, two_chats) == 0
    assert await opened(queue) == []


# ---------------------------------------------------------------- claims and doubts


async def test_two_daemons_never_claim_the_same_card(table: CardTable, queue: CardQueue) -> None:
    other = CardQueue(table.store.database, holder="two", ripe=NOW)
    for number in range(10):
        await table.put(f"{number}", chat_id=CHAT)
    cards = await opened(queue)
    claimed = await asyncio.gather(*(each.claim([card], new_text="x") for card in cards for each in (queue, other)))

    assert sum(claimed) == len(cards)


async def test_a_dead_daemons_request_is_made_again_and_what_it_left_is_looked_for(
    table: CardTable, queue: CardQueue, successor: CardQueue
) -> None:
    await table.put("первая", chat_id=CHAT)
    (known,) = await opened(queue)
    await queue.claim([known], new_text=known.text)
    await queue.sent([known], 40)
    await table.put("вторая", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)

    (again,) = await opened(successor)
    assert await successor.claim([again], new_text=again.text)
    await successor.sent([again], 45)
    doubt = (await successor.work("0901", CHAT)).doubt
    assert doubt is not None
    assert (doubt.text, doubt.after, doubt.newest) == ("вторая", 40, 45)
    assert await successor.unknown(CHAT, [45, 44, 40]) == [44]
    await successor.settled("0901", CHAT, doubt)
    assert await successor.pending_chats() == []


async def test_a_living_daemons_request_is_left_alone_for_a_moment(table: CardTable, queue: CardQueue) -> None:
    other = CardQueue(table.store.database, holder="two", patience=timedelta(seconds=3))
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)

    assert await opened(other) == []


async def test_a_request_of_the_future_is_of_nobody(table: CardTable, queue: CardQueue) -> None:
    """Its daemon died, and the machine's clock was set back since."""
    other = CardQueue(table.store.database, holder="two", patience=timedelta(seconds=3))
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    await table.rows("UPDATE cards SET sending_since = now() + interval '1 year' RETURNING id")

    (again,) = await opened(other)
    assert await other.claim([again], new_text=again.text)


async def test_a_daemon_that_was_frozen_learns_that_nobody_knows_of_its_message(
    table: CardTable, queue: CardQueue, successor: CardQueue
) -> None:
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    (again,) = await opened(successor)
    await successor.claim([again], new_text=again.text)
    await successor.sent([again], 45)

    assert await queue.sent([card], 44) == []
    assert (await successor.work("0901", CHAT)).leftovers == [44]
    assert (await table.card(card.linkedid))["message_id"] == 45


async def test_a_lost_edit_is_no_doubt(table: CardTable, queue: CardQueue) -> None:
    await table.put("текст", chat_id=CHAT)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=None)
    await queue.lost([card], NOW)

    work = await queue.work("0901", CHAT)
    assert ([each.text for each in work.open], work.doubt) == (["текст"], None)


async def test_a_message_that_several_cards_share_is_known_by_all_of_them(table: CardTable, queue: CardQueue) -> None:
    for text in ("раз", "два"):
        await table.put(text, chat_id=CHAT)
    cards = await opened(queue)
    await queue.claim(cards, new_text="раз\n\nдва")
    await queue.sent(cards, 42)
    await table.put("два, это Анна", chat_id=CHAT, linkedid=cards[1].linkedid)

    (changed,) = await opened(queue)
    assert changed.shared
    assert [card.text for card in await queue.cards_of(changed)] == ["раз", "два, это Анна"]


async def test_a_board_takes_the_place_of_single_live_messages(table: CardTable, queue: CardQueue) -> None:
    linkedid = await table.put("звонит", chat_id=CHAT, phase=Phase.DIAL)
    (card,) = await opened(queue)
    await queue.claim([card], new_text=card.text)
    await queue.sent([card], 42)
    await queue.put_board("0901", CardDraft(chat_id=CHAT, topic=0, text="🔥", silent=True))
    await queue.fold_live("0901", CHAT)

    work = await queue.work("0901", CHAT)
    assert [each.text for each in work.open] == ["🔥"]
    assert work.leftovers == [42]
    await table.put("поговорили", chat_id=CHAT, linkedid=linkedid)
    (final, *_) = await opened(queue)
    assert (final.text, final.message_id) == ("поговорили", None)


# ---------------------------------------------------------------- waking


async def test_a_worker_is_woken_when_cards_change_and_only_then(store: PostgresStore) -> None:
    woken: asyncio.Queue[None] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        listener = group.create_task(store.cards.listen(lambda: woken.put_nowait(None)))
        async with asyncio.timeout(5):
            await woken.get()  # at the beginning, for what was missed
            await store.calls.record(missed(), two_chats)
            await woken.get()
            await store.calls.record(missed(), two_chats)
            await store.calls.record(answered(), two_chats)
            await woken.get()
        assert woken.empty()
        listener.cancel()


async def test_the_listener_says_when_its_connection_is_gone(dsn: str) -> None:
    async with PostgresStore(dsn) as listening, PostgresStore(dsn) as other:
        woken = asyncio.Event()

        async def cut() -> None:
            await woken.wait()
            connection = await asyncpg.connect(dsn)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
            await connection.close()

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(cut())
            with pytest.raises(StoreUnavailable):
                await listening.cards.listen(woken.set)
        await other.ping()
