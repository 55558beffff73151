"""What `init` learns from the machine it runs on: its time zone, its address towards a PBX, Asterisk's own version."""

import re
import shutil
import socket
import subprocess
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

__all__ = ["address_towards", "asterisk_version", "country_of_zone", "machine_zone", "zones_of"]

LOCALTIME: Final = Path("/etc/localtime")
# Country codes, coordinates, zone (tzfile(5)); beside the zones themselves, not in Python.
ZONE_TABLE: Final = Path("/usr/share/zoneinfo/zone.tab")
OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)")
VERSION_TIMEOUT_S: Final = 5.0


def machine_zone() -> str:
    """`Europe/Minsk` as /etc/localtime has it; "" when it does not say."""
    try:
        target = str(LOCALTIME.resolve(strict=True))
    except OSError:
        return ""
    name = target.partition("/zoneinfo/")[2]
    return "UTC" if name in ("Etc/UTC", "Etc/UCT", "UCT", "Zulu") else name


def country_of_zone(zone: str) -> str:
    """The country that has this zone alone; "" when none or several do."""
    countries = {country for country, name in _zones() if name == zone}
    return countries.pop() if len(countries) == 1 else ""


def zones_of(offset: str, country: str, preferred: str) -> list[str]:
    """Zones whose clocks show this now, the preferred first, then those of the country; none for no offset."""
    wanted = _offset(offset)
    if wanted is None:
        return []
    if preferred and _now_in(preferred) == wanted:
        return [preferred]
    there = [name for code, name in _zones() if code == country and _now_in(name) == wanted]
    return there or (["UTC"] if not wanted else [])


def address_towards(host: str, port: int) -> str:
    """Which of our addresses a packet to that host would carry; nothing is sent. "" when there is no way."""
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def asterisk_version() -> str:
    """What the program on this machine calls itself; "" when there is none."""
    program = shutil.which("asterisk")
    if program is None:
        return ""
    try:
        said = subprocess.run([program, "-V"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False)  # noqa: S603 - found on PATH
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.decode(errors="replace").removeprefix("Asterisk ").strip()[:60]


def _zones() -> Iterator[tuple[str, str]]:
    try:
        lines = ZONE_TABLE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split("\t")
        if not line.startswith("#") and len(fields) > 2:  # noqa: PLR2004 - the columns of zone.tab
            yield fields[0], fields[2]


def _offset(text: str) -> timedelta | None:
    match = OFFSET.fullmatch(text)
    if match is None:
        return None
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -ahead if match[1] == "-" else ahead


def _now_in(zone: str) -> timedelta | None:
    try:
        return datetime.now(zoneinfo.ZoneInfo(zone)).utcoffset()  # noqa: TID251 - the offset of this season
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None
