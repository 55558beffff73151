"""People who talk with the bot: their extensions, the codes that invite them, what they wrote to it that waits."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from vochi_agent.calls.model import Call, Phase
from vochi_agent.desk_ports import CallOfMessage, KeptUpdate, Operator, Person, PressedCard

from .database import Database
from .rows import call_from_row, storable

__all__ = ["INVITATION_LASTS", "Operators"]

INVITATION_LASTS: Final = timedelta(hours=24)
CODE_BYTES: Final = 16


class Operators:
    """Fulfils `desk_ports.DeskStore`, `PressStore` and `UpdateQueue`. Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def invite(self, enterprise_number: str, extension: str) -> str:
        """A code that makes one person this extension within a day; an earlier one is worth nothing."""
        # 22 characters of what a deep link may carry (A-Za-z0-9_-, at most 64).
        code = secrets.token_urlsafe(CODE_BYTES)
        await self._database.execute("invite", enterprise_number, extension, _hash(code), INVITATION_LASTS)
        return code

    async def dismiss(self, enterprise_number: str, extension: str) -> bool:
        """Nobody is this extension any more, and no code makes anybody so; whether there was anything to take away."""
        async with self._database.transaction() as session:
            code = await session.fetchrow("withdraw_invitation", enterprise_number, extension)
            person = await session.fetchrow("clear_extension", enterprise_number, extension)
        return code is not None or person is not None

    async def redeem(self, code: str, person: Person, enterprises: Sequence[str]) -> Operator | None:
        """Make a person an operator; None when the code is not good, used or too old. He replaces whoever was it."""
        async with self._database.transaction() as session:
            found = await session.fetchrow("use_invitation", list(enterprises), _hash(code))
            if found is None or not found["good"]:
                return None
            number, extension, name = found["enterprise_number"], found["extension"], storable(person.name)
            await session.execute("clear_extension", number, extension)
            await session.execute("sign_up", number, person.user_id, extension, name)
        return Operator(enterprise_number=number, user_id=person.user_id, extension=extension, name=name)

    async def operators(self, user_id: int, enterprises: Sequence[str]) -> list[Operator]:
        """What a person is in some enterprises."""
        return [Operator(**dict(row)) for row in await self._database.fetch("operators_of", list(enterprises), user_id)]

    async def home_chat(self, chat_id: int) -> int:
        """The configured id of a chat that Telegram numbers so now."""
        row = await self._database.fetchrow("home_chat", chat_id)
        return int(row["chat_id"]) if row is not None else chat_id

    async def calls_of_message(self, enterprises: Sequence[str], chat_id: int, message_id: int) -> list[CallOfMessage]:
        """The calls whose cards a message shows."""
        return [
            CallOfMessage(
                enterprise_number=row["enterprise_number"],
                linkedid=row["linkedid"],
                over=row["phase"] == Phase.HANGUP.value,
            )
            for row in await self._database.fetch("calls_of_message", list(enterprises), chat_id, message_id)
        ]

    async def pressed_card(
        self, token: UUID, enterprises: Sequence[str], chat_id: int, message_id: int
    ) -> PressedCard | None:
        """The call that a button belongs to; None when it is not below this message, or not of these enterprises."""
        row = await self._database.fetchrow("pressed_card", token, list(enterprises), chat_id, message_id)
        return None if row is None else PressedCard(**dict(row))

    async def note_answer(self, chat_id: int, message_id: int) -> None:
        """A message of ours in a chat of cards is no card."""
        await self._database.execute("note_answer", chat_id, message_id)

    async def calls_since(self, enterprise_number: str, since: datetime, *, limit: int) -> list[Call]:
        """The ledger, newest first."""
        rows = await self._database.fetch("list_calls", enterprise_number, None, since, None, limit)
        return [call_from_row(row) for row in rows]

    async def call(self, enterprise_number: str, linkedid: str) -> Call | None:
        """One call of the ledger."""
        row = await self._database.fetchrow("find_call", enterprise_number, linkedid)
        return call_from_row(row) if row is not None else None

    async def next_update(self, bot_id: int) -> int | None:
        """From which update on to read; None: from the oldest that Telegram still has."""
        row = await self._database.fetchrow("next_update", bot_id)
        return int(row["next_update"]) if row is not None else None

    async def keep_polled(
        self, bot_id: int, updates: Mapping[int, str], *, next_update: int, waited: timedelta
    ) -> None:
        """Keep what was polled until it is taken, and go on from the next number; what is known stays as it is."""
        await self._database.execute("keep_polled", bot_id, next_update, waited, list(updates), list(updates.values()))

    async def keep_update(self, bot_id: int, update_id: int, content: str) -> None:
        """Keep what a webhook brought until it is taken; what is known already stays as it is."""
        await self._database.execute("keep_update", bot_id, update_id, content)

    async def kept_updates(self, bot_id: int, *, limit: int) -> list[KeptUpdate]:
        """What is kept and not taken, oldest first."""
        rows = await self._database.fetch("kept_updates", bot_id, limit)
        return [KeptUpdate(row["update_id"], row["content"], row["age"]) for row in rows]

    async def take_update(self, bot_id: int, update_id: int) -> bool:
        """Forget what an update said, it is never to be handled again; False when it was taken before."""
        return await self._database.fetchrow("take_update", bot_id, update_id) is not None


def _hash(code: str) -> str:
    """What the table keeps of a code, which has more bits than anybody can try: no salt, no stretching."""
    return hashlib.sha256(storable(code).encode()).hexdigest()
