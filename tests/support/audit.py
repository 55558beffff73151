"""The ledger's own proof: `customers` is what one look at `calls` gives, for every customer and every counter.

Written from the meaning of the columns, not from the product's SQL: it shares no view and no statement with it.
"""

import asyncpg

__all__ = ["audit"]

DIFFERENCES = """
WITH counted AS (
    SELECT * FROM calls WHERE phone_e164 IS NOT NULL AND direction IN ('in', 'out') AND merged_into IS NULL
), summed AS (
    SELECT
        enterprise_number,
        phone_e164,
        count(*) FILTER (WHERE direction = 'in') AS calls_total_in,
        count(*) FILTER (WHERE direction = 'out') AS calls_total_out,
        count(*) FILTER (WHERE direction = 'in' AND status = 'answered') AS calls_answered_in,
        count(*) FILTER (WHERE direction = 'out' AND status = 'answered') AS calls_answered_out,
        count(*) FILTER (WHERE direction = 'in' AND status <> 'answered') AS calls_missed_in,
        count(*) FILTER (WHERE direction = 'out' AND status <> 'answered') AS calls_missed_out,
        min(started_at) AS first_seen_at,
        max(ended_at) AS last_seen_at,
        max(ended_at) AS last_call_at,
        (array_agg(direction ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_direction,
        (array_agg(status ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_status,
        max(ended_at) FILTER (WHERE status = 'answered') AS last_success_at,
        (array_agg(last_agent ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE status = 'answered'))[1]
            AS last_agent_internal,
        (array_agg(line ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE line <> ''))[1] AS last_line
    FROM counted
    GROUP BY enterprise_number, phone_e164
), kept AS (
    SELECT
        enterprise_number, phone_e164, calls_total_in::bigint, calls_total_out::bigint, calls_answered_in::bigint,
        calls_answered_out::bigint, calls_missed_in::bigint, calls_missed_out::bigint, first_seen_at, last_seen_at,
        last_call_at, last_call_direction, last_call_status, last_success_at, last_agent_internal, last_line
    FROM customers
    WHERE calls_total_in + calls_total_out > 0 OR last_call_at IS NOT NULL
)
(SELECT 'customers' AS found_in, * FROM (TABLE kept EXCEPT ALL TABLE summed) AS unexplained)
UNION ALL
(SELECT 'calls' AS found_in, * FROM (TABLE summed EXCEPT ALL TABLE kept) AS missing)
ORDER BY enterprise_number, phone_e164, found_in
"""


async def audit(dsn: str) -> list[dict[str, object]]:
    """Every customer whose row differs from the sum of his calls, as both say it; empty when all is well."""
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await connection.fetch(DIFFERENCES)]
    finally:
        await connection.close()
