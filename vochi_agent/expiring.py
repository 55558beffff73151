"""A bounded memory whose entries are forgotten after a fixed time. Pure: the clock is injected."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Expiring"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """Keeps at most `size` values, each for `ttl_s` seconds after it was put; the oldest makes room.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, ttl_s: float, size: int, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._clock = clock
        # One lifetime for all and a put moves to the end: the order of the dict is the order of expiry.
        self._entries: dict[K, tuple[float, V]] = {}

    def put(self, key: K, value: V) -> None:
        """Remember a value, in place of the key's older one."""
        self._entries.pop(key, None)
        self._entries[key] = (self._clock() + self._ttl_s, value)
        while len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]

    def get(self, key: K) -> V | None:
        """The value, None when it is not known or no longer."""
        expires_at, value = self._entries.get(key, (0.0, None))
        if value is not None and self._clock() >= expires_at:
            del self._entries[key]
            return None
        return value

    def drop(self, key: K) -> None:
        """Forget a key, known or not."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
