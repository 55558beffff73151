"""Where a bot's updates come from: Telegram is asked for them (polling), or brings them (webhook) and they wait here.

Invariants: what the webhook brought and the table keeps is handled in either mode, so that changing the mode loses
nothing; only a webhook that we set ourselves is ever taken away.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.desk_ports import Incoming, Press, UpdateQueue

from .failures import UpdatesTaken
from .hook import hook_secret, hook_url, is_our_hook
from .opened import OpenBot, Reader

__all__ = ["Updates"]

log = logging.getLogger(__name__)

# Between looks whether our webhook still stands and is reached.
LOOK_S: Final = 300.0
MOST_AT_ONCE: Final = 100


class Updates:
    """The updates of one bot, in the mode that the configuration says."""

    def __init__(
        self,
        queue: UpdateQueue,
        opened: OpenBot,
        reader: Reader,
        *,
        public_url: str,
        hold_s: int,
        look_s: float,
        brought: asyncio.Event,
    ) -> None:
        """Ask for nothing yet.

        Args:
            public_url: Where the webhook is reached from outside; "" to poll.
            hold_s: For how long Telegram may hold a question while there is nothing.
            look_s: Between looks for what another daemon's webhook stored.
            brought: Set when the webhook stored an update.
        """
        self._queue = queue
        self._reader = reader
        self._token = opened.token
        self._public_url = public_url
        self._hold_s = hold_s
        self._look_s = look_s
        self._brought = brought
        self._clock = asyncio.get_running_loop().time
        self._look_at = 0.0
        self._hooked = False
        self._complained = 0

    async def next(self) -> Sequence[tuple[int, Incoming | Press | None]]:
        """What came, as soon as something has, oldest first. Raises StoreUnavailable and the failures of `failures`."""
        if self._public_url:
            await self._keep_hooked()
            return await self._kept(wait=True)
        return await self._kept(wait=False) or await self._polled()

    async def take(self, update_id: int) -> bool:
        """Note that an update is about to be handled; False when it was before. Raises StoreUnavailable."""
        return await self._queue.take_update(self._reader.id, update_id)

    def left(self) -> None:
        """Another daemon reads from now on: it may have other addresses."""
        self._hooked = False

    async def _kept(self, *, wait: bool) -> Sequence[tuple[int, Incoming | Press | None]]:
        self._brought.clear()
        kept = await self._queue.kept_updates(self._reader.id, limit=MOST_AT_ONCE)
        if not kept and wait:
            try:
                async with asyncio.timeout(self._look_s):
                    await self._brought.wait()
            except TimeoutError:
                pass
            kept = await self._queue.kept_updates(self._reader.id, limit=MOST_AT_ONCE)
        return [(update_id, self._reader.read(content)) for update_id, content in kept]

    async def _polled(self) -> Sequence[tuple[int, Incoming | Press | None]]:
        offset = await self._queue.next_update(self._reader.id)
        try:
            return await self._reader.updates(offset, wait_s=self._hold_s)
        except UpdatesTaken:
            hook = await self._reader.hook()
            if not is_our_hook(hook.url, self._token):
                raise
        # What waits at Telegram comes by polling now.
        await self._reader.unhook()
        log.info("the webhook is taken away: updates are polled", extra={"action": "telegram_unhooked"})
        return ()

    async def _keep_hooked(self) -> None:
        if self._hooked and self._clock() < self._look_at:
            return
        url = hook_url(self._public_url, self._token)
        if self._hooked:
            hook = await self._reader.hook()
            self._look_at = self._clock() + LOOK_S
            if hook.url == url:
                self._pass_on(hook.error, hook.error_at, waiting=hook.waiting)
                return
            log.warning(
                "another program had turned the bot's webhook to %s; it is turned back",
                urlsplit(hook.url).hostname or "nowhere",
                extra={"action": "telegram_hook_moved"},
            )
        await self._reader.set_hook(url, secret=hook_secret(self._token))
        self._hooked, self._look_at = True, self._clock() + LOOK_S
        log.info("Telegram brings what people write to %s", url, extra={"action": "telegram_hooked"})

    def _pass_on(self, error: str, at: int, *, waiting: int) -> None:
        """Telegram cannot deliver: once for each of its complaints."""
        if error and at != self._complained and waiting:
            log.warning(
                "Telegram cannot bring %d updates to our webhook: %s",
                waiting,
                error,
                extra={"action": "telegram_hook_fails"},
            )
        self._complained = at
