"""PostgreSQL: migrations, named queries, records. Knows nothing of HTTP.

One module a table or lock; the SQL of all of them is in `queries.sql`, each query under its name. Functions
take an open connection and never begin or commit: the transaction belongs to the caller.
"""
