"""The calls that CRMs' own lists should hold, for the workers that bring ledger and CRM together.

One life of a revision: `claim` stores that a request is about to be made; then exactly one of `sent`, `failed`,
`parked` - or none, when the daemon died: after the lease the call is claimed again, marked `uncertain`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vochi_agent.calls.ledger import customer_phone
from vochi_agent.ports import OpenWork, Post

from .database import Database
from .rows import call_from_row, customer_from_row, storable

__all__ = ["Outbox", "OutboxState", "ParkedPost"]

LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """What waits for one CRM.

    Attributes:
        waiting: Calls that will be sent by themselves.
        parked: Calls that the CRM refused; a person has to look.
        oldest: Since when the oldest of `waiting` waits.
    """

    enterprise_number: str
    crm: str
    waiting: int
    parked: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedPost:
    """A call that a CRM refused, and what it said."""

    enterprise_number: str
    crm: str
    linkedid: str
    parked: str
    updated_at: datetime


class Outbox:
    """Open work of all CRMs. Every method raises StoreUnavailable."""

    def __init__(self, database: Database, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease

    async def claim(self, enterprise_number: str, crm: str) -> Post | None:
        """The oldest call of a CRM that is due, with its customer as he is known now; None when there is none."""
        async with self._database.transaction() as session:
            row = await session.fetchrow("claim_post", enterprise_number, crm, self._lease)
            if row is None:
                return None
            call = call_from_row(await session.fetchrow("find_call", enterprise_number, row["linkedid"]))
            phone = customer_phone(call)
            known = await session.fetchrow("customer", enterprise_number, phone) if phone else None
            return Post(
                id=row["id"],
                call=call,
                customer=customer_from_row(known) if known is not None else None,
                revision=row["revision"],
                remote_id=row["remote_id"] or "",
                corrects=row["sent_revision"] > 0,
                uncertain=row["uncertain"],
                failures=row["failures"],
            )

    async def sent(self, post: Post, remote_id: str) -> None:
        """The CRM has this revision; "" keeps the id that is known."""
        await self._database.execute("post_sent", post.id, post.revision, storable(remote_id) or None)

    async def failed(self, post: Post, retry_in: timedelta, *, uncertain: bool) -> None:
        """The CRM did not take it this time; `uncertain`: or it did, and its answer was lost."""
        await self._database.execute("post_failed", post.id, retry_in, uncertain)

    async def parked(self, post: Post, reason: str) -> None:
        """The CRM will not take it until a person has looked."""
        await self._database.execute("post_parked", post.id, storable(reason))

    async def note_remote_id(self, enterprise_number: str, crm: str, linkedid: str, remote_id: str) -> None:
        """A CRM gave a call an id of its own while it is live; its final record is written under that id."""
        await self._database.execute("note_remote_id", enterprise_number, crm, storable(linkedid), storable(remote_id))

    async def waiting(self) -> dict[tuple[str, str], OpenWork]:
        """By enterprise and CRM: the calls that wait and those that are parked."""
        return {
            (row["enterprise_number"], row["crm"]): OpenWork(
                waiting=row["waiting"], age_s=row["age_s"], parked=row["parked"]
            )
            for row in await self._database.fetch("posts_waiting")
        }

    async def states(self, enterprise_number: str | None = None) -> list[OutboxState]:
        """What waits for each CRM that has open work."""
        rows = await self._database.fetch("outbox_state", enterprise_number)
        return [OutboxState(**{name: row[name] for name in OutboxState.__dataclass_fields__}) for row in rows]

    async def list_parked(self, enterprise_number: str | None = None, *, limit: int = 100) -> list[ParkedPost]:
        """The calls that CRMs refused, oldest first."""
        rows = await self._database.fetch("parked_posts", enterprise_number, limit)
        return [ParkedPost(**{name: row[name] for name in ParkedPost.__dataclass_fields__}) for row in rows]

    async def retry(self, enterprise_number: str | None = None, crm: str | None = None, *, absent: bool = False) -> int:
        """Let parked calls be tried again; returns how many.

        Args:
            absent: Somebody has looked into the CRM, and it lists none of them: no doubt is left.
        """
        return len(await self._database.fetch("retry_posts", enterprise_number, crm, absent))

    async def settle(self, enterprise_number: str | None = None, crm: str | None = None) -> int:
        """Take parked calls for listed, because somebody has seen them in the CRM; returns how many."""
        return len(await self._database.fetch("settle_posts", enterprise_number, crm))
