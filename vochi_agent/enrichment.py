"""Who is calling, fresh from the CRMs: asked once a call, awaited by many, kept by nobody but the customers' table.

A request starts when the channel appears (`prefetch`); whoever needs the name (`profile`) waits for that same
request as long as he can, and the request lives on when he leaves, so a late answer still reaches the customer's row.

Names are not cached. A finished answer serves only the call that asked for it, known by its linkedid, for
`REUSE_S`; the next call asks anew. Only "nobody" is remembered, for `NOBODY_S`, until `forget`.
Invariant: each CRM is a bulkhead: one that is slow, dead or flooding holds up neither another nor a call.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from vochi_agent.contacts import Contacts, LetGo
from vochi_agent.customers.model import Profile
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmRejected, CrmUnavailable
from vochi_agent.expiring import Expiring
from vochi_agent.keeping import Keeper, OnProfile
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CompanySource, ProfileSource

__all__ = ["Asked", "CrmOfEnterprise", "Enrichment", "Lookup", "OnProfile", "Outcome"]

log = logging.getLogger(__name__)

REUSE_S: Final = 5.0
NOBODY_S: Final = 180.0
REQUEST_LIMIT_S: Final = 15.0  # above the budget a CRM's client gives itself; only a broken adapter meets it
MAX_REQUESTS: Final = 32  # in flight, a CRM
MAX_ANSWERS: Final = 1024
MAX_NOBODIES: Final = 4096


class Outcome(StrEnum):
    """How a lookup ended, as its asker sees it."""

    HIT = "hit"
    MISS = "miss"
    ERROR = "error"
    TIMEOUT = "timeout"
    BREAKER = "breaker"
    BUSY = "busy"


# What a request itself ends in; the others are about askers and about requests that were not made.
ANSWERS: Final = (Outcome.HIT, Outcome.MISS, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What became of asking; `profile` is there exactly when the outcome is HIT.

    Attributes:
        overtaken: A source that counts for more than the profile's still thinks.
    """

    outcome: Outcome
    profile: Profile | None = None
    overtaken: bool = False

    @property
    def may_be_bettered(self) -> bool:
        """Some CRM may still say who it is, or say it with more weight."""
        return self.outcome is Outcome.TIMEOUT or self.overtaken


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmOfEnterprise:
    """One CRM of one enterprise.

    Attributes:
        primary: Its names win over what other sources say.
        wait_s: The longest a ringing phone waits for it (`timeout_s` of the configuration).
    """

    source: ProfileSource
    primary: bool
    wait_s: float


