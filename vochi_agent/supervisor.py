"""Restarts what depends on something outside: jittered backoff, one log line when it goes, one when it is back.

Invariant: only failures that the error tree foresees are waited out. Anything else propagates and ends the daemon, so
that systemd starts a clean one.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial

from vochi_agent.errors import LoginRefused, NotReachable, ProtocolError, StoreForbidden, VochiError

__all__ = ["Backoff", "bulkhead", "keep_running"]

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
REFUSED_WAIT_S = 60.0

FORESEEN: tuple[type[VochiError], ...] = (NotReachable, ProtocolError)
REFUSED: tuple[type[VochiError], ...] = (LoginRefused, StoreForbidden)

log = logging.getLogger(__name__)


class Backoff:
    """Growing waits, each between half of its ceiling and the ceiling, so that many daemons do not return as one."""

    def __init__(
        self,
        first: float = FIRST_WAIT_S,
        longest: float = LONGEST_WAIT_S,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self.longest = longest
        self._jitter = jitter
        self._ceiling = first

    def next_wait(self) -> float:
        """Seconds to wait before the next attempt; the one after it waits up to twice as long."""
        wait = self._ceiling * (1 + self._jitter()) / 2
        self._ceiling = min(self.longest, self._ceiling * 2)
        return wait

    def reset(self) -> None:
        """It worked: the next failure starts from the first wait again."""
        self._ceiling = self._first


async def keep_running(
    name: str,
    run: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    backoff: Backoff | None = None,
    foreseen: tuple[type[VochiError], ...] = FORESEEN,
    refused: tuple[type[VochiError], ...] = REFUSED,
    refused_wait: float = REFUSED_WAIT_S,
) -> None:
    """Call `run(up)` again whenever it fails as foreseen; return when it returns.

    Args:
        name: Who it is, for the log: `AMI 127.0.0.1:5038`.
        run: One life. It calls `up()` when it has reached what it needs, which ends the outage.
        backoff: The waits between lives.
        foreseen: Failures that pass by themselves: WARNING once an outage.
        refused: Failures that a person has to mend: ERROR once an outage, and a long wait.
        refused_wait: Seconds between attempts while refused, at most.
    """
    backoff = backoff or Backoff()
    outage = _Outage(name)
    while True:
        try:
            await _apart(name, partial(run, outage.end))
        except refused as exc:
            outage.begin(exc, logging.ERROR)
            wait = Backoff(refused_wait, refused_wait).next_wait()
        except foreseen as exc:
            # A peer that lets us in and drops us at once must not be called five times a second.
            if outage.seconds_up() >= backoff.longest:
                backoff.reset()
            outage.begin(exc, logging.WARNING)
            wait = backoff.next_wait()
        else:
            return
        _obey_cancellation()
        await asyncio.sleep(wait)


async def bulkhead(name: str, run: Callable[[], Awaitable[None]], *, backoff: Backoff | None = None) -> None:
    """Run something that must not drag others down: a bug in it is logged with its traceback, and it starts again.

    For the far ends (Telegram, one PBX of several), never for what everything rests on: the store must end the daemon.
    """
    backoff = backoff or Backoff(1.0, 60.0)
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await _apart(name, run)
        except Exception:
            if clock() - began >= backoff.longest:
                backoff.reset()
            log.exception("%s failed and is started again", name, extra={"action": "bulkhead"})
        else:
            return
        _obey_cancellation()
        await asyncio.sleep(backoff.next_wait())


async def _apart(name: str, life: Callable[[], Awaitable[None]]) -> None:
    """Await it in a task of its own, which is cancelled with ours.

    A TaskGroup one of whose tasks fails while it waits for the others leaves its own request to cancel behind (CPython
    3.11, 3.12); here it would look like somebody's wish that we end.
    """

    async def live() -> None:
        await life()

    await asyncio.create_task(live(), name=name)  # noqa: TID251 - owned: awaited in the same breath


def _obey_cancellation() -> None:
    """A TaskGroup that is cancelled while one of its tasks fails raises the failure only (CPython 3.11, 3.12)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Outage:
    """Speaks on edges only: what was said in this outage is not said again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._clock = asyncio.get_running_loop().time
        self._said: set[type[BaseException]] = set()
        self._down_since: float | None = None
        self._up_since: float | None = None

    def begin(self, exc: VochiError, level: int) -> None:
        if self._down_since is None:
            self._down_since = self._clock()
        self._up_since = None
        kind = type(exc)
        # A fault of another nature (first silence, then a refused login) is news; its repetition is not.
        if level == logging.ERROR and kind not in self._said:
            log.error("%s refuses us, trying again slowly: %s", self._name, exc, extra={"action": "service_refused"})
        elif not self._said:
            log.warning("%s is away, trying again: %s", self._name, exc, extra={"action": "service_lost"})
        else:
            log.debug("%s is still away: %s", self._name, exc, extra={"action": "service_retry"})
        self._said.add(kind)

    def end(self) -> None:
        self._up_since = self._clock()
        if self._down_since is None:
            log.info("%s is up", self._name, extra={"action": "service_up"})
        else:
            seconds = self._up_since - self._down_since
            log.info("%s is back after %.1f s", self._name, seconds, extra={"action": "service_back"})
        self._down_since = None
        self._said.clear()

    def seconds_up(self) -> float:
        return 0.0 if self._up_since is None else self._clock() - self._up_since
