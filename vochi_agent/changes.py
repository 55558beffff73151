"""What a CRM tells by itself, by webhook or in a history of changes, becomes what `customers` says.

A change is kept in the database before the CRM hears that it was taken, so nothing that was taken dies with the
process. One worker a CRM then works it off, oldest first, outside of calls and at its own pace: a CRM that is slow,
dead or floods us with changes takes nothing from the requests that calls make, and nothing from other CRMs.
Whoever the message does not describe is asked for by his id: of him the order of messages says nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from aiolimiter import AsyncLimiter

from vochi_agent.change_ports import Change, ChangeFeed, ChangeStore, Click, PendingChange
from vochi_agent.customers.model import Profile
from vochi_agent.enrichment import OnProfile
from vochi_agent.errors import (
    CrmAuthFailed,
    CrmRejected,
    CrmUnavailable,
    NotPossible,
    StoreRefused,
    StoreUnavailable,
    TooOften,
)
from vochi_agent.metrics import Metrics
from vochi_agent.ports import ProfileSource
from vochi_agent.supervisor import keep_running

__all__ = ["Changes", "Outcome"]

log = logging.getLogger(__name__)

IDLE_S: Final = 15.0  # what another daemon left, and what is due again
ASK_LIMIT_S: Final = 30.0  # above the budget a CRM's client gives itself; a company's contacts take several requests
SAVE_LIMIT_S: Final = 10.0
FIRST_RETRY: Final = timedelta(seconds=5)
LONGEST_RETRY: Final = timedelta(minutes=10)
# What a message said of somebody an hour ago may be outdated: he is asked for. Longer than a dead daemon's claim.
TAKEN_AT_ITS_WORD: Final = timedelta(minutes=5)
KEPT: Final = timedelta(days=7)  # a call meanwhile has brought the fresh profile anyway
MAX_WAITING: Final = 100_000  # changes of one CRM; more is no change but a copy of the whole CRM
REFUSED_PAUSE_S: Final = 600.0  # a history that the key may not read


class Outcome(StrEnum):
    """What became of a change."""

    TAKEN = "taken"
    MERGED = "merged"
    GONE = "gone"  # nobody has this id any more, or he has no phone
    RETRIED = "retried"
    GIVEN_UP = "given_up"


class Changes:
    """The changes of one CRM of one enterprise."""

    def __init__(
        self,
        enterprise_number: str,
        source: ProfileSource,
        feed: ChangeFeed | None,
        store: ChangeStore,
        *,
        primary: bool,
        on_profile: OnProfile,
        forget: Callable[[str, str], None],
        click: Callable[[Click], None] | None = None,
        asks_per_s: float,
        ours: Callable[[], bool],
        ready: asyncio.Event,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """Start nothing yet.

        Args:
            feed: Its histories and companies, None when it has none.
            primary: Its names win over what other sources say.
            on_profile: Keeps a profile of one number.
            forget: Told that "nobody" no longer holds for a number.
            click: Takes a click that a history tells of. Raises NotPossible, TooOften.
            asks_per_s: Requests a second that changes may cost; a part of what the CRM allows.
            ours: Whether this daemon, not another one, looks at the histories.
            ready: Set when the database has our schema.
            clock: The time in UTC.
        """
        self.enterprise_number = enterprise_number
        self.source = source.name
        self._ask = source
        self._feed = feed
        self._store = store
        self._primary = primary
        self._on_profile = on_profile
        self._forget = forget
        self._click = click
        self._pace = AsyncLimiter(1, 1 / asks_per_s)
        self._ours = ours
        self._ready = ready
        self._clock = clock
        labels = (enterprise_number, source.name)
        self._outcomes = {outcome: metrics.crm_changes.labels(*labels, outcome.value) for outcome in Outcome}
        self._skipped = metrics.crm_phones_skipped.labels(*labels)
        self._waiting_gauge = metrics.crm_changes_waiting.labels(*labels)
        self._waiting = 0
        self._added = asyncio.Event()
        self._refused_until: dict[str, float] = {}

    async def take(self, changes: Sequence[Change]) -> None:
        """Keep what one message tells; it outlives the process when this returns.

        Raises:
            StoreUnavailable: nothing is kept; whoever told it should tell it again.
        """
        if not changes:
            return
        if self._waiting >= MAX_WAITING:
            raise StoreUnavailable("too many changes of this CRM wait already")
        await self._store.put(self.enterprise_number, self.source, changes)
        self._taken(changes)

    async def run(self) -> None:
        """Work off what is kept and look at the histories, for ever."""
        await self._ready.wait()
        name = f"{self.source} of {self.enterprise_number}"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running(f"the changes of {name}", self._work), name=f"changes of {name}")
            if self._feed and self._feed.period_s:
                looking = keep_running(f"the history of {name}", self._look)
                tasks.create_task(looking, name=f"history of {name}")

    async def _work(self, up: Callable[[], None]) -> None:
        self._count(await self._store.waiting(self.enterprise_number, self.source))
        up()
        while True:
            self._added.clear()
            while pending := await self._store.claim(self.enterprise_number, self.source):
                await self._settle(pending)
                self._count(max(0, self._waiting - 1))
            self._count(await self._store.waiting(self.enterprise_number, self.source))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._added.wait()

    async def _settle(self, pending: PendingChange) -> None:
        try:
            outcome = await self._apply(pending.change, fresh=pending.age < TAKEN_AT_ITS_WORD)
        except StoreUnavailable:
            raise
        except (CrmRejected, StoreRefused) as refusal:
            log.warning("A change told by %s is not taken: %s", self.source, refusal, extra={"action": "crm_change"})
            outcome = Outcome.GIVEN_UP
        except (CrmUnavailable, CrmAuthFailed, TimeoutError) as failure:
            outcome = self._later(pending, failure)
        except Exception:
            # One hostile answer must not stop all later changes: like any other failure it is tried again, for a time.
            log.exception("A change told by %s cannot be taken", self.source, extra={"action": "crm_change_bug"})
            outcome = self._later(pending, None)
        self._outcomes[outcome].inc()
        if outcome is Outcome.RETRIED:
            await self._store.failed(pending, min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(pending.failures, 10)))
        else:
            await self._store.done(pending)

    def _later(self, pending: PendingChange, failure: Exception | None) -> Outcome:
        if pending.age < KEPT:
            log.debug("A change told by %s waits: %s", self.source, failure, extra={"action": "crm_change"})
            return Outcome.RETRIED
        log.warning(
            "A change told by %s is given up after %d days", self.source, KEPT.days, extra={"action": "crm_change"}
        )
        return Outcome.GIVEN_UP

    async def _apply(self, change: Change, *, fresh: bool) -> Outcome:
        if change.kind == "company":
            return await self._spread(change.external_id)
        profile = change.profile if fresh else None
        if profile is None:
            await self._pace.acquire()
            async with asyncio.timeout(ASK_LIMIT_S):
                profile = await self._ask.person(change.external_id)
        if profile is None or not profile.phones:
            return Outcome.GONE
        await self._merge(profile)
        return Outcome.MERGED

    async def _spread(self, company_id: str) -> Outcome:
        """A company changed: so did, for us, everybody who is its contact."""
        if self._feed is None:
            return Outcome.GONE
        await self._pace.acquire()
        async with asyncio.timeout(ASK_LIMIT_S):
            contacts = await self._feed.contacts(company_id)
        people = [Change(external_id=external_id) for external_id in contacts]
        await self._store.put(self.enterprise_number, self.source, people)
        self._taken(people)
        return Outcome.MERGED

    async def _merge(self, profile: Profile) -> None:
        """One number after another: each has cards of its own that may still lack the name."""
        for phone in profile.phones:
            of_number = replace(profile, phones=tuple(other for other in profile.phones if other != phone))
            try:
                async with asyncio.timeout(SAVE_LIMIT_S):
                    await self._on_profile(self.enterprise_number, phone, of_number, primary=self._primary)
            except TimeoutError:
                raise StoreUnavailable("saving a profile took too long") from None
            self._forget(self.enterprise_number, phone)

    async def _look(self, up: Callable[[], None]) -> None:
        feed = self._feed
        if feed is None:
            return
        await self._look_once(feed)
        up()
        while True:
            await asyncio.sleep(feed.period_s)
            await self._look_once(feed)

    async def _look_once(self, feed: ChangeFeed) -> None:
        if self._ours():
            for history in feed.histories:
                await self._look_at(feed, history)

    async def _look_at(self, feed: ChangeFeed, history: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._refused_until.get(history, now):
            return
        try:
            await self._read(feed, history)
            self._refused_until.pop(history, None)
        except (CrmUnavailable, CrmAuthFailed) as failure:
            # The CRM's client warned already, once an outage.
            log.debug("No history from %s: %s", self.source, failure, extra={"action": "crm_history"})
        except CrmRejected as refusal:
            if history not in self._refused_until:
                log.warning(
                    "%s does not show us the history of %s: %s", self.source, history, refusal,
                    extra={"action": "crm_rights"},
                )  # fmt: skip
            self._refused_until[history] = now + REFUSED_PAUSE_S

    async def _read(self, feed: ChangeFeed, history: str) -> None:
        """What came since the last look; the first look only notes where the present is."""
        mark = await self._store.mark(self.enterprise_number, self.source, history)
        if mark is None:
            now = self._clock()
            newest = await feed.present(history, now)
            await self._store.start(self.enterprise_number, self.source, history, newest, now)
            return
        since_id, more = mark.since_id, True
        while more and self._waiting < MAX_WAITING:
            await self._pace.acquire()
            page = await feed.after(history, since_id, mark.started_at)
            since_id, more = page.since_id, page.more
            if page.changes or since_id != mark.since_id:
                await self._store.advance(self.enterprise_number, self.source, history, since_id, page.changes)
                self._taken(page.changes)
            for click in page.clicks:
                self._clicked(click)

    def _clicked(self, click: Click) -> None:
        """Only after the mark was moved on: a click that is read twice would ring twice."""
        if self._click is None:
            return
        try:
            self._click(click)
        except (NotPossible, TooOften) as reason:
            log.warning(
                "A click in %s/%s calls nobody: %s", self.enterprise_number, self.source, reason,
                extra={"action": "click_refused"},
            )  # fmt: skip

    def _taken(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        self._outcomes[Outcome.TAKEN].inc(len(changes))
        self._skipped.inc(sum(change.skipped for change in changes))
        self._count(self._waiting + len(changes))
        self._added.set()

    def _count(self, waiting: int) -> None:
        self._waiting = waiting
        self._waiting_gauge.set(waiting)
