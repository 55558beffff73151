"""The rules of the ledger: when two records are the same call, which one is better, what a call counts. Pure.

Invariant: a customer's counters are the sum of `counts` over the stored, unmerged calls of that number; so storing a
call changes them by `counts(after) - counts(before)`, however often and in whatever order records arrive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from .model import Call, Direction, Source, Status

__all__ = [
    "Counts",
    "anonymous",
    "corrected",
    "counts",
    "customer_phone",
    "free_linkedid",
    "may_have_left",
    "same_call",
    "unrelated",
]

# Asterisk makes linkedids of the boot's clock and a counter: a box without a clock repeats them after a reboot.
REPEATED_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is added to the six counters of `customers`."""

    total_in: int = 0
    total_out: int = 0
    answered_in: int = 0
    answered_out: int = 0
    missed_in: int = 0
    missed_out: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(Counts)))


def customer_phone(call: Call) -> str | None:
    """The customer a call belongs to; hidden callers and internal calls have none."""
    return call.phone if call.direction is not Direction.INTERNAL else None


def counts(call: Call) -> Counts:
    """What an unmerged call adds to its customer. Everything that is not answered counts as missed."""
    if customer_phone(call) is None:
        return Counts()
    answered = int(call.status is Status.ANSWERED)
    if call.direction is Direction.IN:
        return Counts(total_in=1, answered_in=answered, missed_in=1 - answered)
    if call.direction is Direction.OUT:
        return Counts(total_out=1, answered_out=answered, missed_out=1 - answered)
    return Counts()


def same_call(stored: Call, new: Call) -> bool:
    """Whether two records with one linkedid are one call and not a linkedid that came again.

    A partial record may begin hours into its call; there an overlap in time shows that it is the same.
    """
    if abs(stored.started_at - new.started_at) <= REPEATED_AFTER:
        return True
    overlap = stored.started_at <= new.ended_at and new.started_at <= stored.ended_at
    return overlap and (stored.partial or new.partial)


def unrelated(calls: Iterable[Call]) -> list[Call]:
    """The first of these calls, as many as have nothing to do with each other: one enterprise, nobody's second call."""
    first: list[Call] = []
    seen: set[str] = set()
    for call in calls:
        # A linkedid that came again is stored as `<linkedid>~2`: they share the first part.
        own = {call.linkedid.partition("~")[0]} | ({call.phone} if call.phone else set())
        if not seen.isdisjoint(own) or (first and first[0].enterprise_number != call.enterprise_number):
            break
        seen |= own
        first.append(call)
    return first


def may_have_left(call: Call, calls_before: datetime) -> bool:
    """Whether a call without a row may be one that was counted and has left, with all that ended before a moment.

    Whatever is `same_call` as one of those began no later than an hour after it did, or before it ended.
    """
    return call.started_at < calls_before + REPEATED_AFTER


def anonymous(call: Call) -> Call:
    """A call of somebody who was erased: when, which line, which of us; nothing that says who he was."""
    return replace(call, phone=None, raw_number="", recording=None, evidence=())


def free_linkedid(linkedid: str, taken: Sequence[str]) -> str:
    """`linkedid`, or `<linkedid>~2`, `~3`… when other calls have it."""
    names = (linkedid if number == 1 else f"{linkedid}~{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def corrected(stored: Call, new: Call) -> Call:
    """The better of two records of one call, under the stored linkedid.

    A complete record beats a partial one, then a live one beats a recovered one (CEL does not know ringing); between
    equals the later one is a correction. A recording once known stays.
    """
    better = new if _quality(new) >= _quality(stored) else stored
    return replace(better, linkedid=stored.linkedid, recording=better.recording or new.recording or stored.recording)


def _quality(call: Call) -> tuple[bool, bool]:
    return (not call.partial, call.source is Source.LIVE)
