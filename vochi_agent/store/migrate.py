"""Brings a database to the schema of this program: forward only, all or nothing, one daemon at a time."""

import logging
from collections.abc import Mapping

from vochi_agent.errors import ConfigError

from .database import Database, Session
from .statements import Migration, migrations

__all__ = ["migrate", "pending"]

MIGRATION_TIMEOUT_S = 600.0
TIME_LIMIT = "590s"
LOCK_KEY = 0x766F636869  # "vochi"

log = logging.getLogger(__name__)


async def pending(database: Database) -> list[str]:
    """The files that `migrate` would apply; changes nothing. Raises as `migrate` does."""
    async with database.transaction() as session:
        exists = await session.fetchrow("migration_table_exists")
        applied = await _applied(session) if exists is not None and exists["found"] else {}
    return [migration.name for migration in _missing(applied)]


async def migrate(database: Database) -> list[str]:
    """Apply what is missing; returns the names of the files that were applied.

    Raises:
        ConfigError: the database was made by a newer program.
        StoreUnavailable: nothing was applied.
    """
    async with database.transaction(deadline_s=MIGRATION_TIMEOUT_S) as session:
        await session.execute("allow_time", TIME_LIMIT)
        await session.execute("migration_lock", LOCK_KEY)
        await session.execute("migration_table")
        missing = _missing(await _applied(session))
        for migration in missing:
            await session.run_script(migration.text)
            await session.execute("migration_done", migration.version, migration.name)
    for migration in missing:
        log.info("Applied migration %s", migration.name, extra={"action": "migrate"})
    return [migration.name for migration in missing]


async def _applied(session: Session) -> Mapping[int, str]:
    return {row["version"]: row["name"] for row in await session.fetch("migrations_applied")}


def _missing(applied: Mapping[int, str]) -> list[Migration]:
    known = migrations()
    unknown = [name for version, name in applied.items() if version > known[-1].version]
    if unknown:
        raise ConfigError([f"database.url: the database is newer than this program: it has {', '.join(unknown)}"])
    return [migration for migration in known if migration.version not in applied]
