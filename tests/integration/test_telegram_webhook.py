"""Telegram brings what people write: the sandbox Bot API, the daemon's HTTP server, a real database."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from tests.support.calls import missed
from tests.support.chats import GROUP
from tests.support.desks import ANNA, BORIS, TOKEN, Front, listening
from vochi_agent.config import Address
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.simulator.telegram_webhook import SECRET_HEADER
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram import press_text, updates
from vochi_agent.telegram.hook import HOOK_ROUTE, hook_secret, hook_url, is_our_hook
from vochi_agent.telegram.keyboards import TAKE
from vochi_agent.web.bot_webhooks import BotHook, bot_webhook_routes
from vochi_agent.web.server import serving

# What is kept does not depend on the server's version.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

WORD = hook_secret(TOKEN)
ELSEWHERE = "https://other.example/hook"


@pytest.fixture
async def front(store: PostgresStore) -> AsyncIterator[Front]:
    async with listening(store, updates="webhook") as found:
        await found.sandbox.until(lambda: asked(found, "setWebhook") == 1)
        yield found


def asked(front: Front, method: str) -> int:
    return sum(request.method == method for request in front.sandbox.requests)


def said(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return sum(getattr(record, "action", "") == action for record in caplog.records)


def question(update_id: int, text: str = "/today") -> dict[str, object]:
    """What Telegram brings when Anna writes to the bot."""
    person = {"id": ANNA, "is_bot": False, "first_name": "Анна"}
    chat = {"id": ANNA, "type": "private", "first_name": "Анна"}
    message = {"message_id": update_id, "from": person, "chat": chat, "date": 1_795_000_000, "text": text}
    return {"update_id": update_id, "message": message}


async def post(front: Front, body: object, *, word: str | None = WORD, bot: str = "42") -> int:
    """The status that a POST to the webhook is answered with."""
    address = f"http://{front.address}{HOOK_ROUTE.format(bot=bot)}"
    headers = {} if word is None else {SECRET_HEADER: word}
    data = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with aiohttp.ClientSession() as http, http.post(address, headers=headers, **data) as answer:
        return answer.status


async def kept(front: Front) -> list[int]:
    return [each.number for each in await front.store.operators.kept_updates(42, limit=100)]


async def test_what_people_write_is_brought_and_answered(front: Front) -> None:
    await front.sign_up()
    answer = await front.ask("/today")

    (told,) = [request.fields for request in front.sandbox.requests if request.method == "setWebhook"]
    assert told["url"] == f"http://{front.address}/webhooks/telegram/42"
    assert (told["secret_token"], told["allowed_updates"]) == (WORD, '["message", "callback_query"]')
    assert told.get("drop_pending_updates", "false") == "false"
    assert answer.text
    assert asked(front, "getUpdates") == 0
    assert front.sandbox.courier.posts == 2
    assert front.sandbox.courier.info()["pending_update_count"] == 0


async def test_a_press_is_brought_and_answered_once(front: Front) -> None:
    await front.sign_up()
    draft = CardDraft(chat_id=GROUP, topic=0, text="❌ звонок", silent=True, buttons=(TAKE,))
    started = datetime.fromtimestamp(time.time(), UTC) - timedelta(minutes=2)
    await front.store.calls.record(missed(linkedid="1.1", started_at=started), lambda *_, **__: [draft])
    await front.sandbox.until(lambda: bool(front.sandbox.messages(GROUP)))
    (card,) = front.sandbox.messages(GROUP)
    async with asyncio.timeout(5):
        while await front.store.cards.unknown(GROUP, [card.message_id]):
            await asyncio.sleep(0.01)

    query_id = front.sandbox.press(card, "Взял(а)", user_id=ANNA)
    text, _ = await front.sandbox.answered(query_id)

    assert text == press_text.TAKEN
    assert asked(front, "answerCallbackQuery") == 1
    assert asked(front, "getUpdates") == 0
    await front.handled()


@pytest.mark.parametrize(
    ("word", "bot"),
    [(None, "42"), ("", "42"), (WORD[:-1], "42"), (WORD + "0", "42"), (WORD, "43"), ("", "x"), ("ж", "42")],
)
async def test_who_does_not_know_the_word_gets_404_and_one_line_of_log(
    front: Front, word: str | None, bot: str, caplog: pytest.LogCaptureFixture
) -> None:
    for update_id in (1, 2, 3):
        assert await post(front, question(update_id), word=word, bot=bot) == 404

    assert said(caplog, "webhook_forged") == 1
    assert await kept(front) == []
    assert front.texts(ANNA) == []
    assert WORD not in caplog.text


async def test_a_stranger_is_refused_before_his_body_is_read(front: Front) -> None:
    reader, writer = await asyncio.open_connection(*front.address)
    writer.write(b"POST /webhooks/telegram/42 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    async with asyncio.timeout(5):
        assert b" 404 " in await reader.readline()
    writer.close()


async def test_what_is_too_large_or_no_update_is_refused_and_not_kept(front: Front) -> None:
    assert await post(front, b"[" * 300_000) == 413
    for body in (
        b"",
        b"nonsense",
        b"[]",
        b'"text"',
        b"{}",
        b'{"update_id": "7"}',
        b'{"update_id": -1}',
        b"[" * 200_000,
    ):
        assert await post(front, body) == 422
    assert await kept(front) == []


async def test_an_update_of_a_kind_that_nobody_knows_is_taken_and_passed_over(front: Front) -> None:
    assert await post(front, {"update_id": 7, "message": {"text": 5}}) == 200
    assert await post(front, {"update_id": 8, "hologram": {"id": "1"}, "text": "\ud800\0"}) == 200
    await front.sign_up()

    await front.handled()


async def test_a_repeated_update_does_nothing_twice_and_a_late_one_is_not_lost(front: Front) -> None:
    for update_id in (12, 11, 12, 11):
        assert await post(front, question(update_id)) == 200
        await front.sandbox.until(lambda: len(front.texts(ANNA)) >= 1)
    await front.sandbox.until(lambda: len(front.texts(ANNA)) == 2)
    await front.ask("привет", user_id=BORIS)

    assert len(front.texts(ANNA)) == 2


async def test_what_cannot_be_kept_is_brought_again(store: PostgresStore) -> None:
    hook = BotHook(secret=WORD, enterprise_number="0901")
    metrics, tries = Metrics(), []

    async def keep(bot_id: int, update_id: int, content: str) -> None:
        tries.append(update_id)
        if len(tries) == 1:
            raise StoreUnavailable("away")
        await store.operators.keep_update(bot_id, update_id, content)

    async with TelegramSandbox() as sandbox:
        routes = bot_webhook_routes(HOOK_ROUTE, {42: hook}, keep, metrics)
        async with serving(Address("127.0.0.1", 0), routes) as address:
            sandbox.courier.hurry = 100
            sandbox.add_chat(ANNA)
            update = sandbox.write(ANNA, "/today", user_id=ANNA)
            sandbox.courier.set({"url": hook_url(f"http://{address}", TOKEN), "secret_token": WORD})
            await sandbox.until(lambda: sandbox.courier.posts == 2)

            assert [each.number for each in await store.operators.kept_updates(42, limit=9)] == [update]
            assert sandbox.courier.info()["last_error_message"] == (
                "Wrong response from the webhook: 503 Service Unavailable"
            )
    for status in ("503", "200"):
        labels = {"enterprise": "0901", "source": "telegram", "status": status}
        assert metrics.registry.get_sample_value("vochi_webhooks_total", labels) == 1


async def test_what_a_daemon_kept_and_did_not_handle_its_successor_does_in_either_mode(store: PostgresStore) -> None:
    async with TelegramSandbox() as sandbox:
        for chat_id in (GROUP, ANNA, BORIS):
            sandbox.add_chat(chat_id)
        for number, mode in enumerate(("webhook", "polling"), start=1):
            # Telegram had not heard that it was kept, so it has it, too.
            update = sandbox.write(ANNA, "привет", user_id=ANNA)
            await store.operators.keep_update(42, update, sandbox_update(sandbox, update))
            async with listening(store, sandbox=sandbox, updates=mode) as front:
                await sandbox.until(lambda number=number: len(front.texts(ANNA)) >= number)
                await front.ask("привет", user_id=BORIS)
                await sandbox.until(lambda: sandbox.mailbox.pending == 0)
                assert len(front.texts(ANNA)) == number


def sandbox_update(sandbox: TelegramSandbox, update_id: int) -> str:
    (found,) = [each for each in sandbox.mailbox.wanted("") if each["update_id"] == update_id]
    return json.dumps(found)


async def test_what_was_polled_before_is_not_handled_again_when_a_webhook_brings_it(front: Front) -> None:
    await front.store.operators.keep_polled(42, {20: "{}"}, next_update=21, waited=timedelta(0))
    assert await front.store.operators.take_update(42, 20)
    assert await post(front, question(20)) == 200
    assert await post(front, question(21)) == 200
    await front.sandbox.until(lambda: len(front.texts(ANNA)) == 1)

    await front.handled()
    assert len(front.texts(ANNA)) == 1
    assert not await front.store.operators.take_update(42, 21)


async def test_the_daemon_that_does_not_write_keeps_updates_for_the_one_that_does(store: PostgresStore) -> None:
    async with listening(store, updates="webhook") as writing:
        await writing.sandbox.until(lambda: asked(writing, "setWebhook") == 1)
        async with listening(store, sandbox=writing.sandbox, updates="webhook", ours=lambda _: False) as idle:
            assert await post(idle, question(30)) == 200
            await writing.sandbox.until(lambda: len(writing.texts(ANNA)) == 1)
            assert asked(idle, "setWebhook") == 1


async def test_who_polls_takes_our_own_webhook_away_and_loses_nothing(store: PostgresStore) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(ANNA)
        sandbox.courier.set({"url": "http://127.0.0.1:9/old/webhooks/telegram/42"})
        sandbox.write(ANNA, "привет", user_id=ANNA)
        async with listening(store, sandbox=sandbox) as front:
            await sandbox.until(lambda: len(front.texts(ANNA)) == 1)

            (gone,) = [request.fields for request in sandbox.requests if request.method == "deleteWebhook"]
            assert gone.get("drop_pending_updates", "false") == "false"


async def test_who_polls_leaves_another_programs_webhook_alone(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.mailbox.set_webhook(ELSEWHERE)
        async with listening(store, sandbox=sandbox) as front:
            await sandbox.until(lambda: asked(front, "getWebhookInfo") >= 2)

            assert sandbox.mailbox.webhook == ELSEWHERE
    assert said(caplog, "telegram_lost") == 1
    assert "other.example" not in caplog.text


async def test_a_webhook_that_another_program_turned_away_is_turned_back(
    store: PostgresStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "LOOK_S", 0.05)
    async with listening(store, updates="webhook") as front:
        await front.sandbox.until(lambda: asked(front, "setWebhook") == 1)
        front.sandbox.mailbox.set_webhook(ELSEWHERE + "?secret=1")
        await front.sandbox.until(lambda: asked(front, "setWebhook") == 2)

        assert is_our_hook(front.sandbox.mailbox.webhook, TOKEN)
    assert said(caplog, "telegram_hook_moved") == 1
    assert "secret" not in caplog.text


async def test_what_telegram_says_of_a_webhook_that_it_cannot_reach_is_passed_on_once(
    store: PostgresStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(updates, "LOOK_S", 0.05)
    async with listening(store, updates="webhook") as front:
        await front.sandbox.until(lambda: asked(front, "setWebhook") == 1)
        front.sandbox.courier._error = (5, "Wrong response from the webhook: 502 Bad Gateway")
        front.sandbox.mailbox.put("poll", {"id": "1"})
        looks = asked(front, "getWebhookInfo")
        await front.sandbox.until(lambda: asked(front, "getWebhookInfo") >= looks + 3)

    assert said(caplog, "telegram_hook_fails") == 1
    assert "cannot bring 1 updates to our webhook: Wrong response from the webhook: 502 Bad Gateway" in caplog.text


async def test_telegrams_refusal_of_the_address_is_said_in_its_words_and_tried_again(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.courier.local = False
        async with listening(store, sandbox=sandbox, updates="webhook") as front:
            await sandbox.until(lambda: asked(front, "setWebhook") >= 2)
    assert "Bad Request: bad webhook: An HTTPS URL must be provided for webhook" in caplog.text
