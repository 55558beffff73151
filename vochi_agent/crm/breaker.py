"""The circuit breaker of one CRM: after repeated failures it is left alone for a while, then tried with one request.

Pure but for the injected clock. Invariant: a cancelled request and a refused one (`CrmRejected`) prove nothing
against the CRM and never open the breaker.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from vochi_agent.errors import CrmAuthFailed, CrmBlocked, CrmPaused, CrmRejected, CrmUnavailable

__all__ = ["Breaker", "State"]


class State(StrEnum):
    """CLOSED lets everything through, OPEN nothing, HALF_OPEN one request at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts consecutive failures of one CRM.

    Args:
        clock: Monotonic seconds.
        failures: So many failures in a row open it.
        pause_s: Seconds a CRM that does not answer is left alone.
        auth_pause_s: The same for one that refuses our key: hammering it gets the account blocked, and only
            a person can mend the key. After `CrmBlocked` it is left alone at once.
        on_change: Told of every change of state; must not raise.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        failures: int = 5,
        pause_s: float = 15.0,
        auth_pause_s: float = 300.0,
        on_change: Callable[[State], None],
    ) -> None:
        self._clock = clock
        self._limit = failures
        self._pause_s = pause_s
        self._auth_pause_s = auth_pause_s
        self._on_change = on_change
        self._state = State.CLOSED
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """The state as of the last request; an OPEN one turns HALF_OPEN when the next request comes."""
        return self._state

    @contextmanager
    def guard(self) -> Iterator[None]:
        """One request; its outcome is read from the exception that leaves the block.

        Raises:
            CrmPaused: the breaker is open; the block did not run.
        """
        self._admit()
        try:
            yield
        except CrmRejected:
            self._succeeded()
            raise
        except CrmAuthFailed as refusal:
            if isinstance(refusal, CrmBlocked):
                self._failures = self._limit
            self._failed(self._auth_pause_s)
            raise
        except CrmUnavailable:
            self._failed(self._pause_s)
            raise
        except BaseException:
            self._probing = False
            raise
        else:
            self._succeeded()

    def _admit(self) -> None:
        if self._state is State.OPEN and self._clock() >= self._open_until:
            self._become(State.HALF_OPEN)
        if self._state is State.CLOSED:
            return
        if self._state is State.OPEN or self._probing:
            raise CrmPaused("left alone after repeated failures")
        self._probing = True

    def _succeeded(self) -> None:
        self._probing = False
        self._failures = 0
        # A request sent before the breaker opened may still come back well: the CRM lives.
        self._become(State.CLOSED)

    def _failed(self, pause_s: float) -> None:
        self._failures += 1
        if self._failures >= self._limit:
            self._open_until = self._clock() + pause_s
            self._become(State.OPEN)
        self._probing = False

    def _become(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
