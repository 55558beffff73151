"""How many requests a bot and a chat may still make. Pure: time is told, in monotonic seconds.

Telegram: 30 messages a second a bot, about one a second a chat with short bursts, 20 a minute a group; edits count
alike (tdlib/td#3034). How it measures nobody outside knows, so windows slide and stay below: whatever minute is looked
at, there are no more than so many in it.
"""

from collections import deque
from typing import Final

__all__ = ["ChatBudget", "Window", "bot_window"]

BOT_A_SECOND: Final = 25
# Of twenty a group gets, two are left to the answers of a bot that people talk to.
GROUP_A_MINUTE: Final = 18
# Nobody limits a private chat to a minute; more than this is no reading any more.
PERSON_A_MINUTE: Final = 40
BURST: Final = 5
BURST_S: Final = 5.0


class Window:
    """At most `count` in any time of `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self._seconds = seconds
        self._times: deque[float] = deque()

    def left(self, now: float) -> int:
        """How many fit now."""
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        return self.count - len(self._times)

    def wait(self, now: float) -> float:
        """Seconds until one fits."""
        return 0.0 if self.left(now) > 0 else self._times[0] + self._seconds - now

    def spend(self, now: float) -> None:
        """One was made."""
        self._times.append(now)


class ChatBudget:
    """What one chat may still be told.

    Args:
        chat_id: Those of groups are negative.
        minute: Seconds of a minute; tests compress it.
    """

    def __init__(self, chat_id: int, *, minute: float = 60.0) -> None:
        self._minute = Window(GROUP_A_MINUTE if chat_id < 0 else PERSON_A_MINUTE, minute)
        self._burst = Window(BURST, BURST_S * minute / 60)

    @property
    def size(self) -> int:
        """Requests a minute."""
        return self._minute.count

    def left(self, now: float) -> int:
        """Of this minute."""
        return self._minute.left(now)

    def burst(self, now: float) -> int:
        """Of these few seconds."""
        return self._burst.left(now)

    def wait(self, now: float) -> float:
        """Seconds until a request may be made."""
        return max(self._minute.wait(now), self._burst.wait(now))

    def spend(self, now: float) -> None:
        """A request was made and answered: told after the answer, it is nowhere counted too early."""
        self._minute.spend(now)
        self._burst.spend(now)


def bot_window(*, minute: float = 60.0) -> Window:
    """What all chats of a bot share."""
    return Window(BOT_A_SECOND, minute / 60)
