"""What storing a call comes to, decided from what is stored: a new row, a correction, or nothing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vochi_agent.calls.ledger import (
    Counts,
    anonymous,
    corrected,
    counts,
    customer_phone,
    free_linkedid,
    may_have_left,
    same_call,
)
from vochi_agent.calls.model import Call, Source

__all__ = ["Forgotten", "Plan", "Stored", "planned"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of `calls`."""

    call: Call
    merged: bool

    @property
    def phone(self) -> str | None:
        """The customer it counts for."""
        return None if self.merged else customer_phone(self.call)

    @property
    def counts(self) -> Counts:
        """What it adds to him."""
        return Counts() if self.merged else counts(self.call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What is not there any more.

    Attributes:
        calls_before: Calls of the enterprise that ended before were deleted for their age.
        customer: The call is one that its customer wanted forgotten.
        returns: It is a later one, the first.
    """

    calls_before: datetime | None
    customer: bool
    returns: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a call.

    Attributes:
        call: As it is to be stored.
        old: Its row.
        changes: False: nothing is to be done.
        erased: Its customer wanted it forgotten.
    """

    call: Call
    changes: bool
    old: Stored | None = None
    erased: bool = False

    @property
    def new(self) -> bool:
        """A row has to be made."""
        return self.old is None and self.changes

    @property
    def phones(self) -> set[str]:
        """The customers whose rows change."""
        stored = Stored(call=self.call, merged=self.old is not None and self.old.merged)
        phones = {stored.phone, self.old.phone if self.old else None} if self.changes else set()
        return {phone for phone in phones if phone is not None}


def planned(calls: Sequence[Call], rows: Mapping[str, Sequence[Stored]], forgotten: Sequence[Forgotten]) -> list[Plan]:
    """What is to be done about the first of these calls, as many as change different customers.

    Args:
        rows: By linkedid.
        forgotten: Of each call.
    """
    plans: list[Plan] = []
    changed: set[str] = set()
    for call, gone in zip(calls, forgotten, strict=True):
        plan = _planned(call, rows[call.linkedid], gone)
        if not changed.isdisjoint(plan.phones):  # one is corrected that was another one's customer's
            break
        changed |= plan.phones
        plans.append(plan)
    return plans


def _planned(new: Call, rows: Sequence[Stored], forgotten: Forgotten) -> Plan:
    call = anonymous(new) if forgotten.customer else new
    old = min(
        (row for row in rows if same_call(row.call, call)),
        key=lambda row: abs(row.call.started_at - call.started_at),
        default=None,
    )
    if old is None:
        fresh = replace(call, linkedid=free_linkedid(call.linkedid, [row.call.linkedid for row in rows]))
        return Plan(fresh, changes=not _has_left(call, forgotten.calls_before), erased=forgotten.customer)
    better = corrected(old.call, call)
    # What is there of a call that is erased at this moment has to be found by who erases it.
    return Plan(better, old=old, changes=better != old.call and not forgotten.customer)


def _has_left(call: Call, calls_before: datetime | None) -> bool:
    """Whether a call without a row has to be taken for one that was counted and deleted for its age."""
    if calls_before is None or not may_have_left(call, calls_before):
        return False
    if call.source is Source.LIVE:
        log.warning(
            "A call of %s that began at %s is left out: calls of that time are deleted. Is the clock of the PBX right?",
            call.enterprise_number,
            call.started_at.isoformat(timespec="seconds"),
            extra={"action": "call_too_old"},
        )
    return True
