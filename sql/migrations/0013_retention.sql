-- What is left of calls that were deleted for their age. Those of one customer that agree in direction, status and line
-- are one row, so that whatever is counted over rows of calls can be counted over these too.
CREATE TABLE past_calls (
    enterprise_number text NOT NULL,
    phone_e164        text NOT NULL,
    direction         text NOT NULL,
    status            text NOT NULL,
    line              text NOT NULL,
    calls             integer NOT NULL,
    started_at        timestamptz NOT NULL,
    ended_at          timestamptz NOT NULL,
    linkedid          text COLLATE "C" NOT NULL,
    last_agent        text,
    first_agent       text,
    first_agent_at    timestamptz,
    CONSTRAINT past_calls_pkey PRIMARY KEY (enterprise_number, phone_e164, direction, status, line),
    CONSTRAINT past_calls_calls_check CHECK (calls > 0)
);

CREATE INDEX past_calls_customer_idx ON past_calls (enterprise_number, phone_e164, ended_at DESC);

-- Up to where each enterprise's calls have been deleted for their age.
CREATE TABLE retention (
    enterprise_number text PRIMARY KEY,
    calls_before      timestamptz NOT NULL
);

-- Every call that has a customer, there or deleted for its age: what counters and last_* are computed from. The
-- conditions stand outside of the union: the planner looks through one without conditions, and reads by index.
CREATE OR REPLACE VIEW counted_calls AS
SELECT id, enterprise_number, linkedid, phone_e164, direction, status, line, started_at, ended_at, last_agent, calls
FROM (
    SELECT id, enterprise_number, linkedid, phone_e164, direction, status, line, started_at, ended_at, last_agent,
        1 AS calls, merged_into
    FROM calls
    UNION ALL
    SELECT NULL::bigint, enterprise_number, linkedid, phone_e164, direction, status, line, started_at, ended_at,
        last_agent, calls, NULL::text COLLATE "C"
    FROM past_calls
) AS every
WHERE phone_e164 IS NOT NULL AND direction <> 'internal' AND merged_into IS NULL;

-- What `customers` has to say about each customer, as one look at his calls gives it.
CREATE OR REPLACE VIEW customer_sums AS
SELECT
    enterprise_number,
    phone_e164,
    coalesce(sum(calls) FILTER (WHERE direction = 'in'), 0) AS calls_total_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out'), 0) AS calls_total_out,
    coalesce(sum(calls) FILTER (WHERE direction = 'in' AND status = 'answered'), 0) AS calls_answered_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out' AND status = 'answered'), 0) AS calls_answered_out,
    coalesce(sum(calls) FILTER (WHERE direction = 'in' AND status <> 'answered'), 0) AS calls_missed_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out' AND status <> 'answered'), 0) AS calls_missed_out,
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
