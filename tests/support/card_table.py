"""The table of cards as tests fill it and look at it: the real one, by the product's statements and beside them."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from vochi_agent.calls.model import Phase
from vochi_agent.ports import CardDraft
from vochi_agent.store.postgres import PostgresStore

__all__ = ["CardTable"]

NUMBERS = itertools.count(1)


@dataclass
class CardTable:
    """A database and its cards.

    Attributes:
        dsn: By the direct way, whatever stands between the store and its server.
    """

    store: PostgresStore
    dsn: str

    async def put(
        self,
        text: str,
        *,
        chat_id: int,
        linkedid: str = "",
        phase: Phase = Phase.HANGUP,
        topic: int = 0,
        silent: bool = True,
        **facts: Any,
    ) -> str:
        """What a chat is to show about a call; returns its linkedid, a new one unless given."""
        linkedid = linkedid or f"1795165024.{next(NUMBERS)}"
        draft = CardDraft(chat_id=chat_id, topic=topic, text=text, silent=silent, **facts)
        await self.store.cards.put_live("0901", linkedid, phase, [draft])
        return linkedid

    async def rows(self, sql: str, *arguments: object) -> list[Mapping[str, Any]]:
        """Any rows, beside the store."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def card(self, linkedid: str) -> Mapping[str, Any]:
        """The one card of a call."""
        (card,) = await self.rows("SELECT * FROM cards WHERE linkedid = $1", linkedid)
        return card

    async def until(self, sql: str, *arguments: object, within: float = 8.0) -> None:
        """Return when a condition in SQL holds. Raises TimeoutError."""
        connection = await asyncpg.connect(self.dsn)
        try:
            async with asyncio.timeout(within):
                while not await connection.fetchval(f"SELECT {sql}", *arguments):
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()

    async def until_shown(self, linkedid: str, *, within: float = 8.0) -> Mapping[str, Any]:
        """The card of a call, when its newest revision is known to be shown."""
        shown = "(SELECT bool_and(sent_revision = revision) FROM cards WHERE linkedid = $1)"
        await self.until(shown, linkedid, within=within)
        return await self.card(linkedid)