class Enrichment:
    """Asks the CRMs of every enterprise.

    Args:
        crms: Enterprise number -> its CRMs.
        on_profile: Called once for every profile found, for one number never twice at a time.
        let_go: Called with complete companies of callers; without it nobody asks for a caller's colleagues.
        clock: Monotonic seconds, for what is remembered.
    """

    def __init__(
        self,
        crms: Mapping[str, Sequence[CrmOfEnterprise]],
        *,
        on_profile: OnProfile,
        let_go: LetGo | None = None,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._bulkheads = {
            enterprise_number: [
                _Bulkhead(enterprise_number, crm, on_profile=on_profile, let_go=let_go, metrics=metrics, clock=clock)
                for crm in sorted(of_enterprise, key=lambda crm: not crm.primary)
            ]
            for enterprise_number, of_enterprise in crms.items()
        }

    def prefetch(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> None:
        """Start asking every CRM of the enterprise about an E.164 number; returns at once."""
        for bulkhead in self._bulkheads.get(enterprise_number, ()):
            _ = bulkhead.ask(phone, linkedid)

    async def profile(self, enterprise_number: str, phone: str, *, deadline: float, linkedid: str = "") -> Lookup:
        """Ask, and wait for the answer; see `ask` and `Asked.profile`."""
        return await self.ask(enterprise_number, phone, linkedid=linkedid).profile(deadline=deadline)

    def ask(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> "Asked":
        """Ask all CRMs of the enterprise at once and wait for none.

        Args:
            phone: E.164.
            linkedid: The call; without it no finished answer is used again.
        """
        bulkheads = self._bulkheads.get(enterprise_number, ())
        return Asked([(bulkhead, bulkhead.ask(phone, linkedid)) for bulkhead in bulkheads])

    async def late(self, enterprise_number: str, phone: str, *, linkedid: str, within_s: float) -> Profile | None:
        """What CRMs still say about a caller whom `profile` had to leave; the primary source before the others.

        Asks nobody anew: it waits for the requests under way, which end by themselves. Never raises.
        """
        until = asyncio.get_running_loop().time() + within_s
        bulkheads = self._bulkheads.get(enterprise_number, ())
        answers = [answer for bulkhead in bulkheads if (answer := bulkhead.asked(phone, linkedid))]
        for answer in answers:
            await asyncio.wait([answer], timeout=max(0.0, until - asyncio.get_running_loop().time()))
            if answer.done() and (profile := answer.result().profile):
                return profile
        return None

    def forget(self, enterprise_number: str, phone: str) -> None:
        """Somebody (a webhook, a person) said who this number is: "nobody" no longer holds."""
        for bulkhead in self._bulkheads.get(enterprise_number, ()):
            bulkhead.forget(phone)

    def forget_all(self) -> None:
        """What was said meanwhile was not heard: nobody is known to be nobody any more."""
        for bulkheads in self._bulkheads.values():
            for bulkhead in bulkheads:
                bulkhead.forget_all()

    async def aclose(self) -> None:
        """Cancel what is under way; who still waits gets ERROR."""
        for bulkheads in self._bulkheads.values():
            for bulkhead in bulkheads:
                await bulkhead.aclose()


class Asked:
    """CRMs that were just asked about one caller; their requests go on whether anybody waits or not."""

    def __init__(self, answers: "Sequence[tuple[_Bulkhead, asyncio.Future[Lookup]]]") -> None:
        self._answers = answers
        self._at = asyncio.get_running_loop().time()

    async def profile(self, *, deadline: float) -> Lookup:
        """The first hit, the primary source before the others.

        Args:
            deadline: When the asker has to go on, by the event loop's clock.

        Returns:
            A HIT, else a TIMEOUT when some CRM may still know him, else what became of the primary source. Never raises
            for a CRM's sake.
        """
        said = None
        for bulkhead, answer in self._answers:
            lookup = await bulkhead.wait(answer, until=min(deadline, self._at + bulkhead.wait_s))
            if lookup.outcome is Outcome.HIT:
                return replace(lookup, overtaken=said is not None and said.outcome is Outcome.TIMEOUT)
            if said is None or lookup.outcome is Outcome.TIMEOUT:
                said = lookup
        return said or Lookup(Outcome.MISS)


@dataclass(slots=True)
class _Request:
    """One request under way and the calls that wait for it."""

    answer: asyncio.Future[Lookup]
    linkedids: set[str] = field(default_factory=set)


class _Bulkhead:
    """Everything about one CRM of one enterprise: its requests, its memory, its tasks, its limits."""

    def __init__(
        self,
        enterprise_number: str,
        crm: CrmOfEnterprise,
        *,
        on_profile: OnProfile,
        let_go: LetGo | None,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.wait_s = crm.wait_s
        self._enterprise_number = enterprise_number
        self._crm = crm
        labels = (enterprise_number, crm.source.name)
        self._outcomes = {outcome: metrics.crm_lookups.labels(*labels, outcome.value) for outcome in Outcome}
        self._seconds = {outcome: metrics.crm_seconds.labels(crm.source.name, outcome.value) for outcome in ANSWERS}
        self._requests: dict[str, _Request] = {}
        self._answers: Expiring[tuple[str, str], Lookup] = Expiring(ttl_s=REUSE_S, size=MAX_ANSWERS, clock=clock)
        self._nobodies: Expiring[str, Lookup] = Expiring(ttl_s=NOBODY_S, size=MAX_NOBODIES, clock=clock)
        self._keeper = Keeper(
            enterprise_number,
            crm.source.name,
            on_profile,
            primary=crm.primary,
            start=self._start,
            kept=self._kept,
            waiting=metrics.crm_unsaved.labels(*labels),
        )
        self._contacts: Contacts | None = None
        if let_go is not None and isinstance(crm.source, CompanySource):
            self._contacts = Contacts(
                enterprise_number, crm.source, save=self._keeper.put, let_go=let_go, metrics=metrics, clock=clock
            )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def ask(self, phone: str, linkedid: str) -> asyncio.Future[Lookup]:
        """The answer to come: of the request under way, of this call's finished one, or of a new one."""
        request = self._requests.get(phone)
        if request is None:
            known = self._answers.get((phone, linkedid)) or self._nobodies.get(phone)
            if known is None and (self._closed or len(self._requests) >= MAX_REQUESTS):
                known = Lookup(Outcome.BUSY)
                self._outcomes[Outcome.BUSY].inc()
            answer = asyncio.get_running_loop().create_future()
            if known:
                answer.set_result(known)
                return answer
            request = self._requests[phone] = _Request(answer)
            self._start(self._request(phone, request), "crm lookup")
        if linkedid:
            request.linkedids.add(linkedid)
        return request.answer

    def asked(self, phone: str, linkedid: str) -> asyncio.Future[Lookup] | None:
        """The answer of the request under way, or of this call's finished one."""
        if request := self._requests.get(phone):
            return request.answer
        known = self._answers.get((phone, linkedid))
        if known is None:
            return None
        answer: asyncio.Future[Lookup] = asyncio.get_running_loop().create_future()
        answer.set_result(known)
        return answer

    async def wait(self, answer: asyncio.Future[Lookup], *, until: float) -> Lookup:
        """The answer, or TIMEOUT; neither a timeout nor a cancelled asker cancels the request."""
        if not answer.done():
            await asyncio.wait([answer], timeout=max(0.0, until - asyncio.get_running_loop().time()))
        if answer.done():
            return answer.result()
        self._outcomes[Outcome.TIMEOUT].inc()
        return Lookup(Outcome.TIMEOUT)

    def forget(self, phone: str) -> None:
        self._nobodies.drop(phone)

    def forget_all(self) -> None:
        self._nobodies.clear()

    async def aclose(self) -> None:
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task cancelled before its first step never reaches its own `finally`.
        for request in self._requests.values():
            request.answer.set_result(Lookup(Outcome.ERROR))
        self._requests.clear()

    async def _request(self, phone: str, request: _Request) -> None:
        lookup = Lookup(Outcome.ERROR)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            lookup = await self._lookup(phone)
        finally:
            # In all cases, a bug and the end of the daemon included: nobody may wait for ever.
            del self._requests[phone]
            request.answer.set_result(lookup)
        self._outcomes[lookup.outcome].inc()
        if lookup.outcome in ANSWERS:
            self._seconds[lookup.outcome].observe(clock() - began)
        if lookup.outcome in (Outcome.HIT, Outcome.MISS):
            for linkedid in request.linkedids:
                self._answers.put((phone, linkedid), lookup)
        if lookup.outcome is Outcome.MISS:
            self._nobodies.put(phone, lookup)
        if lookup.profile:
            self._keeper.keep(phone, lookup.profile)

    async def _lookup(self, phone: str) -> Lookup:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                profile = await self._crm.source.profile(phone)
        except CrmPaused:
            return Lookup(Outcome.BREAKER)
        except (CrmUnavailable, CrmRejected, CrmAuthFailed, TimeoutError) as failure:
            # The CRM's client warned already, once an outage.
            log.debug("No answer from %s: %s", self._crm.source.name, failure, extra={"action": "crm_lookup"})
            return Lookup(Outcome.ERROR)
        return Lookup(Outcome.HIT, profile) if profile else Lookup(Outcome.MISS)

    def _kept(self, profile: Profile) -> None:
        if self._contacts and self._contacts.want(profile.company_id) and not self._closed:
            self._start(self._contacts.work(), "contacts of companies of")

    def _start(self, work: Coroutine[None, None, None], what: str) -> None:
        # Not a TaskGroup: a bug met by one hostile answer must cost that one lookup, not all of them.
        name = f"{what} {self._crm.source.name} {self._enterprise_number}"
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            log.error("%s failed", task.get_name(), exc_info=error, extra={"action": "enrichment_bug"})
