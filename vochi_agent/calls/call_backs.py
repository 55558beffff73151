"""A customer who called in vain, and what became of it: who took it upon himself, who reached him. Pure values."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import Call, Direction, Reason, Status

__all__ = ["CallBack", "waits_for_us"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBack:
    """How a missed call stands.

    Attributes:
        ended_at: Of the missed call.
        taken_by: Extension of who says that he calls back; "" while nobody does.
        taken_name: His name in Telegram (hostile).
        reached_by: Extension that talked with the customer since; "" when the call that did it names nobody.
        reached_at: When; None: he waits.
        called_again: It was he who called.
    """

    ended_at: datetime
    taken_by: str = ""
    taken_name: str = ""
    taken_at: datetime | None = None
    reached_by: str = ""
    reached_at: datetime | None = None
    called_again: bool = False

    @property
    def waits(self) -> bool:
        """Nobody has talked with him and nobody says that he will."""
        return self.reached_at is None and not self.taken_by

    @property
    def reached_after(self) -> timedelta:
        """From the end of the missed call; nothing when he was reached while his call still rang."""
        return max(timedelta(0), (self.reached_at or self.ended_at) - self.ended_at)


def waits_for_us(call: Call) -> bool:
    """Whether somebody called in vain whom we can call back, and want to."""
    return (
        call.direction is Direction.IN
        and call.status is Status.MISSED
        and call.reason is not Reason.BLOCKED
        and call.phone is not None
    )
