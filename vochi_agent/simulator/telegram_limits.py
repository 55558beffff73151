"""How many messages Telegram takes: 30 a second a bot, one a second a chat in short bursts, 20 a minute a group. Pure.

Edits count like messages (tdlib/td#3034). The numbers are those of the Bot API's own questions and answers; how bursts
are measured nobody outside knows, so the stricter reading is taken.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class _Window:
    count: int
    seconds: float


BOT: Final = _Window(30, 1.0)
CHAT: Final = _Window(5, 5.0)  # one a second, with short bursts
GROUP: Final = _Window(20, 60.0)


@dataclass(slots=True)
class Limits:
    """Counts what a bot writes; a refused message counts too little to be counted.

    Attributes:
        minute: Its seconds; a test that is in a hurry compresses all times alike.
    """

    minute: float = 60.0
    _times: dict[object, deque[float]] = field(default_factory=dict)

    def wait(self, chat_id: int, now: float) -> int:
        """Note a message at `now` (monotonic seconds); 0, or for how many whole seconds it is refused."""
        windows = [("bot", BOT), (("chat", chat_id), CHAT)]
        if chat_id < 0:
            windows.append((("group", chat_id), GROUP))
        waits = [self._wait(key, window, now) for key, window in windows]
        if any(waits):
            return max(waits)
        for key, _ in windows:
            self._times[key].append(now)
        return 0

    def _wait(self, key: object, window: _Window, now: float) -> int:
        times = self._times.setdefault(key, deque())
        seconds = window.seconds * self.minute / 60
        while times and times[0] <= now - seconds:
            times.popleft()
        return 0 if len(times) < window.count else max(1, math.ceil(times[0] + seconds - now))
