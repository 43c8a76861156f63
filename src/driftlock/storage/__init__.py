"""PostgreSQL: migrations, named queries, records. Knows nothing of HTTP."""
