"""The SQL of the folder sql/ (installed as vochi_agent.sql): named statements and migrations. Python holds no SQL."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["Migration", "migrations", "schema", "statement", "statements"]

PACKAGE = "vochi_agent.sql"
BLOCK = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
MIGRATION_FILE = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of migrations/; `version` is the number its name begins with."""

    version: int
    name: str
    text: str


def statement(name: str) -> str:
    """The block `-- name: ...` of queries.sql. Raises KeyError."""
    return statements()[name]


@cache
def statements() -> Mapping[str, str]:
    """All blocks of queries.sql by name."""
    _, *parts = BLOCK.split(_read("queries.sql"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def schema() -> str:
    """schema.sql: the whole database, for reading."""
    return _read("schema.sql")


def migrations() -> Sequence[Migration]:
    """The files of migrations/ in the order in which they are applied."""
    folder = resources.files(PACKAGE) / "migrations"
    found = ((MIGRATION_FILE.fullmatch(file.name), file) for file in folder.iterdir())
    return sorted(
        (Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")) for match, file in found if match),
        key=lambda migration: migration.version,
    )


def _read(name: str) -> str:
    return (resources.files(PACKAGE) / name).read_text(encoding="utf-8")
