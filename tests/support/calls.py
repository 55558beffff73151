"""Finished calls for tests, with the fictional company of the papers."""

from datetime import UTC, datetime, timedelta
from typing import Any

from vochi_agent.calls.model import Call, Direction, Reason, Source, Status

__all__ = ["NOON", "answered", "internal", "missed"]

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def answered(**changes: Any) -> Call:
    """An inbound call that agent 151 answered after 5 s and that ended 67 s after `started_at`."""
    started = changes.pop("started_at", NOON)
    values: dict[str, Any] = {
        "enterprise_number": "0901",
        "linkedid": "1795165024.84",
        "direction": Direction.IN,
        "status": Status.ANSWERED,
        "reason": Reason.TALKED,
        "phone": "+375290000011",
        "raw_number": "375290000011",
        "line": "0001701",
        "started_at": started,
        "answered_at": started + timedelta(seconds=5),
        "ended_at": started + timedelta(seconds=67),
        "wait_seconds": 5.0,
        "talk_seconds": 62.0,
        "first_agent": "151",
        "last_agent": "151",
        "path": ("151",),
        "rung": ("150", "151"),
        "source": Source.LIVE,
        "partial": False,
    }
    return Call(**{**values, **changes})


def missed(**changes: Any) -> Call:
    """An inbound call that nobody answered for 40 s."""
    started = changes.get("started_at", NOON)
    values: dict[str, Any] = {
        "status": Status.MISSED,
        "reason": Reason.NO_ANSWER,
        "answered_at": None,
        "ended_at": started + timedelta(seconds=40),
        "wait_seconds": 40.0,
        "talk_seconds": 0.0,
        "first_agent": None,
        "last_agent": None,
        "path": (),
    }
    return answered(**{**values, **changes})


def internal(**changes: Any) -> Call:
    """150 talked with 151."""
    values: dict[str, Any] = {"direction": Direction.INTERNAL, "phone": None, "line": None, "raw_number": "151"}
    return answered(**{**values, **changes})
