"""Brings every finished call into the CRMs' own lists of calls: each CRM a bulkhead, each call once.

The ledger leaves a post for every CRM in the transaction that stores the call; here a worker a CRM takes them in order.
A CRM that is away is waited for with everything behind it; a call that it refuses is parked, and the next one goes on.
A call that fails again and again goes last for a moment: when others pass then, it alone seems to blame and steps
aside, each time for longer; when none does, it is the CRM that is away, and the order stays.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from vochi_agent.calls.model import Call
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, CrmUncertain, StoreUnavailable
from vochi_agent.log import about_call
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CallBook, OpenWork, Post
from vochi_agent.supervisor import Backoff, bulkhead

__all__ = ["CallBooks", "Pace", "PostQueue"]

log = logging.getLogger(__name__)

# After so many failures in a row it may be the call, not the CRM, that is to blame.
STUBBORN: Final = 8
# It fails as often before it steps aside for twice as long: a CRM that comes and goes makes the innocent look guilty.
DOUBLING: Final = 3
MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: between looks at the queue, after a failure (growing), after a refused key, for a stubborn call.

    Attributes:
        let_pass: What a call that may be stubborn leaves to another one, beyond the wait.
        first_aside: How long one that others have passed steps aside at first; `step_aside` is the longest.
    """

    look_again: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    refused_key: float = 300.0
    let_pass: float = 1.0
    first_aside: float = 15.0
    step_aside: float = 900.0


USUAL: Final = Pace()


class PostQueue(Protocol):
    """The open work of all CRMs, kept with the ledger; `store.outbox.Outbox` is one. All raise StoreUnavailable."""

    async def claim(self, enterprise_number: str, crm: str) -> Post | None:
        """The oldest call that is due."""
        ...

    async def sent(self, post: Post, remote_id: str) -> None:
        """The CRM has it."""
        ...

    async def waiting(self) -> Mapping[tuple[str, str], OpenWork]:
        """By enterprise and CRM: the calls that wait and those that are parked."""
        ...

    async def failed(self, post: Post, retry_in: timedelta, *, uncertain: bool) -> None:
        """Not this time."""
        ...

    async def parked(self, post: Post, reason: str) -> None:
        """Not until a person has looked."""
        ...


class CallBooks:
    """All CRMs that keep a list of calls.

    Args:
        books: By enterprise number.
        ours: Whether this daemon writes an enterprise's calls; another one does it otherwise.
        recording_url: Where people hear a call, "" without a recording.
    """

    def __init__(
        self,
        books: Sequence[tuple[str, CallBook]],
        queue: PostQueue,
        *,
        ours: Callable[[str], bool],
        recording_url: Callable[[Call], str],
        metrics: Metrics,
        pace: Pace = USUAL,
    ) -> None:
        self._books = books
        self._queue = queue
        self._metrics = metrics
        self._pace = pace
        self._workers: dict[str, list[_Worker]] = {}
        for number, book in books:
            worker = _Worker(
                number,
                book,
                queue=queue,
                ours=partial(ours, number),
                recording_url=recording_url,
                metrics=metrics,
                pace=pace,
            )
            self._workers.setdefault(number, []).append(worker)

    def wake(self, enterprise_number: str) -> None:
        """Calls of an enterprise were stored."""
        for worker in self._workers.get(enterprise_number, ()):
            worker.wake()

    async def run(self) -> None:
        """Write for ever; a bug in one CRM's adapter delays no other."""
        async with asyncio.TaskGroup() as tasks:
            for worker in itertools.chain.from_iterable(self._workers.values()):
                tasks.create_task(bulkhead(worker.name, worker.run), name=worker.name)
            while self._workers:
                await self._show()
                await asyncio.sleep(self._pace.look_again)

    async def _show(self) -> None:
        try:
            waiting = await self._queue.waiting()
        except StoreUnavailable:
            return
        for number, book in self._books:
            work = waiting.get((number, book.name), OpenWork())
            self._metrics.crm_waiting.labels(number, book.name).set(work.waiting)
            self._metrics.crm_parked.labels(number, book.name).set(work.parked)
            self._metrics.outbox_age_seconds.labels(number, book.name).set(work.age_s)


