"""Which time of a PBX was watched, and which was not. Pure arithmetic on spans of time.

Invariant: the spans given and the gaps found together cover everything from the first span to the horizon, once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Gap", "Span", "gaps_between", "joined"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From a moment to a later or the same one, by the PBX's clock."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """A time of which nobody knows whether everything is stored."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """How long it is; never nothing."""
        return self.until - self.since


def gaps_between(spans: Iterable[Span], horizon: datetime) -> list[Gap]:
    """The holes from the first span to the horizon, oldest first. Without spans nothing is known to be missing."""
    found: list[Gap] = []
    covered: datetime | None = None
    for span in sorted(spans):
        if span.since >= horizon:
            break
        if covered is not None and span.since > covered:
            found.append(Gap(covered, span.since))
        covered = span.until if covered is None else max(covered, span.until)
    if covered is not None and covered < horizon:
        found.append(Gap(covered, horizon))
    return found


def joined(spans: Iterable[Span], *, within: timedelta) -> list[Span]:
    """The same time in as few spans as possible; what lies no further apart than `within` becomes one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.since - found[-1].until <= within:
            found[-1] = Span(found[-1].since, max(found[-1].until, span.until))
        else:
            found.append(span)
    return found
