-- What `customers` has to say about each customer, as one look at `calls` gives it.
CREATE VIEW customer_sums AS
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
FROM counted_calls
GROUP BY enterprise_number, phone_e164;
