"""Where a bot's updates come from: Telegram is asked for them (polling), or brings them (webhook) and they wait here.

Invariants: an update is in the table before Telegram hears that it came, and stays there until it was handled, so that
neither the end of a process nor another mode loses one; only a webhook that we set ourselves is ever taken away.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from vochi_agent.desk_ports import Incoming, KeptUpdate, Press, UpdateQueue
from vochi_agent.errors import StoreUnavailable

from .failures import UpdatesTaken
from .hook import hook_secret, hook_url, is_our_hook
from .opened import OpenBot, Reader

__all__ = ["Updates"]

log = logging.getLogger(__name__)

# Between looks whether our webhook still stands and is reached.
LOOK_S: Final = 300.0
MOST_AT_ONCE: Final = 100
# When nobody asked for so long, what waits is asked for by itself: that is old, what comes later is not.
UNASKED_S: Final = 5.0
# Of a longer wait nobody has to know.
LONGEST_WAIT_S: Final = 3600.0


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
        self._complete_at = float("-inf")
        self._under_way: set[int] = set()
        self._done: set[int] = set()

    async def next(self) -> Sequence[tuple[int, Incoming | Press | None]]:
        """What is to be handled now, oldest first; waits for something. Each goes on until it is said to be `done`.

        Raises StoreUnavailable and the failures of `failures`.
        """
        await self._forget_done()
        if self._public_url:
            await self._keep_hooked()
            return await self._kept() or await self._brought_soon()
        if found := await self._kept():
            return found
        await self._poll()
        return await self._kept()

    async def take(self, number: int) -> bool:
        """Note of what must not be done twice that it was; False when it was before. Raises StoreUnavailable."""
        return await self._queue.take_update(self._reader.id, number)

    async def done(self, number: int) -> None:
        """An update was handled, and is not to be again; what cannot be noted now is noted later."""
        self._done.add(number)
        with contextlib.suppress(StoreUnavailable):
            await self._forget_done()

    def leave(self, number: int) -> None:
        """An update stays for another daemon to handle."""
        self._under_way.discard(number)

    def left(self) -> None:
        """Another daemon reads from now on: it may have other addresses."""
        self._hooked = False

    async def _forget_done(self) -> None:
        for number in sorted(self._done):
            await self._queue.take_update(self._reader.id, number)
            self._done.discard(number)
            self._under_way.discard(number)

    async def _kept(self) -> Sequence[tuple[int, Incoming | Press | None]]:
        self._brought.clear()
        # As it was before the look: what is done meanwhile was still kept then.
        under_way = frozenset(self._under_way)
        kept = await self._queue.kept_updates(self._reader.id, limit=MOST_AT_ONCE)
        fresh = [each for each in kept if each.number not in under_way]
        self._under_way.update(each.number for each in fresh)
        return [(each.number, self._read(each)) for each in fresh]

    def _read(self, kept: KeptUpdate) -> Incoming | Press | None:
        update = self._reader.read(kept.content)
        return replace(update, age_s=kept.age_s) if isinstance(update, Press) else update

    async def _brought_soon(self) -> Sequence[tuple[int, Incoming | Press | None]]:
        try:
            async with asyncio.timeout(self._look_s):
                await self._brought.wait()
        except TimeoutError:
            pass
        return await self._kept()

    async def _poll(self) -> None:
        """Ask Telegram for what came, and keep it before Telegram hears that it did."""
        offset = await self._queue.next_update(self._reader.id)
        # What waits at Telegram when nobody has asked for a while is old; what comes while it holds a question is not.
        waited_s = min(self._clock() - self._complete_at, LONGEST_WAIT_S)
        try:
            found = await self._reader.updates(offset, wait_s=self._hold_s if waited_s < UNASKED_S else 0)
        except UpdatesTaken:
            hook = await self._reader.hook()
            if not is_our_hook(hook.url, self._token):
                raise
            # What waits at Telegram comes by polling now.
            await self._reader.unhook()
            log.info("the webhook is taken away: updates are polled", extra={"action": "telegram_unhooked"})
            return
        if found:
            understood = {number: content for number, content in found.items() if content}
            waited = timedelta(seconds=waited_s)
            await self._queue.keep_polled(self._reader.id, understood, next_update=max(found) + 1, waited=waited)
        if len(found) < MOST_AT_ONCE:
            self._complete_at = self._clock()

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
