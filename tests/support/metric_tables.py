"""docs/metrics.md, read as the list of metrics that it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Documented", "documented"]

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """One row.

    Attributes:
        labels: Name -> the words it may be; empty where the configuration bounds them.
    """

    labels: Mapping[str, frozenset[str]]
    meaning: str


def documented() -> dict[str, Documented]:
    """The rows of all tables whose first column is a metric, by its name as Prometheus shows it."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?)\|(.*?)\|.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: Documented(labels=_labels(labels), meaning=meaning.strip()) for name, labels, meaning in rows}


def _labels(column: str) -> dict[str, frozenset[str]]:
    found = {}
    for part in filter(None, map(str.strip, column.split(";"))):
        name, *values = re.findall(r"`(\w+)`", part)
        found[name] = frozenset(values)
    return found
