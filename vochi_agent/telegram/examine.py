"""Whether Telegram knows our bot, and every chat knows the bot. Plain HTTP: importing aiogram takes seconds.

Invariant: the token is a part of the address, so no address and no text of aiohttp's errors leaves this module.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp

from vochi_agent.config import Chat, TelegramConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown

__all__ = ["bot_username", "examine_bot"]

TIMEOUT_S: Final = 5.0
HTTP_PROXIES: Final = ("http://", "https://")
MAX_WORDS: Final = 120
# Statuses of getChatMember that cannot write: https://core.telegram.org/bots/api#chatmember
GONE: Final = ("left", "kicked")


class _Refused(Exception):
    """Telegram's answer is no; the text is its own."""


async def examine_bot(part: str, config: TelegramConfig, token: str, chats: Sequence[Chat]) -> list[Finding]:
    """Ask for the bot and for each of its chats; sends nothing.

    Args:
        part: Names the findings.
        config: Which server, through which proxy.
        token: Of the bot; "" when none is configured.
        chats: Of the enterprise.
    """
    if not token:
        return [fine(part, "no bot and no chats are configured: nobody is told about calls")]
    if config.proxy and not config.proxy.startswith(HTTP_PROXIES):
        return [unknown(part, "not looked at: a SOCKS proxy stands between us and Telegram")]
    async with aiohttp.ClientSession() as session:
        ask = _Asker(session, f"{config.api_url.rstrip('/')}/bot{token}", config.proxy)
        try:
            me = await ask("getMe")
        except _Refused as exc:
            return [closed(part, f"Telegram refuses the token: {exc}", "telegram.token_file: the token from BotFather")]
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            cure = "telegram.api_url, telegram.proxy: is Telegram reachable from this machine?"
            return [closed(part, f"{config.api_url} gives no usable answer ({type(exc).__name__})", cure)]
        found = [fine(part, f"the bot is @{_text(me, 'username')}")]
        ids = dict.fromkeys(chat.id for chat in chats)
        return [*found, *[await _chat(part, ask, chat, str(me.get("id", ""))) for chat in ids]]


async def bot_username(config: TelegramConfig, token: str) -> str:
    """What stands in `https://t.me/...`; "" when Telegram does not say or a SOCKS proxy stands between us."""
    if config.proxy and not config.proxy.startswith(HTTP_PROXIES):
        return ""
    async with aiohttp.ClientSession() as session:
        try:
            return _text(
                await _Asker(session, f"{config.api_url.rstrip('/')}/bot{token}", config.proxy)("getMe"), "username"
            )
        except (_Refused, aiohttp.ClientError, OSError, ValueError):
            return ""


class _Asker:
    """One method of the Bot API, once."""

    def __init__(self, session: aiohttp.ClientSession, url: str, proxy: str) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy or None

    async def __call__(self, method: str, **fields: str) -> Mapping[str, object]:
        """The result. Raises _Refused, aiohttp.ClientError, OSError, ValueError (no JSON)."""
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._session.post(
                f"{self._url}/{method}", data=fields, proxy=self._proxy, allow_redirects=False
            ) as response,
        ):
            body = await response.json(content_type=None)
        if not isinstance(body, dict):
            raise ValueError("no object")  # noqa: TRY004 - what the peer sent has a wrong value
        if body.get("ok") is not True:
            raise _Refused(_text(body, "description") or f"status {response.status}")
        result = body.get("result")
        return result if isinstance(result, dict) else {}


async def _chat(part: str, ask: _Asker, chat: int, bot: str) -> Finding:
    here = f"chat {chat}"
    try:
        title = _text(await ask("getChat", chat_id=str(chat)), "title")
    except _Refused as exc:
        return problem(part, f"{here}: {exc}", "add the bot to the chat; groups have negative ids, supergroups -100…")
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        return unknown(part, f"{here}: no usable answer ({type(exc).__name__})")
    named = f"{here} «{title}»" if title else here
    try:
        member = await ask("getChatMember", chat_id=str(chat), user_id=bot)
    except (_Refused, aiohttp.ClientError, OSError, ValueError):
        return unknown(part, f"{named}: whether the bot may write there is not told")
    if member.get("status") in GONE or member.get("can_send_messages") is False:
        return problem(part, f"{named}: the bot may not write there", "add the bot again and let it send messages")
    return fine(part, f"{named}: the bot is in")


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    return value[:MAX_WORDS] if isinstance(value, str) else ""
