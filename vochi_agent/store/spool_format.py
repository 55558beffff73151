"""A finished call as one line of the spool: crc32 of the JSON as 8 hex digits, a space, the JSON. Pure.

Nothing is rounded: times keep their microseconds, unlike the form that people and programs are shown. A later version
reads the lines of an earlier one: what a call has gained since gets its default, what it has lost is passed over.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from vochi_agent.calls.evidence import evidence_from_json, evidence_json
from vochi_agent.calls.model import Call, CallFinished, CallMerged, Direction, Reason, Source, Status
from vochi_agent.ports import LedgerEntry

__all__ = ["decode", "encode", "framed", "unframed"]

MOMENTS = ("started_at", "answered_at", "ended_at")
EXTENSIONS = ("path", "rung")


def encode(entry: LedgerEntry) -> bytes:
    """The line of an entry, its newline included."""
    if isinstance(entry, CallMerged):
        return framed({"merged": asdict(entry)})
    return framed({"finished": _call_values(entry.call)})


def decode(line: bytes) -> LedgerEntry:
    """The inverse of `encode`.

    Raises:
        ValueError: the line is damaged, or no version of ours has written it.
    """
    try:
        match unframed(line):
            case {"merged": {"enterprise_number": str(of), "linkedid": str(linkedid), "into": str(into)}}:
                return CallMerged(enterprise_number=of, linkedid=linkedid, into=into)
            case {"finished": dict(values)}:
                return CallFinished(_call(values))
    except (KeyError, TypeError) as exc:
        raise ValueError(f"no call: {exc}") from exc
    raise ValueError("neither a call nor a merge")


def framed(values: Mapping[str, Any]) -> bytes:
    """One line with its checksum. ASCII escapes keep newlines and lone surrogates of hostile numbers inside."""
    payload = json.dumps(values, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def unframed(line: bytes) -> Any:
    """The values of a line. Raises ValueError when it is damaged."""
    checksum, _, payload = line.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(payload):
        raise ValueError("the checksum does not fit")
    return json.loads(payload)


def _call_values(call: Call) -> dict[str, Any]:
    values = asdict(call)
    for name in MOMENTS:
        moment: datetime | None = values[name]
        values[name] = moment.astimezone(UTC).isoformat() if moment is not None else None
    values["evidence"] = evidence_json(call.evidence)
    return values


def _call(values: Mapping[str, Any]) -> Call:
    known = {each.name: values[each.name] for each in fields(Call) if each.name in values}
    for name in MOMENTS:
        known[name] = datetime.fromisoformat(known[name]) if known[name] is not None else None
    for name in EXTENSIONS:
        known[name] = tuple(known[name])
    known["evidence"] = evidence_from_json(values.get("evidence"))
    for name, kind in (("direction", Direction), ("status", Status), ("reason", Reason), ("source", Source)):
        if name in known:
            known[name] = kind(known[name])
    return Call(**known)
