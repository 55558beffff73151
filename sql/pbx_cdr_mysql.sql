-- As pbx_cdr_postgresql.sql, from FreePBX's asteriskcdrdb. The session's time zone is UTC. %s since, %s until
SELECT * FROM cdr
WHERE calldate >= FROM_UNIXTIME(%s) AND calldate <= FROM_UNIXTIME(%s)
ORDER BY calldate;
