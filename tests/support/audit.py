"""The ledger's own proof: `customers` is what one look at `calls` gives, for every customer and every counter.

Counted in Python from the meaning of the columns: a mistake in the product's SQL is not made here once more.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

__all__ = ["audit"]

Row = Mapping[str, Any]
Key = tuple[str, str]

COUNTED: Final = """
SELECT * FROM calls
WHERE phone_e164 IS NOT NULL AND direction <> 'internal' AND merged_into IS NULL
ORDER BY ended_at, linkedid
"""
KEPT: Final = "SELECT * FROM customers WHERE calls_total_in + calls_total_out > 0 OR last_call_at IS NOT NULL"


async def audit(dsn: str) -> list[str]:
    """Every customer whose row differs from the sum of his calls, in words; empty when all is well."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            calls, customers = await connection.fetch(COUNTED), await connection.fetch(KEPT)
    finally:
        await connection.close()
    by_customer: dict[Key, list[Row]] = defaultdict(list)
    for call in calls:
        by_customer[_key(call)].append(call)
    kept = {_key(customer): customer for customer in customers}
    found = []
    for key in sorted(by_customer.keys() | kept.keys()):
        if key not in kept or key not in by_customer:
            found.append(f"{key}: {'no calls' if key in kept else 'no customer'}")
            continue
        for column, value in _sum(by_customer[key]).items():
            if kept[key][column] != value:
                found.append(f"{key}: {column} is {kept[key][column]!r}, the calls say {value!r}")
    return found


def _key(row: Row) -> Key:
    return row["enterprise_number"], row["phone_e164"]


def _sum(calls: Sequence[Row]) -> dict[str, object]:
    """What his row has to say of a customer with these calls, in order of their end."""
    answered = [call for call in calls if call["status"] == "answered"]
    missed = [call for call in calls if call["status"] != "answered"]  # an unknown end counts as missed
    sums: dict[str, object] = {
        f"calls_{what}_{way}": sum(call["direction"] == way for call in some)
        for what, some in (("total", calls), ("answered", answered), ("missed", missed))
        for way in ("in", "out")
    }
    last, lines = calls[-1], [call["line"] for call in calls if call["line"]]
    return sums | {
        "first_seen_at": min(call["started_at"] for call in calls),
        "last_seen_at": last["ended_at"],
        "last_call_at": last["ended_at"],
        "last_call_direction": last["direction"],
        "last_call_status": last["status"],
        "last_success_at": answered[-1]["ended_at"] if answered else None,
        "last_agent_internal": answered[-1]["last_agent"] if answered else None,
        "last_line": lines[-1] if lines else None,
    }
