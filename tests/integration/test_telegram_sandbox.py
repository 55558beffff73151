"""The sandbox Bot API on the wire: every answer has Telegram's form, every mistake Telegram's words."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from vochi_agent.simulator.telegram import SandboxMessage, TelegramSandbox


class Caller:
    """Calls methods as a plain HTTP client."""

    def __init__(self, sandbox: TelegramSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session

    async def ask(self, method: str, *, token: str = "42:TEST", **fields: Any) -> Mapping[str, Any]:
        """The answer, as JSON."""
        async with self._session.post(f"{self.sandbox.url}/bot{token}/{method}", data=fields) as response:
            answer: dict[str, Any] = await response.json()
        assert answer["ok"] is (response.status == 200)
        assert answer["ok"] or answer["error_code"] == response.status
        return answer


@pytest.fixture
async def telegram() -> AsyncIterator[Caller]:
    async with TelegramSandbox() as sandbox, aiohttp.ClientSession() as session:
        sandbox.add_chat(-1)
        sandbox.add_chat(5, title="Анна")
        yield Caller(sandbox, session)


async def test_a_bot_learns_who_it_is_and_where(telegram: Caller) -> None:
    me = (await telegram.ask("getMe"))["result"]
    chat = (await telegram.ask("getChat", chat_id=5))["result"]

    assert (me["id"], me["is_bot"]) == (42, True)
    assert (chat["type"], chat["first_name"]) == ("private", "Анна")


async def test_message_ids_count_within_a_chat(telegram: Caller) -> None:
    ids = [(await telegram.ask("sendMessage", chat_id=chat, text="x"))["result"]["message_id"] for chat in (-1, -1, 5)]

    assert ids == [1, 2, 1]


async def test_whoever_watches_sees_each_state_of_a_message(telegram: Caller) -> None:
    seen: list[SandboxMessage] = []
    telegram.sandbox.on_message = seen.append
    await telegram.ask("sendMessage", chat_id=-1, text="<b>раз</b>", parse_mode="HTML")
    await telegram.ask("editMessageText", chat_id=-1, message_id=1, text="два")
    deleted = await telegram.ask("deleteMessage", chat_id=-1, message_id=1)

    assert [(message.text, message.edits) for message in seen] == [("раз", 0), ("два", 1)]
    assert deleted["result"] is True
    assert telegram.sandbox.messages(-1) == []


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        ("sendMessage", {"text": "x"}, "Bad Request: chat_id is empty"),
        ("sendMessage", {"chat_id": -404, "text": "x"}, "Bad Request: chat not found"),
        ("sendMessage", {"chat_id": -1}, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": -1, "text": " \n "}, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": -1, "text": "я" * 4097}, "Bad Request: message is too long"),
        ("sendMessage", {"chat_id": -1, "text": "x", "message_thread_id": 9}, "Bad Request: message thread not found"),
        (
            "sendMessage",
            {"chat_id": -1, "text": "<b>", "parse_mode": "HTML"},
            "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
        ("editMessageText", {"chat_id": -1, "message_id": 9, "text": "x"}, "Bad Request: message to edit not found"),
        ("deleteMessage", {"chat_id": -1, "message_id": 9}, "Bad Request: message to delete not found"),
        ("noSuchMethod", {}, "Not Found"),
        ("getMe", {"token": "42:OTHER"}, "Unauthorized"),
    ],
)
async def test_a_mistake_is_refused_in_telegrams_words(
    telegram: Caller, method: str, fields: dict[str, Any], words: str
) -> None:
    assert (await telegram.ask(method, **fields))["description"] == words


async def test_the_longest_message_counts_what_people_see(telegram: Caller) -> None:
    text = "<b>" + "&amp;" * 4096 + "</b>"

    assert (await telegram.ask("sendMessage", chat_id=-1, text=text, parse_mode="HTML"))["ok"]


async def test_the_same_text_again_is_not_modified(telegram: Caller) -> None:
    await telegram.ask("sendMessage", chat_id=-1, text="x")
    answer = await telegram.ask("editMessageText", chat_id=-1, message_id=1, text="x")

    assert answer["error_code"] == 400
    assert answer["description"].startswith("Bad Request: message is not modified: specified new message content")


async def test_a_group_over_its_limit_is_told_how_long_to_wait(telegram: Caller) -> None:
    telegram.sandbox.limited = True
    answers = [await telegram.ask("sendMessage", chat_id=-1, text="x") for _ in range(6)]

    assert [answer["ok"] for answer in answers] == [True] * 5 + [False]
    assert answers[-1]["error_code"] == 429
    assert answers[-1]["parameters"]["retry_after"] >= 1


async def test_updates_come_until_their_offset_confirms_them(telegram: Caller) -> None:
    telegram.sandbox.add_chat(5)
    first = telegram.sandbox.write(5, "/missed now", user_id=5)
    second = telegram.sandbox.write(5, "привет", user_id=5)
    (one, two) = (await telegram.ask("getUpdates"))["result"]
    (left,) = (await telegram.ask("getUpdates", offset=second))["result"]

    assert (one["update_id"], two["update_id"], left["update_id"]) == (first, second, second)
    assert one["message"]["chat"] == {"id": 5, "type": "private", "first_name": "Продажи"}
    assert one["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 7}]
    assert (await telegram.ask("getUpdates", offset=second + 1))["result"] == []


async def test_a_held_request_is_answered_when_somebody_writes(telegram: Caller) -> None:
    telegram.sandbox.add_chat(5)
    held = asyncio.ensure_future(telegram.ask("getUpdates", timeout=30))
    await telegram.sandbox.until(lambda: bool(telegram.sandbox.requests))
    telegram.sandbox.write(5, "привет", user_id=5)

    assert [each["message"]["text"] for each in (await held)["result"]] == ["привет"]


async def test_a_second_reader_ends_the_first_and_a_webhook_both(telegram: Caller) -> None:
    first = asyncio.ensure_future(telegram.ask("getUpdates", timeout=30))
    await telegram.sandbox.until(lambda: bool(telegram.sandbox.requests))
    await telegram.ask("getUpdates")
    refused = await first
    telegram.sandbox.mailbox.webhook = "https://other.example/hook"
    hooked = await telegram.ask("getUpdates")

    assert (refused["error_code"], hooked["error_code"]) == (409, 409)
    assert refused["description"].startswith("Conflict: terminated by other getUpdates request")
    assert hooked["description"].startswith("Conflict: can't use getUpdates method while webhook is active")
