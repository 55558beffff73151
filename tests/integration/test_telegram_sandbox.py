"""The sandbox Bot API on the wire: every answer has Telegram's form, every mistake Telegram's words."""

import asyncio
import json
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


def keyboard(*data: str) -> str:
    """`reply_markup` with one button a row."""
    return json.dumps({"inline_keyboard": [[{"text": "x", "callback_data": each}] for each in data]})


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        (keyboard("я" * 33), "Bad Request: BUTTON_DATA_INVALID"),
        (keyboard(""), "Bad Request: BUTTON_DATA_INVALID"),
        ("{", "Bad Request: can't parse reply keyboard markup JSON object"),
        ("[]", "Bad Request: object expected as reply markup"),
    ],
)
async def test_buttons_carry_1_to_64_bytes(telegram: Caller, markup: str, words: str) -> None:
    refused = await telegram.ask("sendMessage", chat_id=-1, text="x", reply_markup=markup)

    assert (refused["error_code"], refused["description"]) == (400, words)
    assert (await telegram.ask("sendMessage", chat_id=-1, text="x", reply_markup=keyboard("я" * 32)))["ok"]


async def test_an_edit_without_buttons_takes_them_away_and_both_are_compared(telegram: Caller) -> None:
    sent = await telegram.ask("sendMessage", chat_id=-1, text="x", reply_markup=keyboard("a"))
    assert sent["result"]["reply_markup"] == json.loads(keyboard("a"))

    edit = {"chat_id": -1, "message_id": 1, "text": "x"}
    assert (await telegram.ask("editMessageText", **edit, reply_markup=keyboard("a")))["error_code"] == 400
    assert (await telegram.ask("editMessageText", **edit, reply_markup=keyboard("b")))["ok"]
    bare = await telegram.ask("editMessageText", **edit)
    assert "reply_markup" not in bare["result"]
    assert (await telegram.ask("editMessageText", **edit))["error_code"] == 400


async def test_a_press_comes_as_an_update_and_is_answered_once(telegram: Caller) -> None:
    await telegram.ask("sendMessage", chat_id=-1, text="x", reply_markup=keyboard("a"))
    telegram.sandbox.press(telegram.sandbox.messages(-1)[0], "x", user_id=5)
    assert (await telegram.ask("getUpdates", allowed_updates='["message"]'))["result"] == []
    (update,) = (await telegram.ask("getUpdates", allowed_updates='["callback_query"]'))["result"]
    query = update["callback_query"]

    assert (query["data"], query["from"]["id"], query["message"]["message_id"]) == ("a", 5, 1)
    answer = {"callback_query_id": query["id"], "text": "да"}
    long = await telegram.ask("answerCallbackQuery", **answer | {"text": "я" * 201})
    assert long["description"] == "Bad Request: MESSAGE_TOO_LONG"
    assert (await telegram.ask("answerCallbackQuery", **answer))["result"] is True
    for late in (answer, {"callback_query_id": "1"}):
        refused = await telegram.ask("answerCallbackQuery", **late)
        assert refused["description"] == (
            "Bad Request: query is too old and response timeout expired or query ID is invalid"
        )


async def test_a_press_below_a_message_that_is_gone_is_told_without_it(telegram: Caller) -> None:
    telegram.sandbox.press_forged(-1, 9, "a", user_id=5)
    (update,) = (await telegram.ask("getUpdates"))["result"]

    assert update["callback_query"]["message"]["date"] == 0
