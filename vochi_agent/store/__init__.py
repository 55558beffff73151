"""PostgreSQL: the ledger of calls, the customers, the cards; and the embedded server."""
