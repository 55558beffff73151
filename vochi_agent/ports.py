"""What the use cases need from the outside world. Adapters fulfil these; tests run one suite over each adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallProgress, Phase
from vochi_agent.customers.model import Company, Customer, History, Profile

__all__ = [
    "CallBook",
    "CallScreen",
    "CallStore",
    "CardDraft",
    "CompanySource",
    "CustomerDirectory",
    "LedgerEntry",
    "LiveCardStore",
    "LiveRenderer",
    "OpenWork",
    "Phones",
    "Popup",
    "Post",
    "ProfileSource",
    "Recorded",
    "Reminder",
    "Renderer",
    "Spool",
    "SpoolState",
    "TalkHistory",
    "Talked",
]

# What a call leaves behind for the ledger.
LedgerEntry = CallFinished | CallMerged


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """What one sink (a CRM's list of calls, an enterprise's chats) should hold and does not.

    Attributes:
        waiting: Goes there by itself.
        age_s: How long the oldest of `waiting` has been due, seconds; 0 when nothing waits.
        parked: Was refused and waits for a person.
    """

    waiting: int = 0
    age_s: float = 0.0
    parked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """What a chat should be told of a missed call later, when nothing was done about it by then.

    Attributes:
        at: Not before this moment.
    """

    text: str
    brief: str
    at: datetime
    buttons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDraft:
    """The state one Telegram chat should show for one call.

    Attributes:
        topic: `message_thread_id` of a forum topic, 0 for none.
        text: The whole message, Telegram HTML.
        silent: The message makes no sound.
        brief: The same in one line, for a message about many calls.
        anew: What the chat shows of an earlier phase is replaced by a new message, not edited.
        held_until: Not before this moment, and together with what else waits for it.
        wanted: False: the chat did not ask for such a call; what it shows of it already is corrected or taken back.
        sound: The recording that the message is to carry, below the folder of recordings; "" for none.
        buttons: Names of those below a message that shows this card alone.
        reminder: None: there is nothing to remind of (any more).
    """

    chat_id: int
    topic: int
    text: str
    silent: bool
    brief: str = ""
    anew: bool = False
    held_until: datetime | None = None
    wanted: bool = True
    sound: str = ""
    buttons: tuple[str, ...] = ()
    reminder: Reminder | None = None


class Renderer(Protocol):
    """Renders the cards of a finished call inside the transaction that stores it (pure, quick)."""

    def __call__(
        self, call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
    ) -> Sequence[CardDraft]:
        """One draft for each chat that is told.

        Args:
            before: The customer's history without this call.
            call_back: How it stands, of a missed call that somebody may have to call back.
        """
        ...


class LiveRenderer(Protocol):
    """Renders the cards of a call that goes on (pure, quick)."""

    def __call__(
        self, progress: CallProgress, customer: Customer | None, *, placed_by: str = ""
    ) -> Sequence[CardDraft]:
        """One draft for each chat; `placed_by`: the extension that placed an outgoing or internal call."""
        ...


class LiveCardStore(Protocol):
    """Keeps what chats should show of calls that go on."""

    async def put_live(self, enterprise_number: str, linkedid: str, phase: Phase, drafts: Sequence[CardDraft]) -> int:
        """Store it; returns how many cards changed. A call never goes back. Raises StoreUnavailable."""
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
    """Keeps finished calls; each with its customer's counters and what has to be sent, in one transaction."""

    async def record(self, call: Call, render: Renderer) -> Recorded:
        """Store a finished call or correct it; exactly once, whatever the order or repetition.

        Raises:
            StoreUnavailable: nothing was stored; call again later.
            StoreRefused: it can never be stored.
        """
        ...

    async def record_some(self, calls: Sequence[Call], render: Renderer) -> Sequence[Recorded]:
        """Store the first of these calls in one transaction, at least one of them: what became of each that was stored.

        The same as `record` for one after the other, sooner. Call again with the rest.

        Raises:
            StoreUnavailable: nothing was stored; call again later.
            StoreRefused: nothing was stored, because some of them never can be; by itself each tells whether it can.
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

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable, also when it would take longer than `within_s`."""
        ...

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer | None:
        """Merge a fresh profile into the row (made when missing) and return it; None for a number that was erased.

        Raises:
            StoreUnavailable: nothing was stored.
        """
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

    async def person(self, external_id: str) -> Profile | None:
        """The person with this id, with all of his numbers in `phones`; None when the CRM has no such person.

        Raises:
            As `profile`.
        """
        ...


@runtime_checkable
class CompanySource(ProfileSource, Protocol):
    """A CRM that has corporate clients."""

    async def company(self, company_id: str) -> Company | None:
        """All contacts of a corporate client; None when the CRM has no such company. Several requests, no hurry.

        Raises:
            As `profile`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A finished call on its way into a CRM's own list of calls.

    Attributes:
        id: Ours, of the place in the queue.
        customer: As he is known now; None when the call has none.
        revision: Grows when the call is corrected after the fact.
        remote_id: The CRM's own id of the call, "" while none is known.
        corrects: The CRM has an earlier revision.
        uncertain: An earlier attempt got no answer: the CRM may have this revision already.
        failures: Attempts in a row that brought nothing.
    """

    id: int
    call: Call
    customer: Customer | None
    revision: int = 1
    remote_id: str = ""
    corrects: bool = False
    uncertain: bool = False
    failures: int = 0


@runtime_checkable
class CallBook(Protocol):
    """A CRM that keeps a list of calls."""

    name: str

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """Bring the call into the list, or correct it where the CRM allows that; returns the CRM's own id or "".

        Nothing is ever listed twice: where the CRM cannot tell a repetition by our id, an `uncertain` post is looked
        for first, and refused when that is not possible either.

        Args:
            recording_url: Where people hear the conversation, "" without a recording.

        Raises:
            CrmUncertain: it may be there, nobody knows.
            CrmUnavailable: it is not there; call again later.
            CrmAuthFailed: the key is refused.
            CrmRejected: it will never be taken as it is.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Popup:
    """What the screens of a CRM's users should show of a live call now.

    Attributes:
        progress: Its phase; `hangup` when it is over.
        began: Extensions that this phase is about and the one before was not: phones that began to ring, or who talks.
        ended: Extensions that were told before and are no longer in the call.
        finished: The record, in phase `hangup`; None: the call became part of another and has none of its own.
        remote_id: What the CRM returned for an earlier phase of this call, "" at first.
    """

    progress: CallProgress
    customer: Customer | None
    began: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    finished: Call | None = None
    remote_id: str = ""


@runtime_checkable
class CallScreen(Protocol):
    """A CRM that shows a card on its users' screens while a call lives."""

    name: str

    async def show(self, popup: Popup) -> str:
        """Show, change or close the card; returns the CRM's own id of the call or "". Asked once, never repeated.

        Raises:
            CrmUnavailable: nobody saw it this time.
            CrmAuthFailed: the key is refused.
            CrmRejected: the CRM does not want it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Talked:
    """The extensions that talked with a customer first and last, "" when nobody did."""

    first: str = ""
    last: str = ""


class TalkHistory(Protocol):
    """The ledger, as far as it says who talked with whom."""

    async def talked(self, enterprise_number: str, phone: str) -> Talked:
        """Who talked with an E.164 number. Raises StoreUnavailable."""
        ...


class Phones(Protocol):
    """The telephones of one PBX."""

    async def is_free(self, extension: str) -> bool:
        """It exists, is registered, and its owner is in no call at this moment.

        Raises:
            NotReachable: the PBX does not say.
        """
        ...
