"""Whether the database answers, which server it is, and whether it has our schema. Changes nothing there."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from vochi_agent.diagnosis import Finding, closed, fine, problem, warning
from vochi_agent.errors import ConfigError, StoreForbidden, StoreUnavailable

from .postgres import PostgresStore

__all__ = ["examine_database", "examine_gaps"]

PART: Final = "database"
OLDEST: Final = 15
# A daemon that runs says every few seconds how far it has come.
SHORTEST_GAP: Final = timedelta(minutes=2)
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
    except StoreForbidden as exc:
        return [problem(PART, str(exc), "the user of database.url must be able to read its tables")]
    except StoreUnavailable as exc:
        cost = "finished calls wait on disk, names come from CRMs and as last seen"
        return [closed(PART, f"{exc}; {cost}", CURE)]
    except ConfigError as exc:
        return [problem(PART, exc.problems[0], "install the newer version of vochi-agent again")]
    return [_server(version), _schema(missing, migrates=migrates)]


async def examine_gaps(store: PostgresStore, enterprise_number: str, now: datetime) -> Finding:
    """Which time of a PBX is not known to be complete; the store has our schema."""
    part = f"{PART} {enterprise_number}"
    try:
        gaps = [gap for gap in await store.watched.gaps(enterprise_number, now) if gap.length >= SHORTEST_GAP]
    except StoreUnavailable as exc:
        return closed(part, str(exc), CURE)
    if not gaps:
        return fine(part, "no time since the first start is known to be missing")
    hours = sum((gap.length for gap in gaps), timedelta()) / timedelta(hours=1)
    since = gaps[0].since.astimezone(UTC)
    sentence = f"{len(gaps)} gaps, {hours:.1f} h in all, the oldest of {since:%Y-%m-%d %H:%M} UTC: calls may be missing"
    cure = "the running daemon closes them from CEL; by hand: vochi-agent recover"
    return warning(part, sentence, cure)


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
