"""CardQueue against real PostgreSQL: the desired state reaches the chat once, or is tried again."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import pytest

from tests.support.calls import answered, missed
from vochi_agent.calls.model import Call
from vochi_agent.customers.model import Customer, History
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import CardDraft
from vochi_agent.store.cards import CardQueue
from vochi_agent.store.postgres import PostgresStore


def two_chats(call: Call, customer: Customer | None, before: History | None) -> Sequence[CardDraft]:
    return [
        CardDraft(chat_id=-100, topic=0, text=f"{call.linkedid} {call.status}", silent=False),
        CardDraft(chat_id=-200, topic=7, text=call.status, silent=True),
    ]


async def test_a_card_is_claimed_sent_and_done(store: PostgresStore) -> None:
    await store.calls.record(missed(), two_chats)

    assert {chat.chat_id for chat in await store.cards.pending_chats()} == {-100, -200}
    card = await store.cards.claim("0901", -200)
    assert card is not None
    assert (card.text, card.topic, card.silent, card.message_id, card.uncertain) == ("missed", 7, True, None, False)
    assert await store.cards.claim("0901", -200) is None
    await store.cards.sent(card, 42)
    assert [chat.chat_id for chat in await store.cards.pending_chats()] == [-100]


async def test_a_change_while_sending_is_sent_afterwards_into_the_same_message(store: PostgresStore) -> None:
    await store.calls.record(missed(), two_chats)
    first = await store.cards.claim("0901", -200)
    assert first is not None
    await store.calls.record(answered(), two_chats)
    await store.cards.sent(first, 42)

    second = await store.cards.claim("0901", -200)
    assert second is not None
    assert (second.text, second.revision, second.message_id) == ("answered", 2, 42)


async def test_cards_of_a_chat_come_oldest_first(store: PostgresStore) -> None:
    await store.calls.record(missed(linkedid="1.1"), two_chats)
    await store.calls.record(missed(linkedid="1.2"), two_chats)

    claimed = [await store.cards.claim("0901", -100), await store.cards.claim("0901", -100)]
    assert [card.linkedid for card in claimed if card] == ["1.1", "1.2"]


async def test_a_refused_card_waits(store: PostgresStore) -> None:
    await store.calls.record(missed(), two_chats)
    card = await store.cards.claim("0901", -100)
    assert card is not None
    await store.cards.failed(card, timedelta(seconds=30))

    assert await store.cards.claim("0901", -100) is None
    due = {chat.chat_id: chat.due_at for chat in await store.cards.pending_chats()}
    assert timedelta(seconds=20) < due[-100] - due[-200] < timedelta(seconds=40)

    again = await store.cards.claim("0901", -200)
    assert again is not None
    await store.cards.failed(again, timedelta(0))
    retried = await store.cards.claim("0901", -200)
    assert retried is not None
    assert (retried.failures, retried.uncertain) == (1, False)


async def test_a_card_given_up_is_not_tried_again(store: PostgresStore) -> None:
    await store.calls.record(missed(), two_chats)
    card = await store.cards.claim("0901", -100)
    assert card is not None
    await store.cards.given_up(card, "the bot was kicked")

    assert [chat.chat_id for chat in await store.cards.pending_chats()] == [-200]


async def test_a_request_without_an_answer_is_claimed_again_as_uncertain(store: PostgresStore) -> None:
    await store.calls.record(missed(), two_chats)
    impatient = CardQueue(store.database, lease=timedelta(0))
    assert await impatient.claim("0901", -100) is not None

    again = await impatient.claim("0901", -100)
    assert again is not None
    assert again.uncertain


async def test_two_workers_never_claim_the_same_card(store: PostgresStore) -> None:
    for number in range(20):
        await store.calls.record(missed(linkedid=f"1.{number}"), two_chats)

    claimed = await asyncio.gather(*(store.cards.claim("0901", -100) for _ in range(20)))
    linkedids = [card.linkedid for card in claimed if card is not None]
    assert len(linkedids) == len(set(linkedids)) > 0


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
