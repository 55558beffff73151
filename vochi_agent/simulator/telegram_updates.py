"""What people write to the sandbox's bot, as getUpdates gives it out: held requests, offsets, one reader at a time.

Or a webhook gets it: then nobody reads (`telegram_webhook`).

Error texts are those that the Bot API server sends (telegram-bot-api, Client.cpp).
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Final

__all__ = ["HOOKED", "READER_LOST", "WEBHOOK_SET", "Mailbox", "ReaderLost"]

FIRST_UPDATE: Final = 500_000_001
MOST_AT_ONCE: Final = 100
LONGEST_HOLD_S: Final = 50
READER_LOST: Final = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
HOOKED: Final = "Conflict: terminated by setWebhook request"
WEBHOOK_SET: Final = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)


class ReaderLost(Exception):
    """Another request reads now, or a webhook does; the text is the server's."""


class Mailbox:
    """Updates that nobody has confirmed.

    Attributes:
        webhook: Where updates go instead; "" while they wait for getUpdates.
        arrived: Set when there is news for whoever waits.
    """

    def __init__(self) -> None:
        self.webhook = ""
        self._updates: dict[int, dict[str, object]] = {}
        self._next = FIRST_UPDATE
        self.arrived = asyncio.Event()
        self._reader: object = None
        self._closed = False

    def put(self, kind: str, content: Mapping[str, object]) -> int:
        """Something happened; returns the number of its update."""
        self._next += 1
        self._updates[self._next - 1] = {"update_id": self._next - 1, kind: dict(content)}
        self.arrived.set()
        return self._next - 1

    def set_webhook(self, url: str) -> None:
        """Updates go there from now on; a request that is held ends."""
        self.webhook = url
        self.arrived.set()

    @property
    def pending(self) -> int:
        """How many updates nobody has confirmed."""
        return len(self._updates)

    def wanted(self, allowed: str) -> list[dict[str, object]]:
        """What nobody has confirmed, oldest first; `allowed`: a JSON list of kinds, "" for all."""
        kinds = set(json.loads(allowed or "[]"))
        return [each for each in self._updates.values() if not kinds or kinds & each.keys()]

    def confirm(self, update_id: int) -> None:
        """A webhook took it."""
        self._updates.pop(update_id, None)

    def forget(self) -> None:
        """Nobody is to get what waits."""
        self._updates.clear()

    def count_anew(self, first: int) -> None:
        """After a quiet week Telegram begins with a number of its own choice."""
        self._next = first

    def close(self) -> None:
        """The server goes: nobody is held any longer."""
        self._closed = True
        self.arrived.set()

    async def read(self, fields: Mapping[str, str]) -> list[dict[str, object]]:
        """What getUpdates answers. Raises ReaderLost."""
        if self.webhook:
            raise ReaderLost(WEBHOOK_SET)
        # The newer request is served, the one that was held before it is ended.
        self._reader = me = object()
        self.arrived.set()
        until = asyncio.get_running_loop().time() + min(int(fields.get("timeout") or 0), LONGEST_HOLD_S)
        offset = int(fields.get("offset") or 0)
        for update_id in [each for each in self._updates if each < offset]:
            del self._updates[update_id]
        while not (found := self._wanted(fields)) and not self._closed:
            self.arrived.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self.arrived.wait()
            except TimeoutError:
                return []
            if self._reader is not me:
                raise ReaderLost(READER_LOST)
            if self.webhook:
                raise ReaderLost(HOOKED)
        return found

    def _wanted(self, fields: Mapping[str, str]) -> list[dict[str, object]]:
        most = min(int(fields.get("limit") or MOST_AT_ONCE), MOST_AT_ONCE)
        return self.wanted(fields.get("allowed_updates", ""))[:most]
