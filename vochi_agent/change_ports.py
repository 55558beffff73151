"""What taking in what CRMs tell needs of the outside: readers of webhooks and clicks, histories, a store of changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

from vochi_agent.customers.model import Profile

__all__ = [
    "Change",
    "ChangeFeed",
    "ChangeStore",
    "Click",
    "ClickReader",
    "ClickRegistry",
    "HistoryMark",
    "HistoryPage",
    "PendingChange",
    "WebhookReader",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A CRM says that somebody changed.

    Attributes:
        kind: A person, or a company whose contacts changed with it.
        external_id: His or its id in the CRM.
        profile: What the message itself says about the person; None: the CRM has to be asked.
        skipped: Phones of the message that are no phones.
    """

    kind: Literal["person", "company"] = "person"
    external_id: str
    profile: Profile | None = None
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A CRM's user clicked on a phone number and wants to talk.

    Attributes:
        phone: As the CRM wrote it.
        user: His id in the CRM, "" when it names none.
        extension: His extension, where the CRM names that.
        remote_id: The CRM's own id of the call, where it has registered one already.
        age_s: Seconds since he clicked, by the CRM's own clock, where we had to fetch it.
    """

    phone: str
    user: str = ""
    extension: str = ""
    remote_id: str = ""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChange:
    """A change that somebody works on.

    Attributes:
        revision: What `ChangeStore.done` and `failed` have to be told.
        failures: Attempts that failed, in a row.
        age: Since the CRM said so last.
    """

    id: int
    revision: int
    failures: int
    age: timedelta
    change: Change


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """How far a history was read, and when it was looked at first; id 0: it was empty then."""

    since_id: int
    started_at: datetime


class ChangeStore(Protocol):
    """Keeps what CRMs said until it is done. Every method raises StoreUnavailable."""

    async def put(self, enterprise_number: str, source: str, changes: Sequence[Change]) -> None:
        """Keep changes, all or none; each replaces an older one of the same person or company."""
        ...

    async def claim(self, enterprise_number: str, source: str) -> PendingChange | None:
        """The change that waits longest; None when none is due. Unless it is settled, it is due again after a lease."""
        ...

    async def done(self, pending: PendingChange) -> None:
        """It is in `customers`, or never will be; a later word about the same one stays."""
        ...

    async def failed(self, pending: PendingChange, retry_in: timedelta) -> None:
        """Not this time."""
        ...

    async def waiting(self, enterprise_number: str, source: str) -> int:
        """How many wait."""
        ...

    async def mark(self, enterprise_number: str, source: str, history: str) -> HistoryMark | None:
        """How far a history was read; None: never looked at."""
        ...

    async def start(self, enterprise_number: str, source: str, history: str, since_id: int, at: datetime) -> None:
        """The history begins for us after this id."""
        ...

    async def advance(
        self, enterprise_number: str, source: str, history: str, since_id: int, changes: Sequence[Change]
    ) -> None:
        """Keep the changes of a page and that it was read, in one transaction."""
        ...


class WebhookReader(Protocol):
    """Reads what a CRM sends to `/webhooks/…` (pure)."""

    def __call__(self, content_type: str, query: str, body: bytes) -> Change | Sequence[Change] | Click | None:
        """What changed, one or several, or who clicked; None for an event that tells nothing about customers.

        Args:
            content_type: The header as it came, "" for none.
            query: Of the URL, still encoded.
            body: At most 256 KiB.

        Raises:
            NotUnderstood: no such message exists, or it asks for what we do not do.
            ForeignTenant: it comes from another account.
        """
        ...


class ClickReader(Protocol):
    """Reads what a CRM sends to `/webhooks/…/call`, an address for clicks alone (pure)."""

    def __call__(self, content_type: str, query: str, body: bytes) -> Click:
        """Who clicked on which number. As `WebhookReader`."""
        ...


@runtime_checkable
class ClickRegistry(Protocol):
    """A CRM that registers the call of a click by itself, and knows its users' extensions.

    Every method raises CrmUnavailable, CrmAuthFailed, CrmRejected.
    """

    name: str

    async def extension_of(self, user: str) -> str:
        """The extension of a user, "" when he has none."""
        ...

    async def close_click(self, click: Click) -> None:
        """No call follows this click: its card is closed and its call is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Some changes in the order of the CRM's history.

    Attributes:
        since_id: Where the next page begins; 0 while the history is empty.
        more: There is one already.
        clicks: What the history tells of clicks.
    """

    changes: Sequence[Change]
    since_id: int
    more: bool
    clicks: Sequence[Click] = ()


class ChangeFeed(Protocol):
    """A CRM that keeps a history of changes, one or several.

    Attributes:
        histories: Their names, for the marks that are kept of each.
        period_s: Seconds between two looks at each; 0: nobody looks.
    """

    histories: Sequence[str]
    period_s: float

    async def present(self, history: str, now: datetime) -> int:
        """The id of the newest change, 0 when there is none yet. Raises as `ProfileSource.profile`."""
        ...

    async def after(self, history: str, since_id: int, started_at: datetime) -> HistoryPage:
        """What came after an id; `started_at`: when `present` answered. Raises as `ProfileSource.profile`."""
        ...

    async def contacts(self, company_id: str) -> Sequence[str]:
        """Ids of the people of a company. Raises as `ProfileSource.profile`."""
        ...
