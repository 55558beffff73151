"""The clock of a PBX as its records show it: zones that nobody told us, and moments before the clock was set. Pure."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, Generic, TypeVar

__all__ = ["EARLIEST_TRUSTED", "LATEST", "ClockMender", "PrintedTimes", "epoch_of"]

# A board without a battery counts from 1970 after a loss of power, until it has asked the network for the time: an
# earlier moment than this says nothing about order.
EARLIEST_TRUSTED: Final = 1e9
# Later than any PBX's clock stands; `datetime` could not hold what some senders would write.
LATEST: Final = 4e9
# How much is kept of such a stretch; one that lasts longer is passed on with the times it has.
LONGEST_STRETCH: Final = 20_000
# Zones differ by quarters of an hour; a uniqueid is printed within this of the channel's first record.
QUARTER_S: Final = 900.0
SAME_MOMENT_S: Final = 5.0
WIDEST_ZONE_S: Final = 14 * 3600.0
_UNIQUEID = re.compile(r"(?:.*-)?(\d{9,10})\.\d+")

T = TypeVar("T")


def epoch_of(text: str) -> float | None:
    """Epoch seconds as Asterisk writes them; None for what no clock can show (`nan`, the year 570836)."""
    try:
        at = float(text)
    except ValueError:
        return None
    return at if 0 <= at < LATEST else None


class PrintedTimes:
    """Turns printed local times into epoch seconds.

    Tables hold times without a zone: that of the box, or UTC, as `usegmtime` says. A channel's uniqueid begins with the
    epoch second in which it was made, so the first record of a channel shows which it is.

    Args:
        assumed: The zone until a record has shown it.
    """

    def __init__(self, assumed: tzinfo) -> None:
        self.zone = assumed

    def learn(self, printed: str | datetime, uniqueid: str) -> None:
        """A channel was made at this printed time."""
        match = _UNIQUEID.fullmatch(uniqueid)
        moment = _parsed(printed)
        if match is None or moment is None or moment.tzinfo is not None:
            return
        ahead = moment.replace(tzinfo=UTC).timestamp() - int(match[1])
        quarters = round(ahead / QUARTER_S) * QUARTER_S
        if abs(ahead - quarters) <= SAME_MOMENT_S and abs(quarters) <= WIDEST_ZONE_S:
            self.zone = timezone(timedelta(seconds=quarters))

    def epoch(self, printed: str | datetime) -> float | None:
        """Epoch seconds, None for what is no time."""
        moment = _parsed(printed)
        if moment is None:
            return None
        try:
            return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).timestamp()
        except (OverflowError, ValueError):
            return None


class ClockMender(Generic[T]):
    """Gives what a clock that was not set yet wrote a time that can be true: just before the first record after it was.

    The distances within such a stretch stay. A stretch that nothing trusted follows, or that is too long, is passed on
    as it is: such a PBX never had another clock.

    Args:
        at: The epoch seconds of an item.
        moved: The item at another time.
    """

    def __init__(self, at: Callable[[T], float], moved: Callable[[T, float], T]) -> None:
        self._at = at
        self._moved = moved
        self._held: deque[T] = deque()
        self._latest = 0.0

    def receive(self, item: T) -> Iterator[T]:
        """The items that can be given now, in order."""
        at = self._at(item)
        if at < EARLIEST_TRUSTED:
            self._held.append(item)
            if len(self._held) > LONGEST_STRETCH:
                yield from self.flush()
            return
        if self._held:
            shift = at - max(self._at(held) for held in self._held)
            while self._held:
                held = self._held.popleft()
                yield self._moved(held, max(self._at(held) + shift, self._latest))
        self._latest = at
        yield item

    def flush(self) -> Iterator[T]:
        """There is nothing more: what is held keeps its times."""
        while self._held:
            yield self._held.popleft()


def _parsed(printed: str | datetime) -> datetime | None:
    if isinstance(printed, datetime):
        return printed
    try:
        return datetime.fromisoformat(printed)
    except ValueError:
        return None