class _Worker:
    """One CRM of one enterprise."""

    def __init__(
        self,
        enterprise_number: str,
        book: CallBook,
        *,
        queue: PostQueue,
        ours: Callable[[], bool],
        recording_url: Callable[[Call], str],
        metrics: Metrics,
        pace: Pace,
    ) -> None:
        self.name = f"the call list of {book.name} of {enterprise_number}"
        self._enterprise_number = enterprise_number
        self._book = book
        self._queue = queue
        self._ours = ours
        self._recording_url = recording_url
        self._results = partial(metrics.crm_posts.labels, enterprise_number, book.name)
        self._pace = pace
        self._backoff = Backoff(pace.first_wait, pace.longest_wait)
        self._woken = asyncio.Event()
        # Calls that went last to see whether others pass, and those that others have passed.
        self._suspects: dict[int, Post] = {}
        self._passed: set[int] = set()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            self._woken.clear()
            with contextlib.suppress(StoreUnavailable):
                while self._ours() and (post := await self._queue.claim(self._enterprise_number, self._book.name)):
                    with about_call(post.call.linkedid):
                        await self._write(post)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look_again):
                    await self._woken.wait()

    async def _write(self, post: Post) -> None:
        try:
            remote_id = await self._book.log_call(post, recording_url=self._recording_url(post.call))
        except CrmAuthFailed:
            # The CRM's client said so already; every further try would only be counted against the account.
            await self._wait_with(post, self._pace.refused_key, uncertain=False)
        except CrmUncertain as doubt:
            wait = self._backoff.next_wait()
            # One that only time can tell of steps aside for so long.
            aside = doubt.settles_s or self._aside_s(post, wait)
            await self._wait_with(post, wait, uncertain=True, aside_s=aside)
        except CrmUnavailable:
            wait = self._backoff.next_wait()
            await self._wait_with(post, wait, uncertain=False, aside_s=self._aside_s(post, wait))
        except CrmRejected as refusal:
            await self._park(post, str(refusal))
        except Exception:
            # What one hostile call does to an adapter must not stop the calls behind it.
            log.exception("%s: a call cannot be written", self.name, extra={"action": "crm_post_bug"})
            await self._park(post, "a bug of ours, see the log")
        else:
            self._backoff.reset()
            await self._queue.sent(post, remote_id)
            self._results("sent").inc()
            await self._call_back_suspects(post)

    async def _wait_with(self, post: Post, seconds: float, *, uncertain: bool, aside_s: float = 0.0) -> None:
        """The call is first in the queue again after the wait, unless it steps aside for longer."""
        self._results("failed").inc()
        await self._queue.failed(post, timedelta(seconds=aside_s), uncertain=uncertain)
        await asyncio.sleep(seconds)

    def _aside_s(self, post: Post, wait_s: float) -> float:
        """For how long a call that has failed again lets others pass: not yet, for one attempt of theirs, or for long.

        An absence of the CRM makes every call fail as often, so the number of failures alone proves nothing.
        """
        if post.failures + 1 < STUBBORN:
            return 0.0
        if post.id in self._passed:
            self._passed.discard(post.id)
            longer = 2.0 ** min((post.failures + 1 - STUBBORN) // DOUBLING, 10)
            return min(self._pace.step_aside, self._pace.first_aside * longer)
        self._suspects[post.id] = post
        return 2 * wait_s + self._pace.let_pass

    async def _call_back_suspects(self, passed_by: Post) -> None:
        """The CRM takes calls: those that went last are first again, once."""
        self._passed.discard(passed_by.id)
        self._suspects.pop(passed_by.id, None)
        for suspect in self._suspects.values():
            await self._queue.failed(suspect, timedelta(0), uncertain=False)
            self._passed.add(suspect.id)
        self._suspects.clear()

    async def _park(self, post: Post, reason: str) -> None:
        self._results("parked").inc()
        log.warning(
            "%s refused a call: %s; see `vochi-agent outbox`",
            self.name,
            reason[:MAX_REASON],
            extra={"action": "crm_post_parked"},
        )
        await self._queue.parked(post, reason[:MAX_REASON])
