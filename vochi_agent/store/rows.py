"""Rows of PostgreSQL to values of the domain and back; the only place that knows column names in Python."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from vochi_agent.calls.evidence import LegEvidence, evidence_from_json, evidence_json
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status
from vochi_agent.customers.model import Customer, History, Names

from .database import Row

__all__ = [
    "call_arguments",
    "call_from_row",
    "customer_from_row",
    "history_from_json",
    "history_from_row",
    "history_json",
    "storable",
    "storable_call",
]

# The columns that are fields of the same name.
NAMES = tuple(each.name for each in fields(Names))
COUNTERS = tuple(each.name for each in fields(History) if each.name.startswith("calls_"))
LAST = tuple(each.name for each in fields(History) if not each.name.startswith("calls_"))


def call_from_row(row: Row) -> Call:
    """A row of `calls`."""
    return Call(
        enterprise_number=row["enterprise_number"],
        linkedid=row["linkedid"],
        direction=Direction(row["direction"]),
        status=Status(row["status"]),
        reason=Reason(row["reason"]),
        phone=row["phone_e164"],
        raw_number=row["raw_number"],
        line=row["line"],
        started_at=row["started_at"],
        answered_at=row["answered_at"],
        ended_at=row["ended_at"],
        wait_seconds=row["wait_seconds"],
        talk_seconds=row["talk_seconds"],
        first_agent=row["first_agent"],
        last_agent=row["last_agent"],
        path=tuple(row["path"]),
        rung=tuple(row["rung"]),
        source=Source(row["source"]),
        partial=row["partial"],
        recording=row["recording"],
        evidence=evidence_from_json(row["evidence"]),
    )


def call_arguments(call: Call) -> tuple[object, ...]:
    """The parameters of `insert_call` and `correct_call`."""
    return (
        call.enterprise_number,
        call.linkedid,
        call.direction.value,
        call.status.value,
        call.reason.value,
        call.phone,
        call.raw_number,
        call.line,
        call.started_at,
        call.answered_at,
        call.ended_at,
        call.wait_seconds,
        call.talk_seconds,
        call.first_agent,
        call.last_agent,
        list(call.path),
        list(call.rung),
        call.recording,
        call.source.value,
        call.partial,
        evidence_json(call.evidence) or None,
    )


def customer_from_row(row: Row) -> Customer:
    """A row of `customers`."""
    return Customer(
        enterprise_number=row["enterprise_number"],
        phone_e164=row["phone_e164"],
        names=Names(**{name: row[name] or "" for name in NAMES}),
        history=history_from_row(row),
        black_list=bool(row["black_list"]),
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        fields=(row["field1"] or "", row["field2"] or "", row["field3"] or "", row["field4"] or ""),
        meta=row["meta"] if isinstance(row["meta"], Mapping) else {},
        called_at=row.get("called_at"),
    )


def history_from_row(row: Row) -> History:
    """The counters of a row of `customers`, or of a query with the same columns."""
    # The requirement allows null counters, and another program may have made the row.
    counters: dict[str, Any] = {name: row[name] or 0 for name in COUNTERS}
    return History(**counters, **{name: row[name] for name in LAST})


def history_json(history: History | None) -> dict[str, object] | None:
    """What `cards.before` holds."""
    if history is None:
        return None
    values = {each.name: getattr(history, each.name) for each in fields(History)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def history_from_json(stored: Mapping[str, object]) -> History:
    """The inverse of `history_json`."""
    known = {each.name for each in fields(History)}
    values: dict[str, Any] = {name: value for name, value in stored.items() if name in known}
    for name, value in values.items():
        if name.endswith("_at") and isinstance(value, str):
            values[name] = datetime.fromisoformat(value)
    return History(**values)


def storable(text: str) -> str:
    """`text` as PostgreSQL can hold it: no NUL, no lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def storable_call(call: Call) -> Call:
    """A call whose every text PostgreSQL can hold: numbers and ids come from telephone lines."""
    if all(map(_is_storable, _texts(call))):
        return call

    def optional(text: str | None) -> str | None:
        return None if text is None else storable(text)

    return replace(
        call,
        linkedid=storable(call.linkedid),
        phone=optional(call.phone),
        raw_number=storable(call.raw_number),
        line=optional(call.line),
        first_agent=optional(call.first_agent),
        last_agent=optional(call.last_agent),
        path=tuple(map(storable, call.path)),
        rung=tuple(map(storable, call.rung)),
        recording=optional(call.recording),
        evidence=tuple(map(_storable_leg, call.evidence)),
    )


def _is_storable(text: str | None) -> bool:
    return text is None or (text.isascii() and "\0" not in text) or text == storable(text)


def _texts(call: Call) -> Iterator[str | None]:
    yield from (call.linkedid, call.phone, call.raw_number, call.line, call.first_agent, call.last_agent)
    yield from (call.recording, *call.path, *call.rung)
    for leg in call.evidence:
        yield from (leg.endpoint, leg.extension, leg.dial_status, *(stay.place for stay in leg.stays))


def _storable_leg(leg: LegEvidence) -> LegEvidence:
    return replace(
        leg,
        endpoint=storable(leg.endpoint),
        extension=storable(leg.extension),
        dial_status=storable(leg.dial_status),
        stays=tuple(replace(stay, place=storable(stay.place)) for stay in leg.stays),
    )
