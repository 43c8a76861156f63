"""What the handlers of one API process share: its settings, database, and the state that `service` owns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
from litestar.datastructures import State

from driftlock.api.ratelimit import RateLimiter
from driftlock.api.settings import ApiSettings
from driftlock.bus.envelope import Envelope
from driftlock.storage import sql
from driftlock.storage.sql import QUERIES

Append = Callable[[int, Envelope, str], Awaitable[int]]
"""Of a partition, a message and its id."""


@dataclass(slots=True)
class ApiContext:
    """One process's shared things. `clock_s` only ever grows; `wall_s` is seconds since 1970.

    `append` puts a message into a partition of the telemetry log and returns its position. `probes` maps what
    readiness checks to a check that raises when it is not there.
    """

    settings: ApiSettings
    pool: asyncpg.Pool
    clock_s: Callable[[], float]
    wall_s: Callable[[], float]
    probes: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    append: Append | None = None
    limiter: RateLimiter = field(default_factory=RateLimiter)
    _cursor_secret: bytes | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for reading; waiting for one is bounded."""
        async with self.pool.acquire(timeout=self.settings.database_wait_s) as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection inside one transaction: one request, one transaction."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def cursor_secret(self, conn: asyncpg.Connection) -> bytes:
        """The installation's key for cursors, read once."""
        if self._cursor_secret is None:
            self._cursor_secret = await sql.fetch_value(conn, QUERIES["installation_secret"])
        assert self._cursor_secret is not None, "the migration inserts the one row of installation"
        return self._cursor_secret


def context_of(state: State) -> ApiContext:
    """The context that `create_app` put into the application's state."""
    context = state.context
    assert isinstance(context, ApiContext)
    return context
