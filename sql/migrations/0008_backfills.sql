-- How far a backfill has come: an enterprise has a row here from its beginning to its end.
CREATE TABLE backfills (
    enterprise_number text PRIMARY KEY,
    called_since      timestamptz NOT NULL,
    called_until      timestamptz NOT NULL,
    done_to           text NOT NULL DEFAULT '',
    customers         bigint NOT NULL,
    done              bigint NOT NULL DEFAULT 0,
    changed           bigint NOT NULL DEFAULT 0,
    started_at        timestamptz NOT NULL DEFAULT now()
);

-- The rows that say that there were calls.
CREATE VIEW called_customers AS
SELECT * FROM customers
WHERE greatest(
    calls_total_in, calls_total_out, calls_answered_in, calls_answered_out, calls_missed_in, calls_missed_out
) > 0 OR last_call_at IS NOT NULL;
