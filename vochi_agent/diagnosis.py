"""What `doctor` says: findings about the parts around us, each with the way to mend it. Pure values.

Invariant: a finding is made of facts somebody saw; what could not be seen is UNKNOWN, never OK.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "closed", "fine", "problem", "unknown", "warning", "worst"]


class Level(StrEnum):
    """OK; WARNING: it works, at a cost that is stated; PROBLEM: it does not work; UNKNOWN: it could not be seen."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


GRAVITY = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: What it belongs to, as the configuration calls it: `ami 0901`, `database`.
        sentence: What was found, without secrets.
        cure: How to mend it; "" when there is nothing to mend.
        closed: The part does not answer, or does not let us in: nothing behind it could be looked at.
    """

    part: str
    level: Level
    sentence: str
    cure: str = ""
    closed: bool = False

    def as_json(self) -> dict[str, object]:
        """The object `doctor --json` prints."""
        return {
            "part": self.part,
            "level": self.level.value,
            "sentence": self.sentence,
            "cure": self.cure,
            "reachable": not self.closed,
        }


def fine(part: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding(part=part, level=Level.OK, sentence=sentence)


def unknown(part: str, sentence: str, cure: str = "") -> Finding:
    """It cannot be known from here; `cure` says how it can be."""
    return Finding(part=part, level=Level.UNKNOWN, sentence=sentence, cure=cure)


def warning(part: str, sentence: str, cure: str) -> Finding:
    """It works, but something is lost."""
    return Finding(part=part, level=Level.WARNING, sentence=sentence, cure=cure)


def problem(part: str, sentence: str, cure: str) -> Finding:
    """It answers and is wrong."""
    return Finding(part=part, level=Level.PROBLEM, sentence=sentence, cure=cure)


def closed(part: str, sentence: str, cure: str) -> Finding:
    """It does not answer or does not let us in."""
    return Finding(part=part, level=Level.PROBLEM, sentence=sentence, cure=cure, closed=True)


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level; OK when there is nothing."""
    return max((finding.level for finding in findings), key=GRAVITY.index, default=Level.OK)
