"""Every named query is valid against the migrated schema, and the folder holds no query that nobody runs."""

from __future__ import annotations

from pathlib import Path

import asyncpg

import driftlock.storage
from driftlock.storage import anomalies, feed_reader, keys, refreshes, streams
from driftlock.storage.sql import QUERIES

COLUMNS = {
    "anomal": anomalies.COLUMNS,
    "feed_a": feed_reader._COLUMNS,
    "key": keys.COLUMNS,
    "refresh": refreshes.COLUMNS,
    "stream": streams.COLUMNS,
}


async def test_every_query_is_valid(conn: asyncpg.Connection) -> None:
    for name, query in QUERIES.items():
        columns = next((text for prefix, text in COLUMNS.items() if name.startswith(prefix)), "")
        filled = query.filled(columns=columns, where="tenant_id = $1", limit="$2", offset="$3")
        await conn.prepare(filled.sql)


def test_every_query_is_used() -> None:
    folder = Path(driftlock.storage.__file__).parent
    code = "".join(path.read_text() for path in folder.parent.rglob("*.py"))
    assert [name for name in QUERIES if f'QUERIES["{name}"]' not in code] == []
