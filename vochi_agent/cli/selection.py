"""Which enterprise, which number, how many rows a command is about."""

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from vochi_agent.calls import numbers
from vochi_agent.config import Config, Enterprise
from vochi_agent.errors import ConfigError

__all__ = ["add_enterprise", "count", "enterprise_of", "moment_of", "phone_of", "timezone_of"]

_AGO: Final = re.compile(r"(\d{1,6})([mhd])")
# What epoch seconds hold, in every time zone.
_FIRST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def add_enterprise(parser: argparse.ArgumentParser) -> None:
    """`--enterprise N`."""
    parser.add_argument("--enterprise", metavar="N", help="the enterprise's number, when the configuration has several")


def count(most: int) -> Callable[[str], int]:
    """An argument that is a number from 1 to `most`."""

    def number(text: str) -> int:
        found = int(text)
        if not 1 <= found <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between 1 and {most}")
        return found

    return number


def enterprise_of(config: Config, number: str | None) -> Enterprise:
    """The enterprise of that number, or the only one.

    Raises:
        ConfigError: there is none, or it is not said which.
    """
    if number is None and len(config.enterprises) == 1:
        return config.enterprises[0]
    for enterprise in config.enterprises:
        if enterprise.number == number:
            return enterprise
    known = ", ".join(enterprise.number for enterprise in config.enterprises) or "none"
    raise ConfigError([f"--enterprise {number or 'is needed'}: the configuration has {known}"])


def phone_of(enterprise: Enterprise, text: str) -> str:
    """E.164 of a number as a person of that country writes it.

    Raises:
        ConfigError: it is none.
    """
    phone = numbers.to_e164(text, country=enterprise.country)
    if phone is None:
        raise ConfigError([f"{text!r} is no phone number; write it as +375290000011, or as it is dialled at home"])
    return phone


def moment_of(option: str, text: str, now: datetime, timezone: str) -> datetime:
    """The moment that a person wrote: a local date or time, or how long ago.

    Args:
        option: Its name, for the complaint.
        timezone: Where the person's clock stands.

    Raises:
        ConfigError: it is none, or none in which anybody telephoned.
    """
    ago = _AGO.fullmatch(text)
    try:
        moment = now - int(ago[1]) * _UNITS[ago[2]] if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = now.max  # which is refused
    moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))
    if not _FIRST <= moment <= _LAST:
        raise ConfigError([f"{option} {text}: write 2026-11-20, 2026-11-20T09:30, 90m, 6h or 2d"])
    return moment


def timezone_of(config: Config, enterprise_number: str) -> str:
    """Where its clocks stand; the daemon's for an enterprise that is configured no more."""
    zones = {enterprise.number: enterprise.timezone for enterprise in config.enterprises}
    return zones.get(enterprise_number) or config.daemon.timezone
