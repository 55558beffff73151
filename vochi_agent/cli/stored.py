"""The database a command reads or writes. Nothing here makes or changes one: that is for `run` and `migrate`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vochi_agent.config import Config
from vochi_agent.daemon import open_store
from vochi_agent.errors import ConfigError
from vochi_agent.store.embedded import EmbeddedPostgres
from vochi_agent.store.postgres import PostgresStore

__all__ = ["existing_store", "is_made", "prepared_store"]


def is_made(config: Config) -> bool:
    """False for an embedded database that was never started. Raises PermissionError, ConfigError."""
    return config.database.url != "embedded" or EmbeddedPostgres(config.daemon.state_dir).made


@asynccontextmanager
async def existing_store(config: Config) -> AsyncIterator[PostgresStore | None]:
    """The database; None while it has not the schema of this version.

    Raises:
        ConfigError: this user may not open it, or a newer version made it.
        StoreUnavailable: it does not answer.
    """
    try:
        if not is_made(config):
            yield None
            return
        async with open_store(config) as store:
            yield None if await store.pending() else store
    except PermissionError as exc:
        raise ConfigError([f"daemon.state_dir: {exc.filename} cannot be used by this user: {exc.strerror}"]) from exc


@asynccontextmanager
async def prepared_store(config: Config) -> AsyncIterator[PostgresStore]:
    """As `existing_store`, and one that is not prepared is a ConfigError too."""
    async with existing_store(config) as store:
        if store is None:
            raise ConfigError(
                ["the database has not the schema of this version: run `vochi-agent migrate`, or start the daemon"]
            )
        yield store
