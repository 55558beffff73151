"""Every SQL statement of the agent: schema.sql to read, queries.sql and migrations/ to run.

Installed as `vochi_agent.sql`; `vochi_agent.store.statements` reads it.
"""
