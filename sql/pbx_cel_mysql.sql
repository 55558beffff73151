-- As pbx_cel_postgresql.sql, from FreePBX's asteriskcdrdb. The session's time zone is UTC. %s since, %s until
SELECT * FROM cel
WHERE id >= (SELECT min(id) FROM cel WHERE eventtime >= FROM_UNIXTIME(%s))
  AND id <= (SELECT max(id) FROM cel WHERE eventtime <= FROM_UNIXTIME(%s))
ORDER BY id;
