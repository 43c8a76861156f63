"""Reads `queries.sql`: every query under its name, timed under that name.

Owns how a query is run: it is timed as `driftlock_database_query_duration_seconds{query}`, and constraint
violations come out as domain errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg
from prometheus_client import Histogram

from driftlock.storage.errors import ConflictError, InvalidValueError

QUERY_SECONDS = Histogram(
    "driftlock_database_query_duration_seconds",
    "Time of a named database query, as its caller sees it.",
    ["query"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_SLOT = re.compile(r"\{(\w+)\}")
_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and the name that metrics know it by."""

    name: str
    sql: str

    def filled(self, **slots: str) -> Query:
        """The query with its `{slots}` filled in. Only for SQL of our own making, never for values."""
        # not str.format: SQL has braces of its own, '{}' for one
        return Query(self.name, _SLOT.sub(lambda slot: slots[slot[1]], self.sql))


def parse(text: str) -> dict[str, Query]:
    """The named queries of a file; what stands before the first heading is a comment."""
    parts = _HEADING.split(text)[1:]
    names, bodies = parts[0::2], parts[1::2]
    assert len(set(names)) == len(names), "a query name stands twice in queries.sql"
    return {name: Query(name, body.strip()) for name, body in zip(names, bodies, strict=True)}


QUERIES = parse(files("driftlock.storage").joinpath("queries.sql").read_text("utf-8"))


@contextmanager
def domain_errors() -> Iterator[None]:
    """Turns what a person's input can cause into errors that say so; other database errors pass on."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise ConflictError(f"This exists already: {error.detail or error.constraint_name}") from error
    except (asyncpg.CheckViolationError, asyncpg.NotNullViolationError) as error:
        raise InvalidValueError(f"Not allowed: {error.message}") from error
    except asyncpg.DataError as error:
        raise InvalidValueError(f"The value does not fit: {error}") from error


async def fetch(conn: asyncpg.Connection, query: Query, *args: Any) -> list[asyncpg.Record]:
    """All rows of a query."""
    with QUERY_SECONDS.labels(query.name).time(), domain_errors():
        return list(await conn.fetch(query.sql, *args))


async def fetch_row(conn: asyncpg.Connection, query: Query, *args: Any) -> asyncpg.Record | None:
    """The first row, or None."""
    with QUERY_SECONDS.labels(query.name).time(), domain_errors():
        return await conn.fetchrow(query.sql, *args)


async def fetch_value(conn: asyncpg.Connection, query: Query, *args: Any) -> Any:
    """The first column of the first row, or None."""
    with QUERY_SECONDS.labels(query.name).time(), domain_errors():
        return await conn.fetchval(query.sql, *args)


async def execute(conn: asyncpg.Connection, query: Query, *args: Any) -> str:
    """Runs a query for its effect and answers PostgreSQL's command tag."""
    with QUERY_SECONDS.labels(query.name).time(), domain_errors():
        return str(await conn.execute(query.sql, *args))


async def fetch_many(
    conn: asyncpg.Connection, query: Query, rows: Iterable[Sequence[Any]]
) -> list[asyncpg.Record]:
    """Runs a query once a row of arguments, pipelined in one round trip; all rows that came back."""
    with QUERY_SECONDS.labels(query.name).time(), domain_errors():
        return list(await conn.fetchmany(query.sql, rows))
