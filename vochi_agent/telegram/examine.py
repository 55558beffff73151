"""Whether Telegram knows our bot, and every chat knows the bot. Plain HTTP: importing aiogram takes seconds.

Invariant: the token is a part of the address, so no address and no text of aiohttp's errors leaves this module.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError

from vochi_agent.config import Chat, TelegramConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning

from .hook import hook_url, is_our_hook

__all__ = ["NO_ANSWER", "Asker", "Refused", "bot_username", "examine_bot", "session_to"]

TIMEOUT_S: Final = 5.0
MAX_WORDS: Final = 120
# Statuses of getChatMember: https://core.telegram.org/bots/api#chatmember
GONE: Final = ("left", "kicked")
ADMINISTRATORS: Final = ("administrator", "creator")


# The last one: what came is no JSON.
NO_ANSWER: Final = (
    aiohttp.ClientError,
    ProxyConnectionError,
    ProxyError,
    ProxyTimeoutError,
    OSError,
    ValueError,
)


class Refused(Exception):
    """Telegram's answer is no; the text is its own."""


async def examine_bot(
    part: str, config: TelegramConfig, token: str, chats: Sequence[Chat], *, public_url: str
) -> list[Finding]:
    """Ask for the bot, its webhook and each of its chats; sends nothing.

    Args:
        part: Names the findings.
        config: Which server, through which proxy.
        token: Of the bot; "" when none is configured.
        chats: Of the enterprise.
        public_url: How we are reached from outside; "" when nobody can.
    """
    if not token:
        return [fine(part, "no bot and no chats are configured: nobody is told about calls")]
    async with session_to(config) as session:
        ask = Asker(session, f"{config.api_url.rstrip('/')}/bot{token}")
        try:
            me = await ask("getMe")
        except Refused as exc:
            return [closed(part, f"Telegram refuses the token: {exc}", "telegram.token_file: the token from BotFather")]
        except NO_ANSWER as exc:
            cure = "telegram.api_url, telegram.proxy: is Telegram reachable from this machine?"
            return [closed(part, f"{config.api_url} gives no usable answer ({type(exc).__name__})", cure)]
        found = [fine(part, f"the bot is @{_text(me, 'username')}"), *await _hook(part, ask, config, token, public_url)]
        topics: dict[int, bool] = {}
        for chat in chats:
            topics[chat.id] = topics.get(chat.id, False) or chat.topic != 0
        me_id = str(me.get("id", ""))
        return [*found, *[await _chat(part, ask, chat, me_id, in_topic=topics[chat]) for chat in topics]]


async def bot_username(config: TelegramConfig, token: str) -> str:
    """What stands in `https://t.me/...`; "" when Telegram does not say."""
    async with session_to(config) as session:
        try:
            return _text(await Asker(session, f"{config.api_url.rstrip('/')}/bot{token}")("getMe"), "username")
        except (Refused, *NO_ANSWER):
            return ""


def session_to(config: TelegramConfig) -> aiohttp.ClientSession:
    """Through the proxy, as the bot itself goes."""
    return aiohttp.ClientSession(connector=ProxyConnector.from_url(config.proxy) if config.proxy else None)


class Asker:
    """One method of the Bot API, once."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self, method: str, **fields: str) -> Mapping[str, object]:
        """The result. Raises Refused, or of NO_ANSWER."""
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._session.post(f"{self._url}/{method}", data=fields, allow_redirects=False) as response,
        ):
            body = await response.json(content_type=None)
        if not isinstance(body, dict):
            raise ValueError("no object")  # noqa: TRY004 - what the peer sent has a wrong value
        if body.get("ok") is not True:
            raise Refused(_text(body, "description") or f"status {response.status}")
        result = body.get("result")
        return result if isinstance(result, dict) else {}


async def _hook(part: str, ask: Asker, config: TelegramConfig, token: str, public_url: str) -> list[Finding]:
    """Whether what people write comes the way that the configuration says."""
    try:
        info = await ask("getWebhookInfo")
    except (Refused, *NO_ANSWER):
        return [unknown(part, "whether the bot has a webhook is not told")]
    url, waiting = _text(info, "url"), info.get("pending_update_count")
    ours, host = is_our_hook(url, token), urlsplit(url).hostname or url
    if config.updates != "webhook":
        if not url or (ours and config.updates == "polling"):
            return []  # one of ours is taken away by the daemon as soon as it polls
        cure = "end that program, or make a bot of its own for each; deleteWebhook takes it away"
        deaf = ", so that nobody can ask it anything (409 Conflict)" if config.updates == "polling" else ""
        return [problem(part, f"the bot has a webhook on {host} that is not of this configuration{deaf}", cure)]
    if url != hook_url(public_url, token):
        if url and not ours:
            cure = "end that program, or make a bot of its own for each; then start the daemon again"
            return [problem(part, f"what people write is brought to {host}, to another program", cure)]
        return [warning(part, "the webhook of this configuration is not set", "the daemon sets it when it starts")]
    error = _text(info, "last_error_message")
    if error and waiting:
        cure = "http.public_url has to lead to http.listen, by https, with a certificate that the world knows"
        return [problem(part, f"Telegram cannot bring {waiting} updates to {host}: {error}", cure)]
    last = f"; the last failure: {error}" if error else ""
    return [fine(part, f"what people write is brought to {host}{last}")]


async def _chat(part: str, ask: Asker, chat: int, bot: str, *, in_topic: bool) -> Finding:
    here = f"chat {chat}"
    try:
        about = await ask("getChat", chat_id=str(chat))
    except Refused as exc:
        return problem(part, f"{here}: {exc}", "add the bot to the chat; groups have negative ids, supergroups -100…")
    except NO_ANSWER as exc:
        return unknown(part, f"{here}: no usable answer ({type(exc).__name__})")
    title = _text(about, "title")
    named = f"{here} «{title}»" if title else here
    if in_topic and about.get("is_forum") is not True:
        return problem(part, f"{named} has no topics", "enterprises.chats.topic = 0, or switch topics on in the group")
    try:
        member = await ask("getChatMember", chat_id=str(chat), user_id=bot)
    except (Refused, *NO_ANSWER):
        return unknown(part, f"{named}: whether the bot may write there is not told")
    if member.get("status") in GONE or member.get("can_send_messages") is False:
        return problem(part, f"{named}: the bot may not write there", "add the bot again and let it send messages")
    if about.get("type") == "channel" and not _may_post(member):
        return problem(
            part, f"{named} is a channel in which the bot may not post", "make it an administrator who posts"
        )
    if about.get("permissions") and not _may_write(about, member):
        cure = "let members send messages, or make the bot an administrator"
        return problem(part, f"{named}: members may not write there, and the bot is one", cure)
    return fine(part, f"{named}: the bot is in")


def _may_post(member: Mapping[str, object]) -> bool:
    return member.get("status") == "creator" or (
        member.get("status") == "administrator" and member.get("can_post_messages") is True
    )


def _may_write(about: Mapping[str, object], member: Mapping[str, object]) -> bool:
    """What all members may counts for a bot that is one of them."""
    permissions = about.get("permissions")
    allowed = permissions.get("can_send_messages") is not False if isinstance(permissions, dict) else True
    return allowed or member.get("status") in ADMINISTRATORS


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    return value[:MAX_WORDS] if isinstance(value, str) else ""
