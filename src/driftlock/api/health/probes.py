"""What readiness means: PostgreSQL answers with our schema, and NATS answers with JetStream.

Owns the API's connection to NATS. The API starts without either: it says so at `/readyz` until they come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import nats.errors

from driftlock.api.context import ApiContext
from driftlock.bus import tasks
from driftlock.bus.envelope import Envelope
from driftlock.bus.link import Link
from driftlock.bus.log import TelemetryLog
from driftlock.errors import StartError, UnavailableError
from driftlock.storage import migrate

logger = logging.getLogger(__name__)

APPEND_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 2.0
RETRY_S = 1.0
CLOSE_TIMEOUT_S = 1.0


async def probe_postgres(context: ApiContext) -> None:
    """Raises UnavailableError when PostgreSQL does not answer or lacks our schema."""
    try:
        async with context.connection() as conn:
            missing = await migrate.pending(conn)
    except StartError as error:
        raise UnavailableError(error.message) from error
    if missing:
        raise UnavailableError(f"migrations are missing: {', '.join(missing)}; run driftlock migrate")


class NatsProbe:
    """A lasting connection to NATS, opened in the background: for readiness, and for what people ask of
    detectors, which goes through the log."""

    def __init__(self, url: str) -> None:
        self._link = Link(url, name="driftlock-api")
        self._log = TelemetryLog(self._link)
        self._opened = False
        self._opening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to connect, for ever if need be."""
        self._opening = asyncio.create_task(self._open())

    async def check(self) -> None:
        """Raises UnavailableError when NATS or its JetStream does not answer."""
        if not self._opened or not self._link.connected:
            raise UnavailableError(f"NATS at {self._link.address} cannot be reached")
        try:
            await self._link.client.jetstream(timeout=PROBE_TIMEOUT_S).account_info()
        except (nats.errors.Error, OSError) as error:
            raise UnavailableError(f"JetStream at {self._link.address} does not answer") from error

    async def append(self, partition: int, envelope: Envelope, message_id: str) -> int:
        """Appends a message to the log, and returns its position. Raises UnavailableError without NATS."""
        if not self._opened:
            raise UnavailableError(f"NATS at {self._link.address} cannot be reached")
        return await self._log.append(partition, envelope, message_id=message_id, timeout_s=APPEND_TIMEOUT_S)

    async def close(self) -> None:
        """Ends the connection; waits at most `CLOSE_TIMEOUT_S` for NATS."""
        if self._opening is not None:
            await tasks.end(self._opening)
        closing = asyncio.create_task(self._link.close())
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        await tasks.end(closing)

    async def _open(self) -> None:
        while not self._opened:
            try:
                await self._link.open()
                self._opened = True
            except UnavailableError as error:
                logger.warning("%s", error.message)
                await asyncio.sleep(RETRY_S)


async def run_all(probes: dict[str, Callable[[], Awaitable[None]]]) -> dict[str, str]:
    """What each probe says: "ok", or why not; each has `PROBE_TIMEOUT_S`."""

    async def one(check: Callable[[], Awaitable[None]]) -> str:
        try:
            await asyncio.wait_for(check(), PROBE_TIMEOUT_S)
        except UnavailableError as error:
            return error.message
        except Exception as error:
            # a probe must not fail readiness with a 500; what it met goes to the log
            logger.warning("a readiness check failed: %s: %s", type(error).__name__, error)
            return "does not answer"
        return "ok"

    said = await asyncio.gather(*(one(check) for check in probes.values()))
    return dict(zip(probes, said, strict=True))
