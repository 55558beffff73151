"""What a verdict rests on: what each channel of a call did and when. Pure values, kept beside the record.

Times are seconds from the start of the call, negative for what was there before it. None: it never happened, or nobody
saw it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

__all__ = ["MAX_LEGS", "LegEvidence", "LegRole", "StayEvidence", "evidence_from_json", "evidence_json"]

# A queue that rings ten phones every few seconds for an hour has thousands of legs; nobody reads them all.
MAX_LEGS = 100


class LegRole(StrEnum):
    """Who stands at the far end of a channel, as far as the verdict is concerned."""

    CUSTOMER = "customer"
    AGENT = "agent"
    LOCAL = "local"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StayEvidence:
    """A time in one bridge, or in a queue; `until` is None when its end was not seen.

    Attributes:
        place: The first letters of the bridge's id, "queue" for a queue.
    """

    place: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegEvidence:
    """One channel.

    Attributes:
        endpoint: TECH/endpoint.
        extension: The agent behind it, also behind a mobile; "" for others.
        entered: The far side called us; otherwise the PBX made the channel.
        hung_up: When the far side hung up, before the PBX did.
        cause: Q.850 cause of its end, 0 when not told.
        end_unseen: `ended` is until when it lived as far as anybody knows.
        dial_status: Of the dial that made it, "" when not told.
    """

    endpoint: str
    extension: str
    role: LegRole
    entered: bool
    started: float
    rang: float | None = None
    up: float | None = None
    hung_up: float | None = None
    ended: float | None = None
    end_unseen: bool = False
    cause: int = 0
    dial_status: str = ""
    stays: tuple[StayEvidence, ...] = ()


# `dataclasses.asdict` copies every value deeply; that took longer than all else that is done to store a call.
_OF_LEG, _OF_STAY = (tuple(each.name for each in fields(kind)) for kind in (LegEvidence, StayEvidence))


def evidence_json(evidence: Sequence[LegEvidence]) -> list[dict[str, Any]]:
    """As JSON keeps it."""
    return [
        {name: getattr(leg, name) for name in _OF_LEG}
        | {"role": leg.role.value, "stays": [{name: getattr(stay, name) for name in _OF_STAY} for stay in leg.stays]}
        for leg in evidence
    ]


def evidence_from_json(values: Sequence[Mapping[str, Any]] | None) -> tuple[LegEvidence, ...]:
    """The inverse of `evidence_json`; nothing for a record that has none.

    Raises:
        KeyError, TypeError, ValueError: no version of ours has written it.
    """
    return tuple(
        LegEvidence(
            **{
                **leg,
                "role": LegRole(leg["role"]),
                "stays": tuple(StayEvidence(**stay) for stay in leg["stays"]),
            }
        )
        for leg in values or ()
    )
