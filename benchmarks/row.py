"""One line of the table of `make bench`: what was measured, beside what, and whether that is what we promise."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["Reach", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is promised; one of the two bounds.

    Attributes:
        at_least: The figure may not be smaller.
        at_most: The figure may not be greater.
    """

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, figure: float) -> bool:
        """Whether the figure is within the promise."""
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)

    def __str__(self) -> str:
        bound = self.at_most if self.at_least is None else self.at_least
        return f"{'≤' if self.at_least is None else '≥'} {bound:{',.0f' if bound and bound >= 1000 else '.3g'}}"  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise.

    Attributes:
        work: What was done, in a few words; the key that runs are compared by.
        ours: What ours did, as people read it: `1,240,000 events/s`.
        against: What stood beside it in the same run; empty for a figure of its own.
        theirs: What that did.
        figure: What is judged: a ratio of the two, or a size.
        unit: Of the figure: `×`, `ms`, `s`, `MB`, `KiB a call`.
        reach: What is promised.
        details: Everything else worth keeping, for the JSON: rounds, percentiles, microseconds.
    """

    work: str
    ours: str
    against: str = ""
    theirs: str = ""
    figure: float
    unit: str
    reach: Reach
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether the promise is kept."""
        return self.reach.holds(self.figure)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`."""
        found = json.loads(line)
        return cls(**(found | {"reach": Reach(**found["reach"])}))
