"""`POST /webhooks/telegram/{bot}`: Telegram brings what people wrote to a bot.

Invariants: whoever does not send the bot's word in Telegram's header learns nothing: the same 404 for every bot and for
none, before a byte of his body is read, and one line in the log. 200 means kept: an update outlives the process; what
cannot be kept is answered 503, and Telegram brings it again.
"""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics

__all__ = ["BotHook", "bot_webhook_routes"]

log = logging.getLogger(__name__)

SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - its name
SOURCE: Final = "telegram"
BODY_TIMEOUT_S: Final = 10.0
RETRY_AFTER_S: Final = 5

Keep = Callable[[int, int, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BotHook:
    """The webhook of one bot.

    Attributes:
        secret: What Telegram was told to send with each update.
        enterprise_number: The first one that the bot belongs to; labels the metric.
    """

    secret: str = field(repr=False)
    enterprise_number: str


def bot_webhook_routes(
    route: str, hooks: Mapping[int, BotHook], keep: Keep, metrics: Metrics
) -> Sequence[web.AbstractRouteDef]:
    """The route of all bots.

    Args:
        route: Has the number of the bot as `{bot}`.
        hooks: By that number.
        keep: Stores an update by the number of the bot and its own. Raises StoreUnavailable.
    """
    door = _Door({str(bot): (bot, hook) for bot, hook in hooks.items()}, keep, metrics)
    return [web.post(route, door.receive)] if hooks else []


class _Door:
    def __init__(self, hooks: Mapping[str, tuple[int, BotHook]], keep: Keep, metrics: Metrics) -> None:
        self._hooks = hooks
        self._keep = keep
        self._metrics = metrics
        self._warned = False

    async def receive(self, request: web.Request) -> web.Response:
        bot, hook = self._hooks.get(request.match_info["bot"], (0, None))
        word = request.headers.get(SECRET_HEADER, "")
        # Of digests, so that the time tells nothing of the length, and for bots that there are not, too.
        known = hmac.compare_digest(_digest(word), _digest(hook.secret if hook else ""))
        if hook is None or not known:
            self._warn(hook is not None)
            raise web.HTTPNotFound
        try:
            answer = await self._accept(request, bot)
        except web.HTTPException as refused:
            self._count(hook, refused.status)
            raise
        self._count(hook, answer.status)
        return answer

    async def _accept(self, request: web.Request, bot: int) -> web.Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()  # raises 413 as soon as it is too large
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        try:
            update = json.loads(body)
            update_id = update["update_id"]
            # In PostgreSQL a text holds no NUL and no half of a surrogate pair: in ASCII there are none.
            content = json.dumps(update)
        except (ValueError, TypeError, KeyError, RecursionError):
            return self._not_understood(bot)
        if not isinstance(update_id, int) or not 0 <= update_id < 2**53:
            return self._not_understood(bot)
        try:
            await self._keep(bot, update_id, content)
        except StoreUnavailable:
            return web.Response(status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
        return web.Response()

    def _not_understood(self, bot: int) -> web.Response:
        log.warning("what came to the webhook of bot %d is no update", bot, extra={"action": "webhook_not_understood"})
        return web.json_response({"error": "no update"}, status=422)

    def _warn(self, bot_known: bool) -> None:
        if not self._warned:
            which = "a bot of ours without its secret" if bot_known else "a bot that is not ours"
            log.warning(
                "somebody calls the webhook of %s: refused, as are all who follow",
                which,
                extra={"action": "webhook_forged"},
            )
        self._warned = True

    def _count(self, hook: BotHook, status: int) -> None:
        self._metrics.webhooks.labels(hook.enterprise_number, SOURCE, str(status)).inc()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
