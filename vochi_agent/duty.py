"""Two daemons follow the same PBX, one writes: the other keeps what ended lately and writes it when the turn is his.

Both hear every event, so a take-over loses nothing: what ended between the old owner's last word and ours is stored by
us, and what he had stored already is the same call once more, which changes nothing.

Until somebody says whose turn it is (the database is away) a daemon acts as the owner: two that write the same are
harmless, none that writes is not.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from vochi_agent.calls.model import CallProgress, CallUpdate

__all__ = ["Duty"]

# Longer than a take-over (5 s) and than the owner's own delay in storing, many times.
KEEP_S: Final = 60.0
KEEP_CALLS: Final = 10_000


class Duty:
    """Stands between one PBX and the call log.

    Attributes:
        ours: We write this enterprise's calls.
    """

    def __init__(self, tell: Callable[[CallUpdate], None], *, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self.ours = True
        self._tell = tell
        self._clock = clock
        self._kept: deque[tuple[float, CallUpdate]] = deque(maxlen=KEEP_CALLS)

    def tell(self, update: CallUpdate) -> None:
        """Pass an update on, or keep it while it is another daemon's turn."""
        if self.ours:
            self._tell(update)
        elif not isinstance(update, CallProgress):
            self._kept.append((self._clock(), update))
            self._forget()

    def changed(self, held: bool) -> None:  # a callback of `store.ownership`
        """The turn is ours from here on, or another's."""
        self.ours = held
        if held:
            self._forget()
            while self._kept:
                self._tell(self._kept.popleft()[1])

    def _forget(self) -> None:
        while self._kept and self._clock() - self._kept[0][0] > KEEP_S:
            self._kept.popleft()
