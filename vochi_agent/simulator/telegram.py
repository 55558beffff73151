"""A sandbox Telegram: a real HTTP server that answers as the Bot API does, its errors and limits included.

For tests and the demonstration. Error texts are those that the Bot API server sends. Invariant: it knows only chats it
was told of, and nothing leaves the machine.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from .telegram_buttons import ButtonsRefused, Queries, keyboard_from, keyboard_json
from .telegram_chats import Fault, SandboxChat, SandboxMessage, TelegramRequest
from .telegram_html import MarkupError, shown_text
from .telegram_limits import Limits
from .telegram_media import MAX_CAPTION, MAX_UPLOAD, FileRefused, Form, read_form, sent_file
from .telegram_updates import Mailbox, ReaderLost
from .telegram_webhook import Courier, HookRefused

__all__ = ["Fault", "SandboxChat", "SandboxMessage", "TelegramRequest", "TelegramSandbox"]

MAX_TEXT: Final = 4096
MAX_LOG: Final = 10_000
MOST_DELETED: Final = 100
STARTED_AT: Final = 1_795_000_000  # `date` of the first message; nobody compares it
GATEWAY_PAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
NOT_MODIFIED: Final = (
    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as "
    "a current content and reply markup of the message"
)
ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode


class _Refused(Exception):
    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.parameters = parameters


class TelegramSandbox:
    """The Bot API for one bot.

    Attributes:
        limited: Apply Telegram's real limits.
        limits: Those limits.
        refused: How many requests the limits refused.
        max_upload: Bytes that a request may have; Telegram's own limit unless a test takes less.
        on_message: Told of every message as it is sent or edited.
        mailbox: What people wrote to the bot, and the buttons they pressed.
        courier: Brings it to a webhook, when there is one.
        queries: Those presses, and how the bot answered them.
        requests: Every request so far, oldest first, bounded.
    """

    def __init__(self, *, token: str = "42:TEST", host: str = "127.0.0.1", port: int = 0) -> None:  # noqa: S107
        self.limited = False
        self.refused = 0
        self.max_upload = MAX_UPLOAD
        self.on_message: Callable[[SandboxMessage], None] = lambda _: None
        self.requests: deque[TelegramRequest] = deque(maxlen=MAX_LOG)
        self._token = token
        self._host = host
        self._port = port
        self._chats: dict[int, SandboxChat] = {}
        self._faults: list[tuple[Fault, int | None, str, int]] = []
        self.limits = Limits()
        self.mailbox = Mailbox()
        self.courier = Courier(self.mailbox, told=self._tell)
        self._tasks = asyncio.TaskGroup()
        self._carrying: asyncio.Task[None] | None = None
        self.queries = Queries()
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._methods = {
            "getme": self._get_me,
            "getchat": self._get_chat,
            "getchatmember": self._get_chat_member,
            "sendmessage": self._send_message,
            "editmessagetext": self._edit_message_text,
            "editmessagecaption": self._edit_message_caption,
            "editmessagemedia": self._edit_message_media,
            "editmessagereplymarkup": self._edit_message_reply_markup,
            "answercallbackquery": self._answer_callback_query,
            "deletemessage": self._delete_message,
            "deletemessages": self._delete_messages,
            "getwebhookinfo": self.courier.info,
        }
        self._hooks = {"setwebhook": self.courier.set, "deletewebhook": self.courier.delete}

    @property
    def url(self) -> str:
        """What `telegram.api_url` has to be."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=self.max_upload)
        app.add_routes([web.route("*", "/bot{token}/{method}", self._door)])
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = int(self._runner.addresses[0][1])
        await self._tasks.__aenter__()
        self._carrying = self._tasks.create_task(self.courier.run(), name="webhook of the sandbox Telegram")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self.mailbox.close()
        if self._carrying:
            self._carrying.cancel()
            await self._tasks.__aexit__(None, None, None)
        if self._runner:
            await self._runner.cleanup()

    def add_chat(self, chat_id: int, *, title: str = "Продажи", topics: Iterable[int] = ()) -> SandboxChat:
        """A chat that the bot is in."""
        chat = SandboxChat(chat_id, title, set(topics))
        self._chats[chat_id] = chat
        return chat

    def chat(self, chat_id: int) -> SandboxChat:
        """A chat that was added."""
        return self._chats[chat_id]

    def say(self, chat_id: int, text: str) -> int:
        """A person writes something that the bot does not get to read; returns its id."""
        chat = self._chats[chat_id]
        chat.last_id += 1
        chat.messages[chat.last_id] = SandboxMessage(
            chat_id, chat.last_id, text, text, silent=False, topic=0, by_people=True
        )
        return chat.last_id

    def write(self, chat_id: int, text: str, *, user_id: int, name: str = "Анна", reply_to: int | None = None) -> int:
        """A person writes something that the bot gets to read; returns the number of its update."""
        chat = self._chats[chat_id]
        content: dict[str, object] = {
            "message_id": self.say(chat_id, text),
            "from": {"id": user_id, "is_bot": False, "first_name": name, "language_code": "ru"},
            "chat": chat.as_json(),
            "date": STARTED_AT + chat.last_id,
            "text": text,
        }
        if text.startswith("/"):
            command = text.split(maxsplit=1)[0]
            content["entities"] = [{"type": "bot_command", "offset": 0, "length": len(command)}]
        if reply_to is not None:
            content["reply_to_message"] = self._as_json(chat, chat.messages[reply_to])
        return self.mailbox.put("message", content)

    def press(self, message: SandboxMessage, label: str, *, user_id: int, name: str = "Анна") -> str:
        """A person presses a button of a message; returns the id of the query."""
        return self.press_forged(message.chat_id, message.message_id, message.button(label), user_id=user_id, name=name)

    def press_forged(self, chat_id: int, message_id: int, data: str, *, user_id: int, name: str = "Борис") -> str:
        """A client of somebody's own making sends any data for any message; the server passes them on as they are.

        "Be aware that the message originated the query can contain no callback buttons with this data"
        (core.telegram.org/bots/api#callbackquery). A message that is gone is InaccessibleMessage.
        """
        chat = self._chats[chat_id]
        message = chat.messages.get(message_id)
        gone: dict[str, object] = {"chat": chat.as_json(), "message_id": message_id, "date": 0}
        query_id = self.queries.begin(asyncio.get_running_loop().time())
        content = {
            "id": query_id,
            "from": {"id": user_id, "is_bot": False, "first_name": name, "language_code": "ru"},
            "message": self._as_json(chat, message) if message else gone,
            "chat_instance": str(-chat_id),
            "data": data,
        }
        self.mailbox.put("callback_query", content)
        return query_id

    async def answered(self, query_id: str) -> tuple[str, bool]:
        """What the bot said to who pressed, and whether he had to close it. Raises TimeoutError."""
        await self.until(lambda: query_id in self.queries.answers)
        return self.queries.answers[query_id]

    def break_next(
        self, fault: Fault, *, chat_id: int | None = None, method: str = "", retry_after: int = 1, times: int = 1
    ) -> None:
        """Let the next requests fail, those of one chat or of any, of one method or of any."""
        self._faults += [(fault, chat_id, method.lower(), retry_after)] * times

    def messages(self, chat_id: int) -> list[SandboxMessage]:
        """What of the bot's stands in a chat, oldest first."""
        return [message for message in self._chats[chat_id].messages.values() if not message.by_people]

    async def until(self, true: Callable[[], bool], *, within: float = 5.0) -> None:
        """Return when something holds; looked at after every request.

        Raises:
            TimeoutError: it did not come to hold.
        """
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(true)

    async def _door(self, request: web.Request) -> web.StreamResponse:
        """What every request meets: the token, the method, the faults."""
        try:
            fields = await read_form(request)
        except web.HTTPRequestEntityTooLarge:
            return _json(413, {"ok": False, "error_code": 413, "description": "Request Entity Too Large"})
        name = request.match_info["method"]
        self.requests.append(TelegramRequest(name, fields))
        try:
            if request.match_info["token"] != self._token:
                raise _Refused(401, "Unauthorized")
            if name.lower() == "getupdates":
                # Held for a minute, so faults meant for others must not end here.
                await self._tell()
                return _json(200, {"ok": True, "result": await self.mailbox.read(fields)})
            if hook := self._hooks.get(name.lower()):
                return _json(200, {"ok": True, "result": True, "description": hook(fields)})
            method = self._methods.get(name.lower())
            if method is None:
                raise _Refused(404, "Not Found")
            fault, retry_after = self._next_fault(name.lower(), fields.get("chat_id", ""))
            if fault and fault is not Fault.LOST_ANSWER:
                return await self._fail(fault, retry_after, request)
            answer = _json(200, {"ok": True, "result": method(fields)})
            return await self._silence(request) if fault else answer
        except ReaderLost as lost:
            return _json(409, {"ok": False, "error_code": 409, "description": str(lost)})
        except (HookRefused, FileRefused, ButtonsRefused) as refused:
            return _json(400, {"ok": False, "error_code": 400, "description": f"Bad Request: {refused}"})
        except _Refused as refused:
            description = {"ok": False, "error_code": refused.status, "description": str(refused)}
            return _json(
                refused.status, description | ({"parameters": refused.parameters} if refused.parameters else {})
            )
        finally:
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _next_fault(self, method: str, chat_id: str) -> tuple[Fault | None, int]:
        for index, (fault, only, of_method, retry_after) in enumerate(self._faults):
            if (only is None or str(only) == chat_id) and of_method in ("", method):
                del self._faults[index]
                return fault, retry_after
        return None, 0

    async def _fail(self, fault: Fault, retry_after: int, request: web.Request) -> web.StreamResponse:
        match fault:
            case Fault.HTML:
                return web.Response(status=502, text=GATEWAY_PAGE, content_type="text/html")
            case Fault.SERVER_ERROR:
                raise _Refused(500, "Internal Server Error")
            case Fault.FLOOD:
                raise _Refused(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
            case Fault.BARE_FLOOD:
                raise _Refused(429, "Too Many Requests")
            case Fault.RESET:
                return _reset(request)
            case _:
                return await self._silence(request)

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        await self._tell()
        await self._closing.wait()
        return _reset(request)

    def _get_me(self, _: Mapping[str, str]) -> dict[str, object]:
        return {"id": int(self._token.partition(":")[0]), "is_bot": True, "first_name": "Вочи", "username": "vochi_bot"}

    def _get_chat(self, fields: Mapping[str, str]) -> dict[str, object]:
        chat = self._chat(fields)
        full = {"accent_color_id": 0, "max_reaction_count": 11}
        return chat.as_json() | full | ({"permissions": chat.permissions} if chat.permissions else {})

    def _get_chat_member(self, fields: Mapping[str, str]) -> dict[str, object]:
        chat = self._chat(fields)
        if fields.get("user_id") != str(self._get_me({})["id"]):
            raise _Refused(400, "Bad Request: user not found")
        return {"user": self._get_me({})} | chat.member

    def _send_message(self, fields: Mapping[str, str]) -> dict[str, object]:
        chat = self._writable(fields)
        topic = int(fields.get("message_thread_id") or 0)
        if topic and topic not in chat.topics:
            raise _Refused(400, "Bad Request: message thread not found")
        if not topic and chat.general_closed:
            raise _Refused(400, "Bad Request: TOPIC_CLOSED")
        text, keyboard = _text(fields), keyboard_from(fields.get("reply_markup", ""))
        chat.last_id += 1
        silent = fields.get("disable_notification", "").lower() == "true"
        message = SandboxMessage(chat.id, chat.last_id, fields["text"], text, silent, topic, keyboard=keyboard)
        return self._shown(chat, message)

    def _edit_message_text(self, fields: Mapping[str, str]) -> dict[str, object]:
        chat = self._writable(fields)
        message = _editable(chat, fields)
        if message.file:
            raise _Refused(400, "Bad Request: there is no text in the message to edit")
        # An edit without buttons takes away those that are there (TelegramBots/Telegram.Bot#402).
        text, keyboard = _text(fields), keyboard_from(fields.get("reply_markup", ""))
        if (fields["text"], keyboard) == (message.source, message.keyboard):
            raise _Refused(400, NOT_MODIFIED)
        changed = {"source": fields["text"], "text": text, "keyboard": keyboard, "edits": message.edits + 1}
        return self._shown(chat, replace(message, **changed))  # type: ignore[arg-type]

    def _edit_message_caption(self, fields: Form) -> dict[str, object]:
        chat = self._writable(fields)
        message = _editable(chat, fields)
        if not message.file:
            raise _Refused(400, "Bad Request: there is no caption in the message to edit")
        text = _caption(fields)
        source, keyboard = fields.get("caption", ""), keyboard_from(fields.get("reply_markup", ""))
        if (source, keyboard) == (message.source, message.keyboard):
            raise _Refused(400, NOT_MODIFIED)
        edits = message.edits + 1
        return self._shown(chat, replace(message, source=source, text=text, keyboard=keyboard, edits=edits))

    def _edit_message_media(self, fields: Form) -> dict[str, object]:
        chat = self._writable(fields)
        message = _editable(chat, fields)
        file, media = sent_file(fields)
        text = _caption(media)
        source = media.get("caption", "")
        keyboard = keyboard_from(fields.get("reply_markup", ""))
        edits = message.edits + 1
        return self._shown(chat, replace(message, source=source, text=text, file=file, keyboard=keyboard, edits=edits))

    def _edit_message_reply_markup(self, fields: Form) -> dict[str, object]:
        chat = self._writable(fields)
        message = _editable(chat, fields)
        keyboard = keyboard_from(fields.get("reply_markup", ""))
        if keyboard == message.keyboard:
            raise _Refused(400, NOT_MODIFIED)
        return self._shown(chat, replace(message, keyboard=keyboard, edits=message.edits + 1))

    def _answer_callback_query(self, fields: Mapping[str, str]) -> bool:
        return self.queries.answer(fields, asyncio.get_running_loop().time())

    def _delete_messages(self, fields: Mapping[str, str]) -> bool:
        chat = self._writable(fields)
        wanted = json.loads(fields.get("message_ids") or "[]")
        if not wanted or len(wanted) > MOST_DELETED:
            raise _Refused(400, "Bad Request: message identifiers are not specified")
        if chat.too_old.intersection(wanted):
            raise _Refused(400, "Bad Request: message can't be deleted for everyone")
        for message_id in wanted:
            if message_id in chat.messages and not chat.messages[message_id].by_people:
                del chat.messages[message_id]
        return True

    def _delete_message(self, fields: Mapping[str, str]) -> bool:
        if self._writable(fields).messages.pop(_number(fields.get("message_id", "")), None) is None:
            raise _Refused(400, "Bad Request: message to delete not found")
        return True

    def _shown(self, chat: SandboxChat, message: SandboxMessage) -> dict[str, object]:
        chat.messages[message.message_id] = message
        self.on_message(message)
        return self._as_json(chat, message)

    def _as_json(self, chat: SandboxChat, message: SandboxMessage) -> dict[str, object]:
        """The Message object."""
        return {
            "message_id": message.message_id,
            "from": {"id": 1, "is_bot": False, "first_name": "Анна"} if message.by_people else self._get_me({}),
            "chat": chat.as_json(),
            "date": STARTED_AT + message.message_id,
            **(
                {"caption": message.text, message.file.kind: message.file.as_json()}
                if message.file
                else {"text": message.text}
            ),
            **({"message_thread_id": message.topic, "is_topic_message": True} if message.topic else {}),
            **({"reply_markup": keyboard_json(message.keyboard)} if message.keyboard else {}),
            **({"edit_date": STARTED_AT + message.message_id + message.edits} if message.edits else {}),
        }

    def _chat(self, fields: Mapping[str, str]) -> SandboxChat:
        if not fields.get("chat_id"):
            raise _Refused(400, "Bad Request: chat_id is empty")
        chat = self._chats.get(_number(fields["chat_id"]))
        if chat is None:
            raise _Refused(400, "Bad Request: chat not found")
        return chat

    def _writable(self, fields: Mapping[str, str]) -> SandboxChat:
        chat = self._chat(fields)
        if chat.moved_to:
            moved = "Bad Request: group chat was upgraded to a supergroup chat"
            raise _Refused(400, moved, migrate_to_chat_id=chat.moved_to)
        if chat.closed:
            raise _Refused(403, f"Forbidden: {chat.closed}")
        wait = self.limits.wait(chat.id, asyncio.get_running_loop().time()) if self.limited else 0
        if wait:
            self.refused += 1
            raise _Refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        return chat


def _text(fields: Mapping[str, str]) -> str:
    """What people will see of `text`. Raises _Refused."""
    text = _shown(fields, "text")
    if not text:
        raise _Refused(400, "Bad Request: message text is empty")
    if len(text) > MAX_TEXT:
        raise _Refused(400, "Bad Request: message is too long")
    return text


def _caption(fields: Mapping[str, str]) -> str:
    """What people will see of `caption`. Raises _Refused."""
    text = _shown(fields, "caption")
    if len(text) > MAX_CAPTION:
        raise _Refused(400, "Bad Request: message caption is too long")
    return text


def _shown(fields: Mapping[str, str], name: str) -> str:
    source = fields.get(name, "")
    markup = fields.get("parse_mode", "").lower() == "html"
    try:
        return (shown_text(source) if markup else source).strip()
    except MarkupError as error:
        raise _Refused(400, f"Bad Request: can't parse entities: {error}") from error


def _editable(chat: SandboxChat, fields: Mapping[str, str]) -> SandboxMessage:
    """The message that is to be edited. Raises _Refused."""
    message = chat.messages.get(_number(fields.get("message_id", "")))
    if message is None:
        raise _Refused(400, "Bad Request: message to edit not found")
    if message.by_people:
        raise _Refused(400, "Bad Request: message can't be edited")
    return message


def _number(text: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() else 0


def _json(status: int, body: Mapping[str, object]) -> web.Response:
    return web.json_response(body, status=status, dumps=ENCODE)


def _reset(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()
