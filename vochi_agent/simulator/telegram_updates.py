"""What people write to the sandbox's bot, as getUpdates gives it out: held requests, offsets, one reader at a time.

Error texts are those that the Bot API server sends (telegram-bot-api, Client.cpp).
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Final

__all__ = ["READER_LOST", "WEBHOOK_SET", "Mailbox", "ReaderLost"]

FIRST_UPDATE: Final = 500_000_001
MOST_AT_ONCE: Final = 100
LONGEST_HOLD_S: Final = 50
READER_LOST: Final = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_SET: Final = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)


class ReaderLost(Exception):
    """Another request reads now, or a webhook does; the text is the server's."""


class Mailbox:
    """Updates that nobody has confirmed.

    Attributes:
        webhook: Where updates go instead; "" while they wait for getUpdates.
    """

    def __init__(self) -> None:
        self.webhook = ""
        self._updates: dict[int, dict[str, object]] = {}
        self._next = FIRST_UPDATE
        self._arrived = asyncio.Event()
        self._reader: object = None

    def put(self, kind: str, content: Mapping[str, object]) -> int:
        """Something happened; returns the number of its update."""
        self._next += 1
        self._updates[self._next - 1] = {"update_id": self._next - 1, kind: dict(content)}
        self._arrived.set()
        return self._next - 1

    def count_anew(self, first: int) -> None:
        """After a quiet week Telegram begins with a number of its own choice."""
        self._next = first

    async def read(self, fields: Mapping[str, str]) -> list[dict[str, object]]:
        """What getUpdates answers. Raises ReaderLost."""
        if self.webhook:
            raise ReaderLost(WEBHOOK_SET)
        # The newer request is served, the one that was held before it is ended.
        self._reader = me = object()
        self._arrived.set()
        until = asyncio.get_running_loop().time() + min(int(fields.get("timeout") or 0), LONGEST_HOLD_S)
        offset = int(fields.get("offset") or 0)
        for update_id in [each for each in self._updates if each < offset]:
            del self._updates[update_id]
        while not (found := self._wanted(fields)):
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()
            except TimeoutError:
                return []
            if self._reader is not me:
                raise ReaderLost(READER_LOST)
        return found

    def _wanted(self, fields: Mapping[str, str]) -> list[dict[str, object]]:
        kinds = set(json.loads(fields.get("allowed_updates") or "[]"))
        most = min(int(fields.get("limit") or MOST_AT_ONCE), MOST_AT_ONCE)
        return [each for each in self._updates.values() if not kinds or kinds & each.keys()][:most]
