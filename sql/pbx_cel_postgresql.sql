-- The CEL rows of a time in the order in which they were written, from the table that cel_pgsql and cel_odbc fill.
-- The clock may have jumped: what was written between two rows of the time belongs to it. $1 since, $2 until, epoch seconds
SELECT * FROM cel
WHERE id >= (SELECT min(id) FROM cel WHERE eventtime >= to_timestamp($1) AT TIME ZONE 'UTC')
  AND id <= (SELECT max(id) FROM cel WHERE eventtime <= to_timestamp($2) AT TIME ZONE 'UTC')
ORDER BY id;
