-- Every statement the agent runs, but for `LISTEN`. A block is `-- name: x`, one line of purpose, its parameters.

-- name: ping
-- Proves that the server answers.
SELECT 1;

-- name: server_version
-- The server's version as people write it.
SELECT current_setting('server_version') AS version;

-- name: migration_lock
-- One migration at a time, until the end of the transaction. $1 key
SELECT pg_advisory_xact_lock($1::bigint);

-- name: migration_table
-- The list of applied migrations; schema.sql describes it.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: migration_table_exists
-- Whether any program of ours has prepared this database.
SELECT to_regclass('schema_migrations') IS NOT NULL AS found;

-- name: migrations_applied
-- What was applied, oldest first.
SELECT version, name FROM schema_migrations ORDER BY version;

-- name: migration_done
-- Notes an applied migration. $1 version, $2 file name
INSERT INTO schema_migrations (version, name) VALUES ($1, $2);

-- name: lock_call
-- Whoever writes about a call holds this until the end of the transaction; always taken before customers' rows. Shared by
-- all of them is what an erasure takes for itself. $1 enterprise, $2 linkedid as Asterisk gives it
SELECT
    pg_advisory_xact_lock_shared(hashtextextended('erasure/' || $1::text, 0)),
    pg_advisory_xact_lock(hashtextextended($1::text || '/' || $2::text, 0));

-- name: calls_of_linkedid
-- The call of a linkedid and those that came with the same one later (`~2`, `~3`…; `~` is the last ASCII character).
-- Locked: none of them is deleted for its age while somebody corrects it. $1 enterprise, $2 linkedid, told as `asked`
SELECT calls.*, $2::text AS asked FROM calls
WHERE enterprise_number = $1
  AND (linkedid = $2 OR (linkedid > $2 || '~' AND linkedid < $2 || E'\x7f'))
ORDER BY started_at
FOR UPDATE;

-- name: forgotten
-- What is not there any more, one row: up to where the calls of an enterprise have been deleted for their age, when a
-- number was erased last, and whether he has called since. $1 enterprise, $2 phone or null
SELECT
    (SELECT calls_before FROM retention WHERE enterprise_number = $1) AS calls_before, last.erased_at, last.returned
FROM (SELECT) AS once
LEFT JOIN LATERAL (
    SELECT erased_at, returned_at IS NOT NULL AS returned FROM erasures
    WHERE enterprise_number = $1 AND phone_hash = erasure_hash($1, $2)
    ORDER BY erased_at DESC LIMIT 1
) AS last ON true;

