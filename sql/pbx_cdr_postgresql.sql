-- The CDR rows of calls that began in a time, from the table that cdr_pgsql and cdr_adaptive_odbc fill.
-- $1 since, $2 until, epoch seconds
SELECT * FROM cdr
WHERE calldate >= to_timestamp($1) AT TIME ZONE 'UTC' AND calldate <= to_timestamp($2) AT TIME ZONE 'UTC'
ORDER BY calldate;
