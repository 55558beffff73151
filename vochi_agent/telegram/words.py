"""Small words of Russian texts: numbers with their nouns, durations, moments. Pure."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

__all__ = ["counted", "duration", "moment", "plural", "roughly"]

TEENS: Final = (11, 12, 13, 14)
FEW: Final = (2, 3, 4)


def plural(count: int, one: str, few: str, many: str) -> str:
    """The form of a noun beside a number: 1 раз, 2 раза, 5 раз."""
    if count % 100 in TEENS:
        return many
    if count % 10 == 1:
        return one
    return few if count % 10 in FEW else many


def counted(count: int, one: str, few: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {plural(count, one, few, many)}"


def duration(seconds: float) -> str:
    """MM:SS; minutes may exceed 59."""
    minutes, rest = divmod(max(0, int(seconds + 0.5)), 60)
    return f"{minutes:02}:{rest:02}"


def roughly(time: timedelta) -> str:
    """A time as people say it: two units at most."""
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} дн {hours} ч" if hours else f"{days} дн"
    if hours:
        return f"{hours} ч {minutes} мин" if minutes else f"{hours} ч"
    return f"{minutes} мин" if minutes else f"{seconds} с"


def moment(at: datetime, zone: tzinfo) -> str:
    """A day and a time of it."""
    return f"{at.astimezone(zone):%d.%m.%Y в %H:%M}"
