"""How the sandbox Telegram brings updates to a webhook: real POSTs, one after another in each chat, until one is taken.

Order, pauses and words are those of the Bot API server (telegram-bot-api, WebhookActor.cpp): after the first failure it
tries at once, then after 2, 4, 8… seconds, 60 at most; `Retry-After` is obeyed; any 2xx is a yes.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from .telegram_updates import Mailbox

__all__ = ["SECRET_HEADER", "Courier", "HookRefused"]

SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - its name
PORTS: Final = (443, 80, 88, 8443)
SECRET: Final = re.compile(r"[A-Za-z0-9_-]{0,256}")
USUAL_CONNECTIONS: Final = 40
MOST_CONNECTIONS: Final = 100
LONGEST_PAUSE_S: Final = 60.0
LONGEST_RETRY_AFTER_S: Final = 3600
# Telegram's connection gives up after so long without a byte.
SILENCE_S: Final = 60.0


class HookRefused(Exception):
    """The server does not take such a webhook; the text is what follows `Bad Request: `."""


@dataclass(slots=True)
class _Delay:
    """What an update that was not taken waits for."""

    until: float
    seconds: float = 1.0
    failures: int = 0


class Courier:
    """Carries what is in a mailbox to its webhook.

    Attributes:
        local: As the server with `--local`: any port, plain HTTP.
        hurry: Pauses are so many times shorter; for tests.
        posts: How many POSTs were made.
    """

    def __init__(self, mailbox: Mailbox, *, told: Callable[[], Awaitable[None]]) -> None:
        """`told` is called after every POST."""
        self.local = True
        self.hurry = 1.0
        self.posts = 0
        self._mailbox = mailbox
        self._told = told
        self._secret = ""
        self._connections = USUAL_CONNECTIONS
        self._allowed: str = ""
        self._error: tuple[int, str] | None = None
        self._delays: dict[int, _Delay] = {}

    def set(self, fields: Mapping[str, str]) -> str:
        """What setWebhook answers beside `true`. Raises HookRefused."""
        url = fields.get("url", "")
        if not url:
            return self.delete(fields)
        address = urlsplit(url)
        secret = fields.get("secret_token", "")
        if not SECRET.fullmatch(secret):
            raise HookRefused("secret token contains unallowed characters")
        if address.scheme != "https" and not (self.local and address.scheme == "http"):
            raise HookRefused("bad webhook: An HTTPS URL must be provided for webhook")
        if not self.local and (address.port or 443) not in PORTS:
            raise HookRefused("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
        same = self._mailbox.webhook == url and self._secret == secret
        self._secret = secret
        self._connections = min(int(fields.get("max_connections") or USUAL_CONNECTIONS), MOST_CONNECTIONS)
        self._allowed = fields.get("allowed_updates", self._allowed)
        self._forget(fields)
        self._error = None if not same else self._error
        self._delays.clear()
        self._mailbox.set_webhook(url)
        return "Webhook is already set" if same else "Webhook was set"

    def delete(self, fields: Mapping[str, str]) -> str:
        """What deleteWebhook answers beside `true`."""
        was = self._mailbox.webhook
        self._forget(fields)
        self._mailbox.set_webhook("")
        self._secret, self._error = "", None
        return "Webhook was deleted" if was else "Webhook is already deleted"

    def info(self, _: Mapping[str, str] = MappingProxyType({})) -> dict[str, object]:
        """What getWebhookInfo answers."""
        found: dict[str, object] = {
            "url": self._mailbox.webhook,
            "has_custom_certificate": False,
            "pending_update_count": self._mailbox.pending,
        }
        if self._mailbox.webhook:
            found["max_connections"] = self._connections
            if self._error:
                found["last_error_date"], found["last_error_message"] = self._error
        return found

    async def run(self) -> None:
        """Carry for ever."""
        clock = asyncio.get_running_loop().time
        timeout = aiohttp.ClientTimeout(sock_read=SILENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            while True:
                self._mailbox.arrived.clear()
                ready, wait = self._next(clock())
                if ready is None:
                    try:
                        async with asyncio.timeout(wait):
                            await self._mailbox.arrived.wait()
                    except TimeoutError:
                        pass
                else:
                    await self._carry(http, ready, clock)

    def _next(self, now: float) -> tuple[Mapping[str, object] | None, float | None]:
        """The oldest update that may go, or for how long there is none; one that waits holds up its own chat only."""
        held: set[object] = set()
        waits = []
        for update in self._mailbox.wanted(self._allowed) if self._mailbox.webhook else ():
            chat, delay = _chat_of(update), self._delays.get(int(str(update["update_id"])))
            if chat in held:
                continue
            if delay is None or delay.until <= now:
                return update, None
            held.add(chat)
            waits.append(delay.until - now)
        return None, min(waits, default=None)

    async def _carry(
        self, http: aiohttp.ClientSession, update: Mapping[str, object], clock: Callable[[], float]
    ) -> None:
        update_id, retry_after = int(str(update["update_id"])), 0
        headers = {SECRET_HEADER: self._secret} if self._secret else {}
        self.posts += 1
        try:
            async with http.post(self._mailbox.webhook, json=update, headers=headers, allow_redirects=False) as answer:
                error = "" if answer.ok and answer.status < 300 else f"{answer.status} {answer.reason}"  # noqa: PLR2004
                retry_after = min(int(answer.headers.get("Retry-After", "0")), LONGEST_RETRY_AFTER_S)
                words = f"Wrong response from the webhook: {error}"
        except aiohttp.ClientConnectorError:
            error = words = "Connection refused"
        except (aiohttp.ClientError, TimeoutError, OSError):
            error = words = "Webhook connection closed"
        if error:
            self._error = (int(time.time()), words)
            self._delay(update_id, retry_after, clock())
        else:
            self._delays.pop(update_id, None)
            self._mailbox.confirm(update_id)
        await self._told()

    def _delay(self, update_id: int, retry_after: int, now: float) -> None:
        delay = self._delays.setdefault(update_id, _Delay(now))
        pause = float(retry_after)
        if not retry_after and delay.failures:
            delay.seconds = pause = min(LONGEST_PAUSE_S, delay.seconds * 2)
        delay.failures += 1
        delay.until = now + pause / self.hurry

    def _forget(self, fields: Mapping[str, str]) -> None:
        if fields.get("drop_pending_updates", "").lower() == "true":
            self._mailbox.forget()


def _chat_of(update: Mapping[str, object]) -> object:
    """What keeps its order: a chat, else each update by itself."""
    for content in update.values():
        if isinstance(content, Mapping):
            message = content.get("message", content)
            chat = message.get("chat") if isinstance(message, Mapping) else None
            if isinstance(chat, Mapping):
                return chat.get("id")
    return update["update_id"]
