"""What the use cases need from the outside world. Adapters fulfil these; tests run one suite over each adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vochi_agent.calls.model import Call, CallFinished, CallMerged
from vochi_agent.customers.model import Customer, History, Profile

__all__ = [
    "CallStore",
    "CardDraft",
    "CustomerDirectory",
    "LedgerEntry",
    "ProfileSource",
    "Recorded",
    "Renderer",
    "Spool",
    "SpoolState",
]

# What a call leaves behind for the ledger.
LedgerEntry = CallFinished | CallMerged


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDraft:
    """The state one Telegram chat should show for one call.

    Attributes:
        topic: `message_thread_id` of a forum topic, 0 for none.
        text: The whole message, Telegram HTML.
        silent: The message makes no sound.
    """

    chat_id: int
    topic: int
    text: str
    silent: bool


class Renderer(Protocol):
    """Renders the cards of a finished call inside the transaction that stores it (pure, quick)."""

    def __call__(self, call: Call, customer: Customer | None, before: History | None) -> Sequence[CardDraft]:
        """One draft for each chat that is told; `before` is the customer's history without this call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What storing a call did.

    Attributes:
        inserted: False when the row was there already, corrected or not.
        changed: Something was written; False for an exact repetition.
    """

    inserted: bool
    changed: bool


class CallStore(Protocol):
    """Keeps finished calls, customers' counters and what has to be sent, in one transaction a call."""

    async def record(self, call: Call, render: Renderer) -> Recorded:
        """Store a finished call or correct it; exactly once, whatever the order or repetition.

        Raises:
            StoreUnavailable: nothing was stored; call again later.
            StoreRefused: it can never be stored.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """What waits on the disk, and what could not.

    Attributes:
        calls: Entries that wait.
        bytes: What they and their files take.
        dropped: Calls that could not be kept or stored since the process began, and are left to recovery.
        lost_since: A moment before which no call was lost, while there is a gap; kept over restarts.
        problem: What the disk says, "" while it works.
    """

    calls: int
    bytes: int
    limit_bytes: int
    dropped: int = 0
    lost_since: datetime | None = None
    problem: str = ""


class Spool(Protocol):
    """Keeps finished calls on disk, in order, until the ledger has them. One reader, one writer."""

    @property
    def state(self) -> SpoolState:
        """How it stands; costs nothing."""
        ...

    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Put entries at the end; they outlive the process when this returns. What there is no room for is dropped.

        Raises:
            SpoolUnavailable: none of them counts as kept; keep them and call again.
        """
        ...

    async def oldest(self, limit: int) -> Sequence[LedgerEntry]:
        """The entries that wait longest, until `advance` is called for each; after a crash some come again."""
        ...

    def advance(self) -> None:
        """The oldest entry is stored."""
        ...

    def lose(self, entries: Sequence[LedgerEntry]) -> None:
        """Note entries that cannot be kept anywhere: a gap."""
        ...

    async def gap_filled(self) -> None:
        """What was lost has been recovered from elsewhere."""
        ...


class CustomerDirectory(Protocol):
    """The local table of customers."""

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        ...

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer:
        """Merge a fresh profile into the row (made when missing) and return it. Raises StoreUnavailable."""
        ...


class ProfileSource(Protocol):
    """A CRM that can tell who a number is."""

    name: str

    async def profile(self, phone: str) -> Profile | None:
        """The person behind an E.164 number, None when the CRM knows nobody.

        Raises:
            CrmUnavailable: no usable answer this time.
            CrmAuthFailed: the key is refused.
            CrmRejected: the request was understood and refused.
        """
        ...