-- name: insert_call
-- A new row of the ledger. $1 enterprise, $2 linkedid, $3 direction, $4 status, $5 reason, $6 phone, $7 raw number,
-- $8 line, $9 started, $10 answered, $11 ended, $12 wait, $13 talk, $14 first agent, $15 last agent, $16 path,
-- $17 rung, $18 recording, $19 source, $20 partial, $21 evidence
INSERT INTO calls (
    enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number,
    line, started_at, answered_at, ended_at, wait_seconds, talk_seconds, first_agent, last_agent, path,
    rung, recording, source, partial, evidence
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: correct_call
-- A better record of a call that is stored. Parameters as insert_call
UPDATE calls SET
    direction = $3, status = $4, reason = $5, phone_e164 = $6, raw_number = $7,
    line = $8, started_at = $9, answered_at = $10, ended_at = $11, wait_seconds = $12, talk_seconds = $13,
    first_agent = $14, last_agent = $15, path = $16, rung = $17, recording = $18, source = $19, partial = $20,
    evidence = $21, updated_at = now()
WHERE enterprise_number = $1 AND linkedid = $2;

-- name: talked
-- The extensions that talked first and last with a customer; a number outside that a call was forwarded to is none.
-- $1 enterprise, $2 phone
WITH answered AS NOT MATERIALIZED (
    SELECT ended_at, linkedid, path[1] AS first, last_agent AS last FROM calls
    WHERE enterprise_number = $1 AND phone_e164 = $2 AND status = 'answered'
      AND direction <> 'internal' AND merged_into IS NULL
), past AS NOT MATERIALIZED (
    SELECT ended_at, linkedid, first_agent AS first, first_agent_at AS first_at, last_agent AS last FROM past_calls
    WHERE enterprise_number = $1 AND phone_e164 = $2 AND status = 'answered'
)
SELECT
    (
        SELECT first FROM (
            (SELECT first, first_at AS at FROM past WHERE first IS NOT NULL ORDER BY first_at LIMIT 1)
            UNION ALL
            (SELECT first, ended_at FROM answered WHERE first ~ '^[0-9]{2,5}$' ORDER BY ended_at, linkedid LIMIT 1)
        ) AS firsts
        ORDER BY at LIMIT 1
    ) AS first,
    (
        SELECT last FROM (
            (
                SELECT last, ended_at FROM answered WHERE last ~ '^[0-9]{2,5}$'
                ORDER BY ended_at DESC, linkedid DESC LIMIT 1
            )
            UNION ALL
            (SELECT last, ended_at FROM past WHERE last ~ '^[0-9]{2,5}$' ORDER BY ended_at DESC LIMIT 1)
        ) AS lasts
        ORDER BY ended_at DESC LIMIT 1
    ) AS last;

-- name: call_recorded
-- The file of a call is there; a call of somebody who was erased meanwhile has none. $1 enterprise, $2 linkedid as
-- stored, $3 file under the enterprise's recordings
UPDATE calls SET recording = $3, updated_at = now()
WHERE enterprise_number = $1 AND linkedid = $2 AND recording IS DISTINCT FROM $3
  AND NOT (phone_e164 IS NULL AND raw_number = '' AND evidence IS NULL);

-- name: mark_merged
-- The call is part of another one and counts no more. $1 enterprise, $2 linkedid as stored, $3 linkedid of the other
UPDATE calls SET merged_into = $3, updated_at = now() WHERE enterprise_number = $1 AND linkedid = $2;

-- name: ensure_customers
-- Rows for numbers that have none, in the order that every writer keeps. $1 enterprise, $2 sorted numbers
INSERT INTO customers (enterprise_number, phone_e164)
SELECT $1, phone FROM unnest($2::text[]) WITH ORDINALITY AS wanted (phone, place)
WHERE NOT EXISTS (SELECT 1 FROM customers AS c WHERE c.enterprise_number = $1 AND c.phone_e164 = wanted.phone)
ORDER BY place
ON CONFLICT (enterprise_number, phone_e164) DO NOTHING;

-- name: lock_customers
-- Rows of numbers, locked in the order that every writer keeps; `at` is the time of the transaction.
-- $1 enterprise, $2 numbers
SELECT *, now() AS at FROM customers
WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
ORDER BY phone_e164 COLLATE "C"
FOR UPDATE;

-- name: never_analyzed
-- Whether the planner has never been told what is in the ledger (-1; 0 before PostgreSQL 14).
SELECT reltuples <= 0 AS found FROM pg_class WHERE oid = 'calls'::regclass;

-- name: analyze_ledger
-- Tells the planner what is in the tables that the ledger reads; those of somebody else's it leaves alone.
ANALYZE calls, customers, call_backs;

-- name: history_before_call
-- The counters of a customer from his calls that began before a given one; those that were deleted for their age did.
-- $1 enterprise, $2 phone, $3 its linkedid, $4 its start
WITH earlier AS (
    SELECT * FROM counted_calls
    WHERE enterprise_number = $1 AND phone_e164 = $2 AND (id IS NULL OR linkedid <> $3) AND started_at <= $4
)
SELECT
    coalesce(sum(calls) FILTER (WHERE direction = 'in'), 0) AS calls_total_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out'), 0) AS calls_total_out,
    coalesce(sum(calls) FILTER (WHERE direction = 'in' AND status = 'answered'), 0) AS calls_answered_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out' AND status = 'answered'), 0) AS calls_answered_out,
    coalesce(sum(calls) FILTER (WHERE direction = 'in' AND status <> 'answered'), 0) AS calls_missed_in,
    coalesce(sum(calls) FILTER (WHERE direction = 'out' AND status <> 'answered'), 0) AS calls_missed_out,
    (array_agg(ended_at ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_at,
    (array_agg(direction ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_direction,
    (array_agg(status ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_status,
    max(ended_at) FILTER (WHERE status = 'answered') AS last_success_at,
    (array_agg(last_agent ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE status = 'answered'))[1]
        AS last_agent_internal,
    (array_agg(line ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE line <> ''))[1] AS last_line
FROM earlier;

-- name: count_newest_call
-- Counts a call that ended after all others of its customer, whose row is locked.
-- $1 enterprise, $2 phone, $3..$8 what is added to the counters (in, out: total, answered, missed),
-- $9 started, $10 ended, $11 direction, $12 status, $13 line, $14 last agent
UPDATE customers SET
    calls_total_in = coalesce(calls_total_in, 0) + $3,
    calls_total_out = coalesce(calls_total_out, 0) + $4,
    calls_answered_in = coalesce(calls_answered_in, 0) + $5,
    calls_answered_out = coalesce(calls_answered_out, 0) + $6,
    calls_missed_in = coalesce(calls_missed_in, 0) + $7,
    calls_missed_out = coalesce(calls_missed_out, 0) + $8,
    first_seen_at = least(first_seen_at, $9),
    last_seen_at = greatest(last_seen_at, $10),
    last_call_at = $10,
    last_call_direction = $11,
    last_call_status = $12,
    last_line = coalesce(nullif($13, ''), last_line),
    last_success_at = CASE WHEN $12 = 'answered' THEN $10 ELSE last_success_at END,
    last_agent_internal = CASE WHEN $12 = 'answered' THEN $14 ELSE last_agent_internal END
WHERE enterprise_number = $1 AND phone_e164 = $2
RETURNING *;

-- name: recount_customer
-- Changes the counters and computes the rest again from the ledger: a call came out of order or was corrected.
-- $1 enterprise, $2 phone, $3..$8 what is added to the counters (in, out: total, answered, missed)
UPDATE customers SET
    calls_total_in = coalesce(calls_total_in, 0) + $3,
    calls_total_out = coalesce(calls_total_out, 0) + $4,
    calls_answered_in = coalesce(calls_answered_in, 0) + $5,
    calls_answered_out = coalesce(calls_answered_out, 0) + $6,
    calls_missed_in = coalesce(calls_missed_in, 0) + $7,
    calls_missed_out = coalesce(calls_missed_out, 0) + $8,
    first_seen_at = seen.first,
    last_seen_at = newest.ended_at,
    last_call_at = newest.ended_at,
    last_call_direction = newest.direction,
    last_call_status = newest.status,
    last_line = lined.line,
    last_success_at = answered.ended_at,
    last_agent_internal = answered.last_agent
FROM (
    SELECT min(started_at) AS first FROM counted_calls WHERE enterprise_number = $1 AND phone_e164 = $2
) AS seen
LEFT JOIN (
    SELECT ended_at, direction, status FROM counted_calls
    WHERE enterprise_number = $1 AND phone_e164 = $2
    ORDER BY ended_at DESC, linkedid DESC LIMIT 1
) AS newest ON true
LEFT JOIN (
    SELECT line FROM counted_calls
    WHERE enterprise_number = $1 AND phone_e164 = $2 AND line <> ''
    ORDER BY ended_at DESC, linkedid DESC LIMIT 1
) AS lined ON true
LEFT JOIN (
    SELECT ended_at, last_agent FROM counted_calls
    WHERE enterprise_number = $1 AND phone_e164 = $2 AND status = 'answered'
    ORDER BY ended_at DESC, linkedid DESC LIMIT 1
) AS answered ON true
WHERE customers.enterprise_number = $1 AND customers.phone_e164 = $2
RETURNING customers.*;

-- name: customer
-- The row of a number, and when we called it last: who is called back is never blocked (customers/blocking.py).
-- $1 enterprise, $2 phone
SELECT customers.*, (
    SELECT CASE WHEN called.id IS NULL THEN called.ended_at ELSE called.started_at END FROM counted_calls AS called
    WHERE called.enterprise_number = $1 AND called.phone_e164 = $2 AND called.direction = 'out'
      AND called.ended_at > now() - interval '30 days'
    ORDER BY called.ended_at DESC
    LIMIT 1
) AS called_at
FROM customers
WHERE enterprise_number = $1 AND phone_e164 = $2;

-- name: customers
-- The rows of some numbers. $1 enterprise, $2 numbers
SELECT * FROM customers WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[]);

-- name: person
-- All numbers of one person or company, oldest first. $1 enterprise, $2 spellings of the person_uid
SELECT * FROM customers WHERE enterprise_number = $1 AND meta ->> 'person_uid' = ANY ($2::text[]) ORDER BY id;

-- name: lock_persons
-- Whoever changes which numbers are one person holds this until the end of the transaction, so that two merges that
-- meet see each other whole; always taken before customers' rows. $1 enterprise
SELECT pg_advisory_xact_lock(hashtextextended('persons/' || $1::text, 0));

-- name: kin
-- The rows of numbers, of uids, and of cards by their ids; three ways, each by its own index. $1 enterprise, $2 numbers,
-- $3 spellings of uids, $4 objects like {"retailcrm": ["2003"]}
SELECT phone_e164, meta FROM customers WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
UNION ALL
SELECT phone_e164, meta FROM customers WHERE enterprise_number = $1 AND meta ->> 'person_uid' = ANY ($3::text[])
UNION ALL
SELECT listed.phone_e164, listed.meta
FROM unnest($4::jsonb[]) AS card
CROSS JOIN LATERAL (
    SELECT phone_e164, meta FROM customers
    WHERE enterprise_number = $1 AND meta ? 'ids' AND meta -> 'ids' @> card
    OFFSET 0
) AS listed;

-- name: company_named_otherwise
-- Numbers of a company whose rows show another name than it has. $1 enterprise, $2 spellings of its uid, $3 its name
SELECT phone_e164 FROM customers
WHERE enterprise_number = $1 AND meta ->> 'person_uid' = ANY ($2::text[]) AND coalesce(enterprise_name, '') <> $3;

-- name: notify_customers
-- Tells every daemon which rows have changed, when the transaction commits. $1 `enterprise number` each
SELECT pg_notify('vochi_customers', payload) FROM unnest($1::text[]) AS payload;

-- name: store_profiles
-- Names and identity of rows that are locked. $1 enterprise, $2 numbers, $3 last names, $4 first names, $5 middle
-- names, $6 companies, $7 metas, in the same order
UPDATE customers SET
    last_name = nullif(new.last_name, ''), first_name = nullif(new.first_name, ''),
    middle_name = nullif(new.middle_name, ''), enterprise_name = nullif(new.enterprise_name, ''), meta = new.meta
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
    AS new (phone_e164, last_name, first_name, middle_name, enterprise_name, meta)
WHERE customers.enterprise_number = $1 AND customers.phone_e164 = new.phone_e164;

-- name: store_edit
-- What a person changed by hand in a row that is locked. $1 enterprise, $2 phone, $3 last name, $4 first name,
-- $5 middle name, $6 company, $7..$10 field1 to field4, $11 black list, $12 meta
UPDATE customers SET
    last_name = nullif($3::text, ''), first_name = nullif($4::text, ''), middle_name = nullif($5::text, ''),
    enterprise_name = nullif($6::text, ''), field1 = nullif($7::text, ''), field2 = nullif($8::text, ''),
    field3 = nullif($9::text, ''), field4 = nullif($10::text, ''), black_list = $11, meta = $12
WHERE enterprise_number = $1 AND phone_e164 = $2
RETURNING *;

-- name: put_cards
-- What chats should show about a call; the revision grows when that changes, the phase never goes back. A draft that the
-- chat does not want corrects a final card that is there and takes back a live one.
-- $1 enterprise, $2 linkedid as stored, $3 phase, $4 counters before the call, then one array element a draft: $5 chats,
-- $6 topics, $7 texts, $8 briefs, $9 silent, $10 anew, $11 held until, $12 wanted, $13 recordings, $14 buttons
INSERT INTO cards AS card (
    enterprise_number, linkedid, chat_id, topic, phase, text, brief, silent, anew, held_until, before, sound, buttons
)
SELECT $1, $2, chat_id, topic, $3, CASE WHEN wanted OR there.phase = 'hangup' THEN draft.text ELSE '' END,
    draft.brief, draft.silent, draft.anew, draft.held_until, $4, draft.sound, draft.buttons
FROM unnest(
    $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::boolean[], $10::boolean[], $11::timestamptz[],
    $12::boolean[], $13::text[], $14::text[]
) AS draft (chat_id, topic, text, brief, silent, anew, held_until, wanted, sound, buttons)
LEFT JOIN LATERAL (
    SELECT phase FROM cards
    WHERE enterprise_number = $1 AND linkedid = $2 AND chat_id = draft.chat_id AND topic = draft.topic
) AS there ON true
WHERE wanted OR there.phase IS NOT NULL
ORDER BY chat_id, topic
ON CONFLICT (enterprise_number, linkedid, chat_id, topic) DO UPDATE SET
    phase = excluded.phase, text = excluded.text, brief = excluded.brief, silent = excluded.silent,
    anew = excluded.anew, held_until = excluded.held_until, before = coalesce(excluded.before, card.before),
    buttons = excluded.buttons,
    revision = card.revision + CASE
        WHEN (card.text, card.phase, card.buttons) <> (excluded.text, excluded.phase, excluded.buttons) THEN 1
        ELSE 0
    END,
    retry_at = NULL, gave_up = NULL, changed_at = now(), updated_at = now(),
    sound = excluded.sound,
    sound_gave_up = CASE WHEN card.sound = excluded.sound THEN card.sound_gave_up END,
    sound_at = CASE WHEN card.sound = excluded.sound THEN card.sound_at END
WHERE (card.text, card.phase, card.buttons, card.sound)
      <> (excluded.text, excluded.phase, excluded.buttons, excluded.sound)
  AND array_position('{start,dial,bridge,hangup}', card.phase)
      <= array_position('{start,dial,bridge,hangup}', excluded.phase)
RETURNING id;

-- name: put_reminders
-- What chats should be told some time after a missed call, and not before: its text counts as new then. A reminder that is an hour late when its call
-- becomes known reminds of nothing. $1 enterprise, $2 linkedid of the call, then one array element a chat: $3 chats,
-- $4 topics, $5 texts, $6 briefs, $7 when, $8 buttons, $9 false: only one that is there already is corrected
INSERT INTO cards AS card (
    enterprise_number, linkedid, chat_id, topic, kind, phase, text, brief, silent, buttons, retry_at, changed_at
)
SELECT $1, 'reminder/' || $2::text, chat_id, topic, 'reminder', 'hangup', draft.text, draft.brief, false, draft.buttons,
    draft.due, draft.due
FROM unnest(
    $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::boolean[]
) AS draft (chat_id, topic, text, brief, due, buttons, wanted)
LEFT JOIN LATERAL (
    SELECT id FROM cards
    WHERE enterprise_number = $1 AND linkedid = 'reminder/' || $2::text AND chat_id = draft.chat_id
      AND topic = draft.topic
) AS there ON true
WHERE (wanted AND due > now() - interval '1 hour') OR there.id IS NOT NULL
ORDER BY chat_id, topic
ON CONFLICT (enterprise_number, linkedid, chat_id, topic) DO UPDATE SET
    text = excluded.text, brief = excluded.brief, buttons = excluded.buttons, revision = card.revision + 1,
    retry_at = CASE WHEN card.message_id IS NULL THEN excluded.retry_at END, gave_up = NULL,
    changed_at = CASE WHEN card.message_id IS NULL THEN greatest(now(), excluded.changed_at) ELSE now() END,
    updated_at = now()
WHERE card.text <> excluded.text OR card.buttons <> excluded.buttons
RETURNING id;

-- name: take_back_reminders
-- Nobody has to be reminded of a call any more. $1 enterprise, $2 linkedid
UPDATE cards SET
    text = '', brief = '', revision = revision + 1, retry_at = NULL, gave_up = NULL, changed_at = now(),
    updated_at = now()
WHERE enterprise_number = $1 AND linkedid = 'reminder/' || $2::text AND text <> '' AND kind = 'reminder'
RETURNING id;

-- name: open_call_back
-- A customer called in vain, or what is known of that call has changed. $1 enterprise, $2 linkedid as stored,
-- $3 how long ago he may have called
INSERT INTO call_backs AS waiting (enterprise_number, linkedid, phone_e164, began_at, ended_at)
SELECT enterprise_number, linkedid, phone_e164, started_at, ended_at FROM calls
WHERE enterprise_number = $1 AND linkedid = $2 AND merged_into IS NULL AND ended_at > now() - $3::interval
ON CONFLICT (enterprise_number, linkedid) DO UPDATE SET
    phone_e164 = excluded.phone_e164, began_at = excluded.began_at, ended_at = excluded.ended_at;

-- name: drop_call_back
-- The call was not missed after all. $1 enterprise, $2 linkedid
DELETE FROM call_backs WHERE enterprise_number = $1 AND linkedid = $2;

-- name: lock_people
-- Whoever stores a call of people with several numbers holds this for each of them until the end of the transaction: two
-- calls of one person by two of his numbers would not see each other; always taken after customers' rows, before missed
-- calls that wait. $1 enterprise, $2 sorted uids
SELECT pg_advisory_xact_lock(hashtextextended('person/' || $1::text || '/' || uid, 0)) FROM unnest($2::text[]) AS uid;

-- name: numbers_that_wait
-- Which of some numbers have called in vain, reached since or not. $1 enterprise, $2 numbers, $3 how long ago at most
SELECT DISTINCT phone_e164 FROM call_backs
WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[]) AND ended_at > now() - $3::interval
ORDER BY phone_e164;

-- name: settle_call_backs
-- Whether those who called in vain were reached, as the ledger says it: by the first call since they began to ring in
-- which somebody talked with this number, or with another one of the same person (not of his company).
-- $1 enterprise, $2 number, $3 spellings of his uid, $4 source and $5 id there by which contacts of one company are told
-- apart, '' for who is none, $6 how long ago they may have called
WITH kin AS (
    SELECT $2::text AS phone_e164
    UNION
    SELECT phone_e164 FROM customers
    WHERE enterprise_number = $1 AND meta ->> 'person_uid' = ANY ($3::text[])
      AND ($5::text = '' OR meta #>> ARRAY['ids', $4::text, '0'] = $5)
), waiting AS (
    SELECT linkedid, began_at FROM call_backs
    WHERE enterprise_number = $1 AND phone_e164 = ANY (ARRAY(SELECT phone_e164 FROM kin)) AND ended_at > now() - $6::interval
    ORDER BY linkedid FOR UPDATE
)
UPDATE call_backs SET
    reached_in = reached.linkedid, reached_by = reached.agent, reached_at = reached.at,
    called_again = coalesce(reached.direction = 'in', false), stale = true
FROM waiting
LEFT JOIN LATERAL (
    SELECT linkedid, direction, coalesce(path[1], first_agent) AS agent, coalesce(answered_at, started_at) AS at
    FROM calls
    WHERE enterprise_number = $1 AND phone_e164 = ANY (ARRAY(SELECT phone_e164 FROM kin)) AND direction IN ('in', 'out')
      AND merged_into IS NULL AND status = 'answered' AND ended_at > waiting.began_at
      AND coalesce(answered_at, started_at) > waiting.began_at
    ORDER BY coalesce(answered_at, started_at), linkedid LIMIT 1
) AS reached ON true
WHERE call_backs.enterprise_number = $1 AND call_backs.linkedid = waiting.linkedid
  AND (call_backs.reached_in, call_backs.reached_by, call_backs.reached_at)
      IS DISTINCT FROM (reached.linkedid, reached.agent, reached.at);

-- name: render_call_back
-- How a missed call stands, for who writes its cards in the same transaction. $1 enterprise, $2 linkedid
UPDATE call_backs SET stale = false WHERE enterprise_number = $1 AND linkedid = $2 RETURNING *;

-- name: stale_call_backs
-- Missed calls whose cards do not say yet how they stand. $1 enterprises, $2 limit
SELECT enterprise_number, linkedid FROM call_backs WHERE stale AND enterprise_number = ANY ($1::text[])
ORDER BY linkedid LIMIT $2;

-- name: take_call_back
-- One person takes it upon himself to call back: of several who press at once the first. $1 enterprise, $2 linkedid,
-- $3 extension, $4 his name in Telegram
UPDATE call_backs SET taken_by = $3, taken_name = $4, taken_at = now(), stale = true
WHERE enterprise_number = $1 AND linkedid = $2 AND taken_by IS NULL AND reached_at IS NULL
RETURNING linkedid;

-- name: call_back
-- How a missed call stands. $1 enterprise, $2 linkedid
SELECT * FROM call_backs WHERE enterprise_number = $1 AND linkedid = $2;

-- name: pressed_card
-- The call whose card a message shows under which a button of this card was pressed; none when the button belongs to
-- another message, chat or enterprise. $1 token, $2 enterprises, $3 chat, $4 message id
SELECT enterprise_number, regexp_replace(linkedid, '^reminder/', '') AS linkedid, topic FROM cards
WHERE token = $1 AND enterprise_number = ANY ($2::text[]) AND chat_id = $3 AND message_id = $4
  AND kind IN ('call', 'reminder') AND sent_phase = 'hangup' AND text <> '';

-- name: take_back_cards
-- Nothing is to be shown about a call that turned out to be part of another, nor anybody reminded of it.
-- $1 enterprise, $2 linkedid
UPDATE cards SET
    text = '', brief = '', revision = revision + 1, retry_at = NULL, gave_up = NULL, changed_at = now(),
    updated_at = now()
WHERE enterprise_number = $1 AND linkedid IN ($2, 'reminder/' || $2::text) AND text <> '' AND kind IN ('call', 'reminder')
RETURNING id;

-- name: take_back_abandoned_cards
-- The same of live cards whose calls nobody follows any more. $1 enterprise, $2 linkedids of calls that go on,
-- $3 how long ago the last news came at least
UPDATE cards SET
    text = '', brief = '', revision = revision + 1, retry_at = NULL, gave_up = NULL, changed_at = now(),
    updated_at = now()
WHERE enterprise_number = $1 AND phase <> 'hangup' AND kind = 'call' AND text <> ''
  AND linkedid <> ALL ($2::text[]) AND changed_at < now() - $3::interval
RETURNING id;

-- name: put_notice
-- A board or a digest. $1 enterprise, $2 its own linkedid, $3 chat, $4 topic, $5 kind, $6 phase, $7 text, $8 brief,
-- $9 silent
INSERT INTO cards AS card (enterprise_number, linkedid, chat_id, topic, kind, phase, text, brief, silent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (enterprise_number, linkedid, chat_id, topic) DO UPDATE SET
    text = excluded.text, revision = card.revision + 1, retry_at = NULL, gave_up = NULL, changed_at = now(),
    updated_at = now()
WHERE card.text <> excluded.text
RETURNING id;

-- name: call_before
-- The counters that the cards of a call were rendered with. $1 enterprise, $2 linkedid as stored
SELECT before FROM cards WHERE enterprise_number = $1 AND linkedid = $2 AND before IS NOT NULL ORDER BY id LIMIT 1;

-- name: notify_cards
-- Wakes the workers of chats when the transaction commits. $1 enterprise
SELECT pg_notify('vochi_cards', $1);

-- name: pending_chats
-- Chats with something to send, to delete, to look for, or a board to take away. $1 how long a live state is worth
-- sending
SELECT enterprise_number, chat_id FROM cards
WHERE sent_revision < revision AND gave_up IS NULL
  AND (retry_at IS NULL OR retry_at <= now()) AND (held_until IS NULL OR held_until <= now())
  AND (phase = 'hangup' OR text = '' OR changed_at > now() - $1::interval)
UNION
SELECT enterprise_number, chat_id FROM card_leftovers
UNION
SELECT enterprise_number, chat_id FROM cards WHERE doubtful_text IS NOT NULL
UNION
SELECT enterprise_number, chat_id FROM cards WHERE phase <> 'hangup' AND text <> '' AND kind = 'board';

-- name: open_cards
-- What a chat has to be told now, oldest first. $1 enterprise, $2 chat, $3 who asks, $4 how long another's request is
-- left alone (one of the future is of a clock that was set back), $5 how long a live state is worth sending, $6 limit
SELECT * FROM cards
WHERE enterprise_number = $1 AND chat_id = $2 AND sent_revision < revision AND gave_up IS NULL
  AND (retry_at IS NULL OR retry_at <= now()) AND (held_until IS NULL OR held_until <= now())
  AND (sending_since IS NULL OR sending_by = $3 OR sending_since NOT BETWEEN now() - $4::interval AND now() + $4::interval)
  AND (phase = 'hangup' OR text = '' OR changed_at > now() - $5::interval)
ORDER BY id LIMIT $6;

-- name: cards_waiting
-- What chats of each enterprise should show by now and do not, and for how many seconds the oldest of it has been due.
-- $1 how long a live state is worth sending
SELECT enterprise_number, count(*) AS waiting,
       extract(epoch FROM max(now() - greatest(changed_at, held_until)))::float8 AS age_s
FROM cards
WHERE sent_revision < revision AND gave_up IS NULL AND (held_until IS NULL OR held_until <= now())
  AND changed_at <= now() AND (phase = 'hangup' OR text = '' OR changed_at > now() - $1::interval)
GROUP BY enterprise_number;

-- name: live_cards
-- The cards of calls that go on, and the boards, oldest first. $1 enterprise, $2 chat, $3 limit
SELECT * FROM cards
WHERE enterprise_number = $1 AND chat_id = $2 AND phase <> 'hangup' AND text <> ''
ORDER BY id LIMIT $3;

-- name: cards_of_message
-- Every card that a message carries. $1 enterprise, $2 chat, $3 message id
SELECT * FROM cards WHERE enterprise_number = $1 AND chat_id = $2 AND message_id = $3 AND text <> '' ORDER BY id;

-- name: claim_cards
-- Notes that these revisions are being sent. Who had begun before may have sent them: that is looked for later. A chat
-- has one worker, so a claim of his own is one that he does not know of.
-- $1 ids, $2 revisions, $3 who sends, $4 what a new message says, null for an edit, $5 how long another's request is
-- left alone
UPDATE cards SET
    doubtful_text = CASE WHEN sending_since IS NULL THEN doubtful_text ELSE coalesce(sending_text, doubtful_text) END,
    doubtful_since = CASE WHEN sending_since IS NULL OR sending_text IS NULL THEN doubtful_since ELSE sending_since END,
    sending_since = now(), sending_by = $3, sending_text = $4
FROM unnest($1::bigint[], $2::integer[]) AS wanted (id, revision)
WHERE cards.id = wanted.id AND cards.revision = wanted.revision AND gave_up IS NULL
  AND (sending_since IS NULL OR sending_by = $3 OR sending_since NOT BETWEEN now() - $5::interval AND now() + $5::interval)
RETURNING cards.id;

-- name: cards_sent
-- The chat shows these revisions in a message; what showed them before has to go. Returns the seconds since the text of
-- each came. $1 ids, $2 revisions, $3 phases, $4 who sent, $5 message id, $6 whether it carries several cards
WITH shown AS (
    UPDATE cards SET
        sent_revision = greatest(sent_revision, done.revision), sent_phase = done.phase, sent_at = now(),
        message_id = $5, shared = $6, sending_since = NULL, sending_by = NULL, sending_text = NULL, failures = 0,
        retry_at = NULL, updated_at = now(),
        -- Another message carries no recording yet.
        sent_sound = CASE WHEN earlier = $5 THEN sent_sound ELSE '' END,
        sound_gave_up = CASE WHEN earlier = $5 THEN sound_gave_up END
    FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS done (id, revision, phase)
    JOIN (
        SELECT id, message_id AS earlier FROM cards WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE
    ) AS old USING (id)
    WHERE cards.id = done.id AND cards.sending_by = $4
    RETURNING cards.enterprise_number, cards.chat_id, old.earlier, now() - cards.changed_at AS age
), replaced AS (
    INSERT INTO card_leftovers (enterprise_number, chat_id, message_id)
    SELECT DISTINCT enterprise_number, chat_id, earlier FROM shown WHERE earlier <> $5
    ON CONFLICT DO NOTHING
)
SELECT extract(epoch FROM age)::double precision AS seconds FROM shown;

-- name: cards_failed
-- Nothing was shown. $1 ids, $2 who tried, $3 pause before the next attempt
UPDATE cards SET
    sending_since = NULL, sending_by = NULL, sending_text = NULL, failures = failures + 1,
    retry_at = now() + $3::interval, updated_at = now()
WHERE id = ANY ($1::bigint[]) AND sending_by = $2;

-- name: cards_lost
-- The answer was lost: a new message may stand in the chat. $1 ids, $2 who sent, $3 pause before the next attempt
UPDATE cards SET
    doubtful_text = coalesce(sending_text, doubtful_text),
    doubtful_since = CASE WHEN sending_text IS NULL THEN doubtful_since ELSE sending_since END,
    sending_since = NULL, sending_by = NULL, sending_text = NULL, failures = failures + 1,
    retry_at = now() + $3::interval, updated_at = now()
WHERE id = ANY ($1::bigint[]) AND sending_by = $2;

-- name: cards_given_up
-- The chat will never show these revisions. $1 ids, $2 who tried, $3 why
UPDATE cards SET
    sending_since = NULL, sending_by = NULL, sending_text = NULL, failures = failures + 1, gave_up = $3,
    updated_at = now()
WHERE id = ANY ($1::bigint[]) AND sending_by = $2;

-- name: card_taken_back
-- The chat is to show nothing: its message has to go, unless it carries other cards. $1 ids
WITH gone AS (
    UPDATE cards SET
        sent_revision = revision, message_id = NULL, shared = false,
        doubtful_text = coalesce(sending_text, doubtful_text),
        doubtful_since = CASE WHEN sending_text IS NULL THEN doubtful_since ELSE sending_since END,
        sending_since = NULL, sending_by = NULL, sending_text = NULL, updated_at = now()
    FROM (SELECT id, message_id AS earlier FROM cards WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE) AS old
    WHERE cards.id = old.id AND text = ''
    RETURNING cards.enterprise_number, cards.chat_id, old.earlier, cards.id
)
INSERT INTO card_leftovers (enterprise_number, chat_id, message_id)
SELECT enterprise_number, chat_id, earlier FROM gone
WHERE earlier IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM cards AS other
    WHERE other.enterprise_number = gone.enterprise_number AND other.chat_id = gone.chat_id
      AND other.message_id = gone.earlier AND other.text <> '' AND other.id <> gone.id
)
ON CONFLICT DO NOTHING;

-- name: fold_live_cards
-- A board takes the place of single live messages. $1 enterprise, $2 chat
WITH folded AS (
    UPDATE cards SET message_id = NULL, updated_at = now()
    FROM (
        SELECT id, message_id AS earlier FROM cards
        WHERE enterprise_number = $1 AND chat_id = $2 AND message_id IS NOT NULL AND kind = 'call'
          AND sent_phase <> 'hangup'
        ORDER BY id FOR UPDATE
    ) AS old
    WHERE cards.id = old.id
    RETURNING old.earlier
)
INSERT INTO card_leftovers (enterprise_number, chat_id, message_id)
SELECT $1, $2, earlier FROM folded
ON CONFLICT DO NOTHING;

-- name: leftovers
-- Messages that have to go, oldest first. $1 enterprise, $2 chat, $3 limit
SELECT message_id FROM card_leftovers WHERE enterprise_number = $1 AND chat_id = $2 ORDER BY message_id LIMIT $3;

-- name: add_leftover
-- A message that no card knows has to go. $1 enterprise, $2 chat, $3 message id
INSERT INTO card_leftovers (enterprise_number, chat_id, message_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: leftovers_gone
-- They went. $1 enterprise, $2 chat, $3 message ids
DELETE FROM card_leftovers WHERE enterprise_number = $1 AND chat_id = $2 AND message_id = ANY ($3::bigint[]);

-- name: doubts
-- The oldest text that may stand in a chat without our knowledge: for how many seconds, and between which messages of
-- ours. $1 enterprise, $2 chat, $3 not younger than
SELECT doubtful_text AS text, extract(epoch FROM now() - since)::double precision AS age,
    (SELECT max(message_id) FROM cards WHERE chat_id = $2 AND sent_at < since) AS after,
    (SELECT max(message_id) FROM cards WHERE chat_id = $2) AS newest
FROM (
    SELECT doubtful_text, min(doubtful_since) AS since FROM cards
    WHERE enterprise_number = $1 AND chat_id = $2 AND doubtful_text IS NOT NULL
    GROUP BY doubtful_text
) AS doubtful
WHERE since <= now() - $3::interval
ORDER BY since LIMIT 1;

-- name: known_messages
-- Which of some messages of a chat our tables know. $1 chat, $2 message ids
SELECT message_id FROM cards WHERE chat_id = $1 AND message_id = ANY ($2::bigint[])
UNION
SELECT message_id FROM card_leftovers WHERE chat_id = $1 AND message_id = ANY ($2::bigint[])
UNION
SELECT message_id FROM bot_answers WHERE chat_id = $1 AND message_id = ANY ($2::bigint[]);

-- name: doubt_settled
-- A text was looked for. $1 enterprise, $2 chat, $3 text
UPDATE cards SET doubtful_text = NULL, doubtful_since = NULL
WHERE enterprise_number = $1 AND chat_id = $2 AND doubtful_text = $3;

-- name: cards_without_sound
-- Final cards whose message is to carry a recording and does not, oldest first; what else they have to say comes before.
-- A message that several cards share carries none. $1 enterprises, $2 chats that are left alone, $3 limit
SELECT * FROM cards
WHERE enterprise_number = ANY ($1::text[]) AND chat_id <> ALL ($2::bigint[])
  AND sound <> '' AND sound <> sent_sound AND sound_gave_up IS NULL AND (sound_at IS NULL OR sound_at <= now())
  AND phase = 'hangup' AND text <> '' AND message_id IS NOT NULL AND NOT shared
  AND sent_revision = revision AND sending_since IS NULL
ORDER BY id LIMIT $3;

-- name: card_sounded
-- A message carries a recording. Its text came along as it was when the upload began: what was shown meanwhile, or is
-- being shown just now, has to be shown again. $1 id, $2 message id, $3 recording, $4 the revision whose text came along
UPDATE cards SET
    sent_sound = $3, sound_at = NULL, updated_at = now(),
    revision = revision + CASE WHEN sent_revision = $4 AND sending_since IS NULL THEN 0 ELSE 1 END
WHERE id = $1 AND message_id = $2;

-- name: card_sound_later
-- Its upload failed. $1 id, $2 pause before the next attempt
UPDATE cards SET sound_at = now() + $2::interval, updated_at = now() WHERE id = $1;

-- name: card_sound_given_up
-- A message will never carry this recording. $1 id, $2 recording, $3 why
UPDATE cards SET sound_gave_up = $3, updated_at = now() WHERE id = $1 AND sound = $2;

-- name: chat_state
-- What became of a chat. $1 enterprise, $2 chat
SELECT moved_to, now() - closed_at AS closed_for FROM telegram_chats WHERE enterprise_number = $1 AND chat_id = $2;

-- name: chat_moved
-- A group became a supergroup, which numbers its messages anew: those of the group stay behind for good.
-- $1 enterprise, $2 chat, $3 new id
WITH moved AS (
    INSERT INTO telegram_chats AS known (enterprise_number, chat_id, moved_to) VALUES ($1, $2, $3)
    ON CONFLICT (enterprise_number, chat_id) DO UPDATE SET moved_to = excluded.moved_to
    WHERE known.moved_to IS DISTINCT FROM excluded.moved_to
    RETURNING enterprise_number, chat_id
), behind AS (
    UPDATE cards SET message_id = NULL, shared = false FROM moved
    WHERE cards.enterprise_number = moved.enterprise_number AND cards.chat_id = moved.chat_id
      AND message_id IS NOT NULL
)
DELETE FROM card_leftovers USING moved
WHERE card_leftovers.enterprise_number = moved.enterprise_number AND card_leftovers.chat_id = moved.chat_id;

-- name: chats_mended
-- Chats that are configured by the id that they moved to: what is known of them stands under it from now on.
-- $1 enterprise, $2 its chats as configured
WITH mended AS (
    DELETE FROM telegram_chats
    WHERE enterprise_number = $1 AND moved_to = ANY ($2::bigint[]) AND chat_id <> ALL ($2::bigint[])
    RETURNING enterprise_number, chat_id, moved_to
), renamed AS (
    UPDATE cards SET chat_id = mended.moved_to FROM mended
    WHERE cards.enterprise_number = mended.enterprise_number AND cards.chat_id = mended.chat_id AND NOT EXISTS (
        SELECT FROM cards AS there
        WHERE there.enterprise_number = cards.enterprise_number AND there.linkedid = cards.linkedid
          AND there.chat_id = mended.moved_to AND there.topic = cards.topic
    )
), leftovers AS (
    DELETE FROM card_leftovers USING mended
    WHERE card_leftovers.enterprise_number = mended.enterprise_number AND card_leftovers.chat_id = mended.chat_id
    RETURNING mended.enterprise_number, mended.moved_to, message_id
)
INSERT INTO card_leftovers (enterprise_number, chat_id, message_id)
SELECT enterprise_number, moved_to, message_id FROM leftovers
ON CONFLICT DO NOTHING;

-- name: chat_closed
-- A chat refused the bot. $1 enterprise, $2 chat, $3 why
INSERT INTO telegram_chats (enterprise_number, chat_id, closed_at, closed_why) VALUES ($1, $2, now(), $3)
ON CONFLICT (enterprise_number, chat_id) DO UPDATE SET closed_at = now(), closed_why = excluded.closed_why;

-- name: chat_open
-- A chat takes messages again. $1 enterprise, $2 chat
UPDATE telegram_chats SET closed_at = NULL, closed_why = NULL
WHERE enterprise_number = $1 AND chat_id = $2 AND closed_at IS NOT NULL;

-- name: home_chat
-- The chat of our configuration that became this one. $1 its id now
SELECT chat_id FROM telegram_chats WHERE moved_to = $1 ORDER BY chat_id LIMIT 1;

-- name: calls_of_message
-- The calls that a message of ours is about. $1 enterprises, $2 chat, $3 message id
SELECT enterprise_number, regexp_replace(linkedid, '^reminder/', '') AS linkedid, phase FROM cards
WHERE enterprise_number = ANY ($1::text[]) AND chat_id = $2 AND message_id = $3 AND kind IN ('call', 'reminder')
  AND text <> ''
ORDER BY id;

-- name: note_answer
-- A message of ours that is no card. What is older than a day nobody looks for. $1 chat, $2 message id
WITH forgotten AS (
    DELETE FROM bot_answers WHERE sent_at < now() - interval '1 day'
)
INSERT INTO bot_answers (chat_id, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: next_update
-- From which update on a bot's updates are to be read; none when that is so long ago that Telegram may count anew.
-- $1 bot
SELECT next_update FROM bot_updates WHERE bot_id = $1 AND noted_at > now() - interval '6 days';

-- name: keep_polled
-- Keeps what was polled, unless it came before, and notes from where to go on. $1 bot, $2 the number after the last one,
-- $3 how long it may have waited at Telegram, then one array element an update: $4 numbers, $5 Update objects
WITH forgotten AS (
    DELETE FROM bot_inbox WHERE received_at < now() - interval '2 days'
), noted AS (
    INSERT INTO bot_updates AS known (bot_id, next_update) VALUES ($1, $2)
    ON CONFLICT (bot_id) DO UPDATE SET next_update = excluded.next_update, noted_at = now()
    WHERE known.next_update < excluded.next_update OR known.noted_at <= now() - interval '6 days'
)
INSERT INTO bot_inbox (bot_id, update_id, content, received_at)
SELECT $1, update_id, content, now() - $3::interval
FROM unnest($4::bigint[], $5::text[]) AS polled (update_id, content)
ON CONFLICT DO NOTHING;

-- name: keep_update
-- Keeps what a webhook brought, unless it came before, by webhook or polled. Telegram brings nothing that is older than a
-- day. $1 bot, $2 update, $3 the Update object
WITH forgotten AS (
    DELETE FROM bot_inbox WHERE received_at < now() - interval '2 days'
)
INSERT INTO bot_inbox (bot_id, update_id, content)
SELECT $1, $2, $3 WHERE NOT EXISTS (
    SELECT FROM bot_updates WHERE bot_id = $1 AND next_update > $2 AND noted_at > now() - interval '6 days'
)
ON CONFLICT DO NOTHING;

-- name: kept_updates
-- What is kept and not dealt with, oldest first, and for how many seconds. $1 bot, $2 limit
SELECT update_id, content, extract(epoch FROM now() - received_at)::double precision AS age
FROM bot_inbox WHERE bot_id = $1 AND content IS NOT NULL ORDER BY update_id LIMIT $2;

-- name: take_update
-- What an update said is forgotten, that it came is not; no row when that was so before. $1 bot, $2 update
UPDATE bot_inbox SET content = NULL WHERE bot_id = $1 AND update_id = $2 AND content IS NOT NULL RETURNING update_id;

-- name: invite
-- A new code for an extension; an earlier one is worth nothing any more. $1 enterprise, $2 extension, $3 hash,
-- $4 how long it is good
INSERT INTO invitations (enterprise_number, extension, code_hash, expires_at) VALUES ($1, $2, $3, now() + $4::interval)
ON CONFLICT (enterprise_number, extension) DO UPDATE SET
    code_hash = excluded.code_hash, expires_at = excluded.expires_at;

-- name: use_invitation
-- Takes a code away: of two who come with it one gets it. $1 enterprises, $2 hash
DELETE FROM invitations WHERE enterprise_number = ANY ($1::text[]) AND code_hash = $2
RETURNING enterprise_number, extension, expires_at > now() AS good;

-- name: withdraw_invitation
-- The code of an extension is worth nothing any more. $1 enterprise, $2 extension
DELETE FROM invitations WHERE enterprise_number = $1 AND extension = $2 RETURNING extension;

-- name: clear_extension
-- Nobody has this extension any more. $1 enterprise, $2 extension
DELETE FROM operators WHERE enterprise_number = $1 AND extension = $2 RETURNING user_id;

-- name: sign_up
-- A person has an extension, instead of the one he had. $1 enterprise, $2 Telegram user, $3 extension, $4 his name there
INSERT INTO operators (enterprise_number, user_id, extension, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (enterprise_number, user_id) DO UPDATE SET
    extension = excluded.extension, name = excluded.name, signed_up_at = now();

-- name: operators_of
-- What a Telegram user is in some enterprises. $1 enterprises, $2 user
SELECT enterprise_number, user_id, extension, name FROM operators
WHERE enterprise_number = ANY ($1::text[]) AND user_id = $2
ORDER BY enterprise_number;

-- name: post_call
-- A finished call, or a corrected one, has to go to CRMs; one that ended too long ago stays out of them.
-- $1 enterprise, $2 linkedid as stored, $3 names of the CRMs, $4 ended, $5 how long ago at most, $6 pause before it
INSERT INTO outbox (enterprise_number, crm, linkedid, retry_at)
SELECT $1, crm, $2, now() + nullif($6::interval, '0') FROM unnest($3::text[]) AS crm
WHERE $4::timestamptz > now() - $5::interval
ON CONFLICT (enterprise_number, crm, linkedid) DO UPDATE SET
    revision = outbox.revision + 1, parked = NULL, failures = 0, updated_at = now(),
    retry_at = CASE WHEN outbox.uncertain THEN outbox.retry_at ELSE excluded.retry_at END; -- a doubt has to settle

-- name: release_posts
-- What a call waited for before it goes to CRMs is there. $1 enterprise, $2 linkedid as stored
UPDATE outbox SET retry_at = NULL
WHERE enterprise_number = $1 AND linkedid = $2 AND failures = 0 AND NOT uncertain AND retry_at IS NOT NULL;

-- name: unpost_call
-- The call turned out to be part of another one: what no CRM has yet is not sent. $1 enterprise, $2 linkedid as stored
DELETE FROM outbox WHERE enterprise_number = $1 AND linkedid = $2 AND sent_revision = 0 AND sending_since IS NULL;

-- name: claim_post
-- Takes the oldest call of a CRM that is due and notes that it is being sent. $1 enterprise, $2 crm, $3 lease
UPDATE outbox SET sending_since = now(), uncertain = uncertain OR sending_since IS NOT NULL
FROM (
    SELECT o.id FROM outbox AS o
    JOIN calls AS c USING (enterprise_number, linkedid)
    WHERE o.enterprise_number = $1 AND o.crm = $2 AND o.sent_revision < o.revision AND o.parked IS NULL
      AND c.merged_into IS NULL
      AND (o.retry_at IS NULL OR o.retry_at <= now())
      AND (o.sending_since IS NULL OR o.sending_since <= now() - $3::interval)
    ORDER BY o.id LIMIT 1
    FOR UPDATE OF o SKIP LOCKED
) AS due
WHERE outbox.id = due.id
RETURNING outbox.*;

-- name: post_sent
-- The CRM has a revision. $1 id, $2 revision, $3 its own id of the call or null
UPDATE outbox SET
    sent_revision = greatest(sent_revision, $2), remote_id = coalesce($3, remote_id), sending_since = NULL,
    uncertain = false, failures = 0, retry_at = NULL, updated_at = now()
WHERE id = $1;

-- name: post_failed
-- The CRM did not take it this time; `updated_at` stays, by which one sees since when the call waits.
-- $1 id, $2 pause before the next attempt, $3 the CRM may have it all the same
UPDATE outbox SET
    sending_since = NULL, uncertain = uncertain OR $3, failures = failures + 1, retry_at = now() + $2::interval
WHERE id = $1;

-- name: post_parked
-- The CRM will not take it until a person has looked. $1 id, $2 why
UPDATE outbox SET sending_since = NULL, failures = failures + 1, parked = $2, updated_at = now() WHERE id = $1;

-- name: note_remote_id
-- A CRM's own id of a call that may still be live. $1 enterprise, $2 crm, $3 linkedid, $4 remote id
INSERT INTO outbox (enterprise_number, crm, linkedid, revision, remote_id) VALUES ($1, $2, $3, 0, $4)
ON CONFLICT (enterprise_number, crm, linkedid) DO UPDATE SET remote_id = excluded.remote_id, updated_at = now();

-- name: outbox_state
-- What waits for each CRM. $1 enterprise or null
SELECT enterprise_number, crm,
       count(*) FILTER (WHERE parked IS NULL) AS waiting,
       count(*) FILTER (WHERE parked IS NOT NULL) AS parked,
       min(updated_at) FILTER (WHERE parked IS NULL) AS oldest
FROM outbox
WHERE sent_revision < revision AND ($1::text IS NULL OR enterprise_number = $1)
GROUP BY enterprise_number, crm
ORDER BY enterprise_number, crm;

-- name: posts_waiting
-- How much waits for each CRM, how much for a person, and for how many seconds the oldest of the former has waited.
SELECT enterprise_number, crm,
       count(*) FILTER (WHERE parked IS NULL) AS waiting,
       count(*) FILTER (WHERE parked IS NOT NULL) AS parked,
       coalesce(extract(epoch FROM now() - min(updated_at) FILTER (WHERE parked IS NULL)), 0)::float8 AS age_s
FROM outbox
WHERE sent_revision < revision
GROUP BY enterprise_number, crm;

-- name: parked_posts
-- Calls that CRMs refused, oldest first. $1 enterprise or null, $2 limit
SELECT enterprise_number, crm, linkedid, parked, updated_at FROM outbox
WHERE sent_revision < revision AND parked IS NOT NULL AND ($1::text IS NULL OR enterprise_number = $1)
ORDER BY id LIMIT $2;

-- name: retry_posts
-- Parked calls are tried again. $1 enterprise or null, $2 crm or null, $3 somebody saw that the CRM lists none of them
UPDATE outbox SET
    parked = NULL, failures = 0, retry_at = NULL, uncertain = uncertain AND NOT $3::boolean, updated_at = now()
WHERE parked IS NOT NULL AND ($1::text IS NULL OR enterprise_number = $1) AND ($2::text IS NULL OR crm = $2)
RETURNING id;

-- name: settle_posts
-- Somebody saw that the CRM lists these parked calls. $1 enterprise or null, $2 crm or null
UPDATE outbox SET
    sent_revision = revision, parked = NULL, uncertain = false, failures = 0, retry_at = NULL, updated_at = now()
WHERE parked IS NOT NULL AND ($1::text IS NULL OR enterprise_number = $1) AND ($2::text IS NULL OR crm = $2)
RETURNING id;

-- name: list_calls
-- The ledger, newest first, without merged rows. $1 enterprise or null, $2 only these statuses or null, $3 started at
-- or after, or null, $4 phone or null, $5 limit
SELECT * FROM calls
WHERE merged_into IS NULL
  AND ($1::text IS NULL OR enterprise_number = $1)
  AND ($2::text[] IS NULL OR status = ANY ($2))
  AND ($3::timestamptz IS NULL OR started_at >= $3)
  AND ($4::text IS NULL OR phone_e164 = $4)
ORDER BY started_at DESC, linkedid DESC
LIMIT $5;

-- name: find_call
-- A call by its linkedid as stored, in any enterprise when that is null. $1 enterprise or null, $2 linkedid
SELECT * FROM calls
WHERE linkedid = $2 AND ($1::text IS NULL OR enterprise_number = $1)
ORDER BY started_at DESC LIMIT 1;

-- name: top_customers
-- Customers by number of calls, as far as these are still there. $1 enterprise or null, $2 calls that started at or after, $3 limit
SELECT c.*, recent.calls
FROM (
    SELECT enterprise_number, phone_e164, count(*) AS calls FROM counted_calls
    WHERE id IS NOT NULL AND started_at >= $2 AND ($1::text IS NULL OR enterprise_number = $1)
    GROUP BY enterprise_number, phone_e164
) AS recent
JOIN customers AS c USING (enterprise_number, phone_e164)
ORDER BY recent.calls DESC, c.enterprise_number, c.phone_e164
LIMIT $3;

-- name: nameless_customers
-- Customers with calls and without any name, those who called last first. $1 enterprise, $2 last call before, $3 and
-- before this number among those of that moment, $4 limit
SELECT phone_e164, last_call_at FROM customers
WHERE enterprise_number = $1 AND (last_call_at, phone_e164) < ($2, $3)
    AND concat(last_name, first_name, middle_name, enterprise_name) = ''
ORDER BY last_call_at DESC, phone_e164 DESC
LIMIT $4;

-- name: count_nameless_customers
-- How many they are. $1 enterprise
SELECT count(*) AS customers FROM customers
WHERE enterprise_number = $1 AND last_call_at IS NOT NULL
    AND concat(last_name, first_name, middle_name, enterprise_name) = '';

-- name: open_span
-- A time of watching begins; opened again at the same moment it is the same one. $1 enterprise, $2 since
INSERT INTO watched (enterprise_number, since, until, source) VALUES ($1, $2, $2, 'live')
ON CONFLICT (enterprise_number, since, source) DO UPDATE SET until = watched.until
RETURNING id;

-- name: advance_span
-- The PBX was watched until then; never goes back. $1 id, $2 until
UPDATE watched SET until = greatest(until, $2) WHERE id = $1 RETURNING id;

-- name: add_recovered_span
-- A gap was read from CEL or CDR. $1 enterprise, $2 since, $3 until
INSERT INTO watched (enterprise_number, since, until, source) VALUES ($1, $2, $3, 'recovery')
ON CONFLICT (enterprise_number, since, source) DO UPDATE SET until = greatest(watched.until, excluded.until);

-- name: join_spans
-- Makes one row of old ones that touch, so that a PBX that comes and goes does not fill the table.
-- $1 enterprise, $2 how old
WITH old AS (
    DELETE FROM watched WHERE enterprise_number = $1 AND until < $2 RETURNING since, until
)
INSERT INTO watched (enterprise_number, since, until, source)
SELECT $1, lower(span), upper(span), 'recovery'
FROM (SELECT unnest(range_agg(tstzrange(since, until, '[]'))) AS span FROM old) AS joined
ON CONFLICT (enterprise_number, since, source) DO UPDATE SET until = greatest(watched.until, excluded.until);

-- name: spans
-- Every time of watching, oldest first. $1 enterprise
SELECT since, until FROM watched WHERE enterprise_number = $1 ORDER BY since, until;

-- name: first_live_span
-- When a daemon began to watch; of old times that is forgotten. $1 enterprise
SELECT min(since) AS since FROM watched WHERE enterprise_number = $1 AND source = 'live';

-- name: known_linkedids
-- Which of some calls are stored. $1 enterprise, $2 linkedids
SELECT linkedid FROM calls WHERE enterprise_number = $1 AND linkedid = ANY ($2::text[]);

-- name: partial_calls
-- When the calls that were seen in part began and ended. $1 enterprise, $2 not older than
SELECT started_at, ended_at FROM calls
WHERE enterprise_number = $1 AND ended_at >= $2 AND partial AND source = 'live' AND merged_into IS NULL
ORDER BY started_at;

-- name: take_ownership
-- Makes this session the one that writes the calls of enterprises, but of those of which another session is.
-- $1 enterprises
SELECT number, pg_try_advisory_lock(hashtext('vochi-agent owner'), hashtext(number)) AS taken
FROM unnest($1::text[]) AS wanted (number);

-- name: allow_time
-- The statements of this transaction look at whole tables and may take so long. $1 a time with its unit
SELECT set_config('statement_timeout', $1, true);

-- name: put_change
-- A CRM says that somebody changed; the latest word stands. $1 enterprise, $2 CRM, $3 kind, $4 id, $5 profile or null
INSERT INTO crm_changes (enterprise_number, source, kind, external_id, profile) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (enterprise_number, source, kind, external_id) DO UPDATE SET
    profile = excluded.profile, revision = crm_changes.revision + 1, failures = 0, retry_at = NULL, received_at = now();

-- name: claim_change
-- Takes the change of a CRM that waits longest and is due. $1 enterprise, $2 CRM, $3 how old a claim counts no more
UPDATE crm_changes SET claimed_at = now()
FROM (
    SELECT id FROM crm_changes
    WHERE enterprise_number = $1 AND source = $2
      AND (retry_at IS NULL OR retry_at <= now())
      AND (claimed_at IS NULL OR claimed_at <= now() - $3::interval)
    ORDER BY id LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE crm_changes.id = due.id
RETURNING crm_changes.*, now() - crm_changes.received_at AS age;

-- name: change_done
-- A change is in customers, or will never be; a later word about the same one stays. $1 id, $2 revision
WITH done AS (
    DELETE FROM crm_changes WHERE id = $1 AND revision = $2
)
UPDATE crm_changes SET claimed_at = NULL WHERE id = $1 AND revision <> $2;

-- name: change_failed
-- Not this time. $1 id, $2 revision, $3 pause before the next attempt
UPDATE crm_changes SET
    claimed_at = NULL,
    failures = failures + 1,
    retry_at = CASE WHEN revision = $2 THEN now() + $3::interval END
WHERE id = $1;

-- name: count_changes
-- How many wait. $1 enterprise, $2 CRM
SELECT count(*) AS waiting FROM crm_changes WHERE enterprise_number = $1 AND source = $2;

-- name: history_mark
-- How far a history was read. $1 enterprise, $2 CRM, $3 history
SELECT since_id, started_at FROM crm_history WHERE enterprise_number = $1 AND source = $2 AND history = $3;

-- name: start_history
-- The present is where a history begins for us. $1 enterprise, $2 CRM, $3 history, $4 last id, $5 when
INSERT INTO crm_history (enterprise_number, source, history, since_id, started_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (enterprise_number, source, history) DO NOTHING;

-- name: advance_history
-- A history was read up to there; never goes back. $1 enterprise, $2 CRM, $3 history, $4 last id
UPDATE crm_history SET since_id = greatest(since_id, $4)
WHERE enterprise_number = $1 AND source = $2 AND history = $3;

-- name: work_in_parts
-- The statements of this transaction are about many rows of a large table: they sort in memory, and go by an index even
-- while the table is being filled and the planner takes it for an empty one.
SELECT
    set_config('work_mem', '32MB', true),
    set_config('enable_seqscan', 'off', true),
    set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: enterprises_with_customers
-- Whose calls and customers are there, in their order.
SELECT enterprise_number FROM (
    SELECT enterprise_number FROM customers
    UNION
    SELECT enterprise_number FROM calls
    UNION
    SELECT enterprise_number FROM past_calls
) AS there
ORDER BY enterprise_number COLLATE "C";

-- name: counted_customers
-- The next numbers that have calls, or a row that says so. $1 enterprise, $2 after this number, $3 limit
SELECT phone_e164 FROM (
    (
        SELECT DISTINCT phone_e164 FROM counted_calls
        WHERE enterprise_number = $1 AND phone_e164 > $2
        ORDER BY phone_e164 LIMIT $3
    )
    UNION
    (
        SELECT phone_e164 FROM called_customers
        WHERE enterprise_number = $1 AND phone_e164 > $2
        ORDER BY phone_e164 LIMIT $3
    )
) AS found
ORDER BY phone_e164 LIMIT $3;

-- name: counted_customers_of_time
-- As counted_customers, but only those with a call that began in a time, or a row that says the last one ended in it.
-- Of calls that were deleted for their age only the first start and the last end are known: they may be taken too many.
-- $1 enterprise, $2 after this number, $3 limit, $4 since, $5 before
SELECT phone_e164 FROM (
    (
        SELECT DISTINCT phone_e164 FROM counted_calls
        WHERE enterprise_number = $1 AND phone_e164 > $2 AND ended_at >= $4
          AND (id IS NULL OR started_at >= $4) AND started_at < $5
        ORDER BY phone_e164 LIMIT $3
    )
    UNION
    (
        SELECT phone_e164 FROM called_customers
        WHERE enterprise_number = $1 AND phone_e164 > $2 AND last_call_at >= $4 AND last_call_at < $5
        ORDER BY phone_e164 LIMIT $3
    )
) AS found
ORDER BY phone_e164 LIMIT $3;

-- name: audit_customers
-- Every column of some customers that differs from the sum of their calls. A row that was never called says nothing.
-- $1 enterprise, $2 numbers
WITH kept AS MATERIALIZED (
    -- The columns of customer_sums, in their order and of their types.
    SELECT
        enterprise_number, phone_e164, calls_total_in::bigint, calls_total_out::bigint, calls_answered_in::bigint,
        calls_answered_out::bigint, calls_missed_in::bigint, calls_missed_out::bigint, first_seen_at, last_seen_at,
        last_call_at, last_call_direction, last_call_status, last_success_at, last_agent_internal, last_line
    FROM called_customers
    WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
), sums AS MATERIALIZED (
    SELECT * FROM customer_sums WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
), differing AS (
    SELECT
        enterprise_number, phone_e164,
        to_jsonb(kept) - '{enterprise_number,phone_e164}'::text[] AS stored,
        to_jsonb(sums) - '{enterprise_number,phone_e164}'::text[] AS counted
    FROM kept FULL JOIN sums USING (enterprise_number, phone_e164)
    WHERE kept IS DISTINCT FROM sums
)
SELECT enterprise_number, phone_e164, name AS "column", stored ->> name AS stored, counted ->> name AS counted
FROM differing
CROSS JOIN LATERAL jsonb_object_keys(coalesce(counted, stored)) AS name
WHERE stored -> name IS DISTINCT FROM counted -> name
ORDER BY enterprise_number, phone_e164, name;

-- name: mend_customers
-- Makes the rows of customers say what the ledger says, and tells how many had to be changed. It needs a transaction
-- that sees one moment: what is counted and what is overwritten must be of the same one. $1 enterprise, $2 numbers
WITH sums AS MATERIALIZED (
    SELECT * FROM customer_sums WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
), kept AS MATERIALIZED (
    SELECT * FROM called_customers WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[])
), counted AS (
    INSERT INTO customers AS c (
        enterprise_number, phone_e164, calls_total_in, calls_total_out, calls_answered_in, calls_answered_out,
        calls_missed_in, calls_missed_out, first_seen_at, last_seen_at, last_call_at, last_call_direction,
        last_call_status, last_success_at, last_agent_internal, last_line
    )
    SELECT
        s.enterprise_number, s.phone_e164, s.calls_total_in, s.calls_total_out, s.calls_answered_in,
        s.calls_answered_out, s.calls_missed_in, s.calls_missed_out, s.first_seen_at, s.last_seen_at, s.last_call_at,
        s.last_call_direction, s.last_call_status, s.last_success_at, s.last_agent_internal, s.last_line
    FROM sums AS s
    LEFT JOIN kept AS old USING (phone_e164)
    WHERE old.id IS NULL
        OR (
            old.calls_total_in, old.calls_total_out, old.calls_answered_in, old.calls_answered_out,
            old.calls_missed_in, old.calls_missed_out, old.first_seen_at, old.last_seen_at, old.last_call_at,
            old.last_call_direction, old.last_call_status, old.last_success_at, old.last_agent_internal, old.last_line
        ) IS DISTINCT FROM (
            s.calls_total_in, s.calls_total_out, s.calls_answered_in, s.calls_answered_out,
            s.calls_missed_in, s.calls_missed_out, s.first_seen_at, s.last_seen_at, s.last_call_at,
            s.last_call_direction, s.last_call_status, s.last_success_at, s.last_agent_internal, s.last_line
        )
    ORDER BY s.phone_e164 COLLATE "C"
    ON CONFLICT (enterprise_number, phone_e164) DO UPDATE SET
        calls_total_in = excluded.calls_total_in,
        calls_total_out = excluded.calls_total_out,
        calls_answered_in = excluded.calls_answered_in,
        calls_answered_out = excluded.calls_answered_out,
        calls_missed_in = excluded.calls_missed_in,
        calls_missed_out = excluded.calls_missed_out,
        first_seen_at = excluded.first_seen_at,
        last_seen_at = excluded.last_seen_at,
        last_call_at = excluded.last_call_at,
        last_call_direction = excluded.last_call_direction,
        last_call_status = excluded.last_call_status,
        last_success_at = excluded.last_success_at,
        last_agent_internal = excluded.last_agent_internal,
        last_line = excluded.last_line
    RETURNING 1
), emptied AS (
    UPDATE customers AS c SET
        calls_total_in = 0, calls_total_out = 0, calls_answered_in = 0, calls_answered_out = 0, calls_missed_in = 0,
        calls_missed_out = 0, first_seen_at = NULL, last_seen_at = NULL, last_call_at = NULL,
        last_call_direction = NULL, last_call_status = NULL, last_success_at = NULL, last_agent_internal = NULL,
        last_line = NULL
    FROM kept
    WHERE kept.id = c.id AND NOT EXISTS (SELECT 1 FROM sums WHERE sums.phone_e164 = kept.phone_e164)
    RETURNING 1
)
SELECT (SELECT count(*) FROM counted) + (SELECT count(*) FROM emptied) AS changed;

-- name: count_customers
-- How many numbers have a call that began in a time. $1 enterprise, $2 since, $3 before
SELECT count(*) AS customers FROM (
    SELECT 1 FROM counted_calls
    WHERE enterprise_number = $1 AND ended_at >= $2 AND (id IS NULL OR started_at >= $2) AND started_at < $3
    GROUP BY phone_e164
) AS called;

-- name: begin_backfill
-- A backfill from its beginning, whatever there was. $1 enterprise, $2 since, $3 before, $4 how many customers it has
INSERT INTO backfills (enterprise_number, called_since, called_until, customers) VALUES ($1, $2, $3, $4)
ON CONFLICT (enterprise_number) DO UPDATE SET
    called_since = excluded.called_since, called_until = excluded.called_until, done_to = '',
    customers = excluded.customers, done = 0, changed = 0, started_at = now();

-- name: backfill
-- The backfill that an enterprise has not finished, held until the end of the transaction. $1 enterprise
SELECT * FROM backfills WHERE enterprise_number = $1 FOR UPDATE;

-- name: advance_backfill
-- A part is done. $1 enterprise, $2 its last number, $3 how many customers it had, $4 how many of them were changed
UPDATE backfills SET done_to = $2, done = done + $3, changed = changed + $4 WHERE enterprise_number = $1;

-- name: end_backfill
-- All is done. $1 enterprise
DELETE FROM backfills WHERE enterprise_number = $1;

-- name: delete_old_calls
-- Deletes the oldest calls that ended before a time, with their cards, who was to call back and what CRMs were told of
-- them; what customers have to say of them stays. Who corrects one of them at this moment keeps it. $1 enterprise, $2 before, $3 limit
WITH leaving AS (
    SELECT id FROM calls
    WHERE enterprise_number = $1 AND ended_at < $2 AND started_at < $2
    ORDER BY ended_at LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM calls USING leaving WHERE calls.id = leaving.id RETURNING calls.*
), marked AS (
    INSERT INTO retention AS mark (enterprise_number, calls_before)
    SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM gone)
    ON CONFLICT (enterprise_number) DO UPDATE SET calls_before = greatest(mark.calls_before, excluded.calls_before)
), counted AS (
    INSERT INTO past_calls AS past (
        enterprise_number, phone_e164, direction, status, line, calls, started_at, ended_at, linkedid, last_agent,
        first_agent, first_agent_at
    )
    SELECT
        enterprise_number, phone_e164, direction, status, coalesce(line, ''), count(*), min(started_at), max(ended_at),
        (array_agg(linkedid ORDER BY ended_at DESC, linkedid DESC))[1],
        (array_agg(last_agent ORDER BY ended_at DESC, linkedid DESC))[1],
        (array_agg(path[1] ORDER BY ended_at, linkedid) FILTER (WHERE path[1] ~ '^[0-9]{2,5}$'))[1],
        min(ended_at) FILTER (WHERE path[1] ~ '^[0-9]{2,5}$')
    FROM gone
    WHERE phone_e164 IS NOT NULL AND direction <> 'internal' AND merged_into IS NULL
    GROUP BY enterprise_number, phone_e164, direction, status, coalesce(line, '')
    ORDER BY enterprise_number, phone_e164, direction, status, coalesce(line, '')
    ON CONFLICT (enterprise_number, phone_e164, direction, status, line) DO UPDATE SET
        calls = past.calls + excluded.calls,
        started_at = least(past.started_at, excluded.started_at),
        ended_at = greatest(past.ended_at, excluded.ended_at),
        linkedid = CASE
            WHEN (excluded.ended_at, excluded.linkedid) > (past.ended_at, past.linkedid) THEN excluded.linkedid
            ELSE past.linkedid
        END,
        last_agent = CASE
            WHEN (excluded.ended_at, excluded.linkedid) > (past.ended_at, past.linkedid) THEN excluded.last_agent
            ELSE past.last_agent
        END,
        first_agent = CASE
            WHEN past.first_agent_at IS NULL OR excluded.first_agent_at < past.first_agent_at
                THEN excluded.first_agent
            ELSE past.first_agent
        END,
        first_agent_at = least(past.first_agent_at, excluded.first_agent_at)
), shown AS (
    DELETE FROM cards USING gone
    WHERE cards.enterprise_number = gone.enterprise_number
      AND cards.linkedid IN (gone.linkedid, 'reminder/' || gone.linkedid)
), awaited AS (
    DELETE FROM call_backs USING gone
    WHERE call_backs.enterprise_number = gone.enterprise_number AND call_backs.linkedid = gone.linkedid
), told AS (
    DELETE FROM outbox USING gone
    WHERE outbox.enterprise_number = gone.enterprise_number AND outbox.linkedid = gone.linkedid
)
SELECT count(*) AS deleted FROM gone;

-- name: delete_old_evidence
-- Old calls keep their record without what each channel did; tells how many did, and the end of the last one.
-- $1 enterprise, $2 before, $3 those before this moment have none any more, $4 limit
WITH old AS (
    SELECT id FROM calls
    WHERE enterprise_number = $1 AND ended_at < $2 AND ended_at >= $3 AND evidence IS NOT NULL
    ORDER BY ended_at LIMIT $4
    FOR UPDATE SKIP LOCKED
), gone AS (
    UPDATE calls SET evidence = NULL FROM old WHERE calls.id = old.id RETURNING calls.ended_at
)
SELECT count(*) AS deleted, max(ended_at) AS last FROM gone;

-- name: delete_old_cards
-- Cards that nobody corrects any more, digests too, and what they said of who calls back; their messages stay.
-- $1 enterprise, $2 before, $3 limit
WITH gone AS (
    DELETE FROM cards
    USING (
        SELECT id FROM cards
        WHERE enterprise_number = $1 AND updated_at < $2 AND (phase = 'hangup' OR text = '') AND kind <> 'board'
        ORDER BY id LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE cards.id = old.id
    RETURNING 1
), awaited AS (
    DELETE FROM call_backs
    USING (
        SELECT enterprise_number, linkedid FROM call_backs
        WHERE enterprise_number = $1 AND ended_at < $2
        ORDER BY linkedid LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE call_backs.enterprise_number = old.enterprise_number AND call_backs.linkedid = old.linkedid
    RETURNING 1
)
SELECT greatest((SELECT count(*) FROM gone), (SELECT count(*) FROM awaited)) AS deleted;

-- name: delete_old_posts
-- What CRMs have been told. $1 enterprise, $2 before, $3 limit
WITH gone AS (
    DELETE FROM outbox
    USING (
        SELECT id FROM outbox
        WHERE enterprise_number = $1 AND updated_at < $2 AND sent_revision >= revision
        ORDER BY id LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE outbox.id = old.id
    RETURNING 1
)
SELECT count(*) AS deleted FROM gone;

-- name: delete_old_remains
-- What nobody takes up any more: words of CRMs that left the configuration, messages of chats that refuse us, codes that
-- nobody used. $1 enterprise, $2 before, $3 limit
WITH changes AS (
    DELETE FROM crm_changes WHERE id IN (
        SELECT id FROM crm_changes WHERE enterprise_number = $1 AND received_at < $2 ORDER BY id LIMIT $3
    )
    RETURNING 1
), leftovers AS (
    DELETE FROM card_leftovers WHERE (enterprise_number, chat_id, message_id) IN (
        SELECT enterprise_number, chat_id, message_id FROM card_leftovers
        WHERE enterprise_number = $1 AND created_at < $2 LIMIT $3
    )
    RETURNING 1
), codes AS (
    DELETE FROM invitations WHERE enterprise_number = $1 AND expires_at < $2 RETURNING 1
)
SELECT (SELECT count(*) FROM changes) + (SELECT count(*) FROM leftovers) + (SELECT count(*) FROM codes) AS deleted;

-- name: lock_erasure
-- Waits until nobody is writing a call of an enterprise, and lets nobody begin. $1 enterprise
SELECT pg_advisory_xact_lock(hashtextextended('erasure/' || $1::text, 0));

-- name: ensure_erasure_key
-- The key of digests, once. $1 random bytes
INSERT INTO erasure_key (key) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: begin_erasures
-- From here on these numbers are erased. $1 enterprise, $2 numbers, $3 who
INSERT INTO erasures (enterprise_number, phone_hash, erased_at, erased_by)
SELECT $1, erasure_hash($1, phone), clock_timestamp(), $3 FROM unnest($2::text[]) AS phone
RETURNING id, erased_at;

-- name: end_erasures
-- Nothing of them is left. $1 ids, $2 how many rows of what
UPDATE erasures SET done = $2 WHERE id = ANY ($1::bigint[]);

-- name: erasures
-- What was erased, newest first. $1 enterprise or null, $2 limit
SELECT enterprise_number, encode(phone_hash, 'hex') AS digest, erased_at, erased_by, done, returned_at FROM erasures
WHERE $1::text IS NULL OR enterprise_number = $1
ORDER BY id DESC LIMIT $2;

-- name: erased_numbers
-- Those of some numbers that were erased and have not called since. $1 enterprise, $2 numbers
SELECT phone FROM unnest($2::text[]) AS phone
WHERE EXISTS (
    SELECT 1 FROM erasures
    WHERE enterprise_number = $1 AND phone_hash = erasure_hash($1, phone) AND returned_at IS NULL
);

-- name: returned
-- Erased numbers have called anew, or a person entered them. $1 enterprise, $2 numbers
UPDATE erasures SET returned_at = now()
WHERE enterprise_number = $1 AND returned_at IS NULL
  AND phone_hash IN (SELECT erasure_hash($1, phone) FROM unnest($2::text[]) AS phone);

-- name: erase_calls
-- Calls of numbers become nobody's; tells which, and the recordings they had. $1 enterprise, $2 numbers, $3 pattern of
-- the spellings of these, $4 that began until then
WITH his AS (
    SELECT id, linkedid, recording FROM calls
    WHERE enterprise_number = $1 AND started_at <= $4
      AND (phone_e164 = ANY ($2::text[]) OR (phone_e164 IS NULL AND raw_number ~ $3))
    ORDER BY id
    FOR UPDATE
), erased AS (
    UPDATE calls SET phone_e164 = NULL, raw_number = '', recording = NULL, evidence = NULL, updated_at = now()
    FROM his WHERE calls.id = his.id
)
SELECT linkedid, recording FROM his;

-- name: erase_mentions
-- Calls of others that were forwarded to these numbers keep a place without a number there. $1 enterprise, $2 pattern
-- of whole spellings, $3 pattern of spellings within a text
UPDATE calls SET
    path = ARRAY(
        SELECT CASE WHEN who ~ $2 THEN 'erased' ELSE who END FROM unnest(path) WITH ORDINALITY AS each (who, place)
        ORDER BY place
    ),
    rung = ARRAY(
        SELECT CASE WHEN who ~ $2 THEN 'erased' ELSE who END FROM unnest(rung) WITH ORDINALITY AS each (who, place)
        ORDER BY place
    ),
    first_agent = CASE WHEN first_agent ~ $2 THEN 'erased' ELSE first_agent END,
    last_agent = CASE WHEN last_agent ~ $2 THEN 'erased' ELSE last_agent END,
    evidence = CASE WHEN evidence::text ~ $3 THEN NULL ELSE evidence END,
    updated_at = now()
WHERE enterprise_number = $1 AND (
    concat_ws(' ', array_to_string(path, ' '), array_to_string(rung, ' '), first_agent, last_agent) ~ $3
    OR evidence::text ~ $3
)
RETURNING id;

-- name: erase_last_agents
-- The same where it is remembered who talked last. $1 enterprise, $2 pattern of whole spellings
WITH past AS (
    UPDATE past_calls SET last_agent = 'erased' WHERE enterprise_number = $1 AND last_agent ~ $2
)
UPDATE customers SET last_agent_internal = 'erased' WHERE enterprise_number = $1 AND last_agent_internal ~ $2;

-- name: erase_past_calls
-- What is left of calls of these numbers. $1 enterprise, $2 numbers
WITH gone AS (
    DELETE FROM past_calls WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[]) RETURNING calls
)
SELECT coalesce(sum(calls), 0) AS calls FROM gone;

-- name: erase_customers
-- Their rows. $1 enterprise, $2 numbers
DELETE FROM customers WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[]) RETURNING black_list;

-- name: erase_ids
-- Ids that tell one of these numbers are made of the first other number that has them. $1 enterprise, $2 ids
UPDATE customers SET meta = replace(meta::text, other.old || '"', other.new || '"')::jsonb
FROM (
    SELECT old, 'p-' || substr(min(phone_e164), 2) AS new
    FROM unnest($2::text[]) AS old
    JOIN customers ON enterprise_number = $1 AND strpos(meta::text, old || '"') > 0
    GROUP BY old
) AS other
WHERE enterprise_number = $1 AND strpos(meta::text, other.old || '"') > 0;

-- name: called_since
-- Those of some numbers that have calls again. $1 enterprise, $2 numbers
SELECT DISTINCT phone_e164 FROM counted_calls WHERE enterprise_number = $1 AND phone_e164 = ANY ($2::text[]);

-- name: erase_cards
-- What chats show of these calls, and every text with these numbers. $1 enterprise, $2 linkedids, $3 pattern of the
-- numbers' digits
DELETE FROM cards
WHERE enterprise_number = $1 AND kind <> 'board' AND (
    regexp_replace(linkedid, '^reminder/', '') = ANY ($2::text[])
    OR regexp_replace(concat_ws(' ', text, brief, sending_text, doubtful_text), '[^0-9]', '', 'g') ~ $3
)
RETURNING chat_id, message_id;

-- name: erase_kept_updates
-- What people wrote or pressed and nobody has taken: what names these numbers in any spelling, and what is about these
-- messages; that it came stays. Strings of JSON end at their quotes; an escaped character is no digit. $1 pattern of the
-- numbers' ends, $2 chats and $3 their messages, in the same order
UPDATE bot_inbox SET content = NULL
WHERE content IS NOT NULL AND (
    regexp_replace(content, '\\u[0-9a-f]{4}|[^0-9"]', '', 'g') ~ $1
    OR EXISTS (
        SELECT FROM unnest($2::bigint[], $3::bigint[]) AS card (chat_id, message_id)
        WHERE content ~ format('"message_id": %s\y', message_id) AND content ~ format('"id": %s\y', chat_id)
    )
)
RETURNING update_id;

-- name: erase_call_backs
-- Nobody calls these numbers back; and who was reached on one of them is not told. $1 enterprise, $2 numbers,
-- $3 linkedids of their calls, $4 pattern of whole spellings
WITH reached AS (
    UPDATE call_backs SET reached_by = 'erased'
    WHERE enterprise_number = $1 AND reached_by ~ $4 AND phone_e164 <> ALL ($2::text[]) AND linkedid <> ALL ($3::text[])
)
DELETE FROM call_backs
WHERE enterprise_number = $1 AND (phone_e164 = ANY ($2::text[]) OR linkedid = ANY ($3::text[]));

-- name: erase_posts
-- What CRMs were told, or were about to be told, of these calls. $1 enterprise, $2 linkedids
DELETE FROM outbox WHERE enterprise_number = $1 AND linkedid = ANY ($2::text[]) RETURNING sent_revision;

-- name: erase_changes
-- What CRMs said of these people and nobody has worked off. $1 enterprise, $2 numbers, $3 sources and $4 ids there, in
-- the same order
DELETE FROM crm_changes
WHERE enterprise_number = $1 AND (
    profile -> 'phones' ?| $2::text[]
    OR (kind = 'person' AND (source, external_id) IN (SELECT * FROM unnest($3::text[], $4::text[])))
)
RETURNING id;

-- name: erase_place_of_backfill
-- A backfill that stopped at one of these numbers goes on a little before it. $1 enterprise, $2 numbers
UPDATE backfills SET done_to = left(done_to, -2) WHERE enterprise_number = $1 AND done_to = ANY ($2::text[]);
