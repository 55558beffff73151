"""The store on PostgreSQL: one pool and what is done with it.

async with PostgresStore(dsn, pool_size=10) as store:   # opens also while the server is down
    await store.migrate()                               # StoreUnavailable: wait and try again
    await store.calls.record(call, render)

store.calls      ports.CallStore: record; merge, refresh_cards
store.customers  ports.CustomerDirectory: customer, enrich; person
store.cards      the work of the Telegram chats: put_live, pending_chats, work, claim, sent, lost, …
store.outbox     the calls that CRMs should list: claim, sent, failed, parked, states, retry
store.call_backs missed calls that somebody has to call back: take, stale
store.operators  people who talk with the bot: invite, redeem, operators, take_update, …
store.watched    what time is known to be complete: open_span, advance, gaps, close_gap, …
store.changes    what CRMs said of changes: put, claim, done, failed; how far their histories were read
store.phonebook  phonebook_import.Phonebook: put
store.erasure    forgets people: numbers, look, erase, notes
store.old_rows   retention.AgedRows: delete
store.recount    customers counted again from the ledger: differences, mend, backfill
store.reports    what commands read: calls, call, top, server_version
"""

import secrets
from types import TracebackType
from typing import Self

from .call_backs import CallBacks
from .cards import CardQueue
from .changes import CrmChanges
from .database import Database
from .directory import Customers
from .erasure import Erasure
from .ledger import CallLedger
from .migrate import migrate, pending
from .operators import Operators
from .outbox import Outbox
from .phonebook import PhonebookRows
from .recount import Recount
from .reports import Reports
from .retention import OldRows
from .watched import WatchedTime

__all__ = ["PostgresStore"]


class PostgresStore:
    """Everything that is kept, behind one DSN."""

    def __init__(self, dsn: str, *, pool_size: int = 10) -> None:
        self.database = Database(dsn, pool_size=pool_size)
        self.calls = CallLedger(self.database)
        self.customers = Customers(self.database)
        self.cards = CardQueue(self.database, holder=secrets.token_hex(8))
        self.operators = Operators(self.database)
        self.call_backs = CallBacks(self.database)
        self.outbox = Outbox(self.database)
        self.changes = CrmChanges(self.database)
        self.phonebook = PhonebookRows(self.database)
        self.erasure = Erasure(self.database)
        self.old_rows = OldRows(self.database)
        self.recount = Recount(self.database)
        self.reports = Reports(self.database)
        self.watched = WatchedTime(self.database)

    async def __aenter__(self) -> Self:
        await self.database.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.database.__aexit__(kind, exc, traceback)

    @property
    def available(self) -> bool:
        """Whether the server answered when it was asked last."""
        return self.database.available

    @property
    def problem(self) -> str:
        """Why it did not, "" when it did."""
        return self.database.problem

    async def migrate(self) -> list[str]:
        """Bring the database to the schema of this program; see `migrate.migrate`."""
        return await migrate(self.database)

    async def pending(self) -> list[str]:
        """The migrations that this database still lacks; see `migrate.pending`."""
        return await pending(self.database)

    async def ping(self) -> None:
        """Raises StoreUnavailable when the server does not answer."""
        await self.database.execute("ping")
