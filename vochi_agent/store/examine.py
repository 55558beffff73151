"""Whether the database answers, which server it is, and whether it has our schema. Changes nothing there."""

import re
from typing import Final

from vochi_agent.diagnosis import Finding, closed, fine, problem, warning
from vochi_agent.errors import ConfigError, StoreUnavailable, VochiError

from .postgres import PostgresStore

__all__ = ["examine_database"]

PART: Final = "database"
OLDEST: Final = 15
CURE: Final = "is PostgreSQL running, and are host, user, password and database of database.url right?"


async def examine_database(store: PostgresStore, *, migrates: bool) -> list[Finding]:
    """Look at an opened store.

    Args:
        store: Entered already; its server may be down.
        migrates: `run` brings the database to our schema by itself.
    """
    try:
        version = await store.reports.server_version()
        missing = await store.pending()
    except StoreUnavailable as exc:
        cost = "finished calls wait in memory, names come from CRMs alone"
        return [closed(PART, f"{exc}; {cost}", CURE)]
    except ConfigError as exc:
        return [problem(PART, exc.problems[0], "install the newer version of vochi-agent again")]
    except VochiError as exc:
        return [problem(PART, str(exc), "the user of database.url must be able to read its tables")]
    return [_server(version), _schema(missing, migrates=migrates)]


def _server(version: str) -> Finding:
    major = re.match(r"\d+", version)
    if major and int(major[0]) < OLDEST:
        return warning(PART, f"PostgreSQL {version}: the oldest that is tried is {OLDEST}", "upgrade the server")
    return fine(PART, f"PostgreSQL {version}")


def _schema(missing: list[str], *, migrates: bool) -> Finding:
    if not missing:
        return fine(PART, "the schema is that of this version")
    sentence = f"migrations are missing: {', '.join(missing)}"
    if migrates:
        return warning(PART, sentence, "`vochi-agent run` applies them when it starts, or now: vochi-agent migrate")
    return problem(PART, sentence, "vochi-agent migrate")
