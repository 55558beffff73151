"""A PBX of which no configuration says anything: what may be a trunk, whose numbers these are, what its clock says."""

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import SUPPORTED_REGIONS
from pydantic import TypeAdapter, ValidationError

from vochi_agent.calls.layout import Layout
from vochi_agent.config import Address, AsteriskConfig, Enterprise, Line, SecretStr
from vochi_agent.config import values as v
from vochi_agent.errors import ConfigError

__all__ = ["add_guesses", "ami_at", "asterisk_at", "guessed_layout", "zone_from"]

NOBODY: Final = "0"
COUNTRY: Final = "BY"
AMI_PORT: Final = 5038


def add_guesses(parser: argparse.ArgumentParser) -> None:
    """What a configuration would have said."""
    parser.add_argument(
        "--trunk",
        action="append",
        default=[],
        metavar="TECH/NAME",
        help="a trunk, may be repeated; without it every endpoint that is not 2 to 5 digits is one",
    )
    parser.add_argument(
        "--country", default=COUNTRY, metavar="XX", help=f"whose national numbers these are ({COUNTRY})"
    )
    parser.add_argument("--timezone", default="", metavar="ZONE", help="of the times shown (this machine's)")


def ami_at(place: str) -> Address:
    """The AMI at `HOST` or `HOST:PORT`.

    Raises:
        ConfigError: that is no place.
    """
    address: TypeAdapter[Address] = TypeAdapter(v.HostAndPort)
    for text in (place, f"{place}:{AMI_PORT}"):
        with suppress(ValidationError):
            return address.validate_python(text)
    raise ConfigError([f"--ami {place!r}; allowed: a host with or without a port, such as 127.0.0.1:{AMI_PORT}"])


def asterisk_at(place: str, user: str, secret: str) -> AsteriskConfig:
    """The AMI at `HOST` or `HOST:PORT`, and our user there.

    Raises:
        ConfigError: that is no place, or nobody's name.
    """
    address = ami_at(place)
    try:
        return AsteriskConfig(ami=address, ami_username=user, ami_secret=SecretStr(secret))
    except ValidationError as exc:
        raise ConfigError([f"--user {user!r}; allowed: a name"]) from exc


def guessed_layout(trunks: Sequence[str], country: str, asterisk: AsteriskConfig | None = None) -> Layout:
    """Who is who: telephones are 2 to 5 digits, trunks are those named, or all the rest.

    Raises:
        ConfigError: a trunk or country that cannot be.
    """
    problems = (
        [] if country in SUPPORTED_REGIONS else [f"--country {country!r}; allowed: two capital letters, such as BY"]
    )
    lines = []
    for trunk in trunks:
        try:
            lines.append(Line(id=trunk.partition("/")[2], endpoint=trunk))
        except ValidationError:
            problems.append(f"--trunk {trunk!r}; allowed: technology and endpoint, such as PJSIP/gsm1")
    if problems:
        raise ConfigError(problems)
    nowhere = AsteriskConfig(ami=Address("127.0.0.1", AMI_PORT), ami_username="-", ami_secret=SecretStr("-"))
    enterprise = Enterprise(number=NOBODY, country=country, asterisk=asterisk or nowhere, lines=tuple(lines))
    return Layout(enterprise, guess_lines=not lines)


def zone_from(name: str) -> tzinfo:
    """The zone of that name; for "" this machine's, as its clock stands now.

    Raises:
        ConfigError: there is none of that name.
    """
    if not name:
        return _zone_of_this_machine()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError([f"--timezone {name!r}; allowed: a time zone, such as Europe/Minsk"]) from None


def _zone_of_this_machine() -> tzinfo:
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        offset = datetime.fromtimestamp(time.time(), UTC).astimezone().utcoffset()
        return timezone(offset or timedelta())
