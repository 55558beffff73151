"""The embedded PostgreSQL across a major version: what the old one holds is read out of it and into the new one.

The old data is never written to, and goes aside only when the new one has all of it:

    data/          made by the old major; after the last step by the new one
    carried.dump   what the old server held, while it is carried over
    data.new/      the new cluster; with the file `CARRIED` in it, it is whole
    data.<major>/  the old cluster afterwards: nothing of ours reads it again, delete it when all is well

Killed at any point, the next start begins again or does the last step. Dumped and not converted in place by pg_upgrade:
that refuses clusters with different locale providers, and ours changed it.
"""

import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from vochi_agent.errors import ConfigError, StoreUnavailable

from .account import password_in

__all__ = ["CARRIED", "carry_over", "check_space", "finish", "set_aside"]

log = logging.getLogger(__name__)

CARRIED: Final = "vochi-carried-over"
DUMP: Final = "carried.dump"
DATABASE: Final = "postgres"

# Runs a program of an installation as the account of the server: exit code and what it said.
Run = Callable[[Sequence[str], Mapping[str, str]], Awaitable[tuple[int, str]]]


def finish(folder: Path) -> None:
    """Do the last step of a carrying-over that was killed in it."""
    data, fresh = folder / "data", folder / "data.new"
    if not data.exists() and (fresh / CARRIED).exists():
        fresh.rename(data)
    (folder / DUMP).unlink(missing_ok=True)


def set_aside(folder: Path, major: int) -> None:
    """The new cluster is whole: it takes the place of the old one."""
    aside = folder / f"data.{major}"
    shutil.rmtree(aside, ignore_errors=True)
    (folder / "data").rename(aside)
    finish(folder)
    log.warning(
        "The embedded database was carried over; the data of PostgreSQL %d stays in %s until you delete it",
        major,
        aside,
        extra={"action": "postgres_carried_over"},
    )


def check_space(folder: Path) -> None:
    """Raises ConfigError when there is no room for a second copy and what is between the two."""
    size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        raise ConfigError(
            [
                (
                    f'database.url = "embedded": to carry {size >> 20} MiB over to a new PostgreSQL {folder} needs '
                    f"{2 * size >> 20} MiB free and has {free >> 20}; nothing was changed"
                )
            ]
        )


async def carry_over(
    folder: Path, *, old: Callable[[], Awaitable[int]], new: Callable[[], Awaitable[int]], programs: Path, run: Run
) -> None:
    """Read everything out of the old server and into the new one.

    Args:
        old: Starts the old server; returns its port. Ended by the caller, as the new one.
        new: Ends it and starts the new one, whose cluster is empty.
        programs: Where pg_dump and pg_restore of the new major are.

    Raises:
        StoreUnavailable: one of them failed; what it said is in the message. The old data is as it was.
    """
    dump, password = folder / DUMP, password_in(folder)
    place = ["--host=127.0.0.1", "--username=vochi", "--no-password", f"--dbname={DATABASE}"]

    async def do(port: int, name: str, *arguments: str) -> None:
        # Not on the command line, which everybody can read.
        environment = {"PGPASSWORD": password}
        code, said = await run([str(programs / name), *place, f"--port={port}", *arguments], environment)
        if code != 0:
            raise StoreUnavailable(f"carrying the embedded database over, {name} failed: {said[-500:]}")

    await do(await old(), "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={dump}")
    port = await new()
    await do(port, "pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", str(dump))
    await do(port, "vacuumdb", "--analyze-only", "--quiet")
