"""Runs the API role: HTTP server, feed listener and upkeep, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import asyncpg
import uvicorn

from driftlock.api.access import is_loopback
from driftlock.api.app import create_app
from driftlock.api.context import ApiContext
from driftlock.api.feed.hub import FeedHub
from driftlock.api.health.probes import NatsProbe, probe_postgres
from driftlock.api.problems import MEDIA_TYPE, as_json
from driftlock.api.settings import ApiSettings
from driftlock.bus import tasks
from driftlock.errors import StartError, UnavailableError
from driftlock.http_protocol import BoundedHttpProtocol
from driftlock.storage import pool, upkeep

logger = logging.getLogger(__name__)

BACKLOG = 2048


async def run(
    settings: ApiSettings,
    stop: asyncio.Event,
    *,
    ready: asyncio.Event | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    wall_s: Callable[[], float] = time.time,
) -> None:
    """Serves until `stop` is set; `ready` is set once requests are taken. Ends promptly, open streams too.

    PostgreSQL and NATS may come later or go and come back; `/readyz` tells.

    Raises:
        StartError: the port is taken, or a development key would be open to the network.
    """
    if settings.dev_api_key and not is_loopback(settings.host):
        raise StartError(
            f"A development key works on loopback only, and the API would listen on {settings.host}.",
            hint="Make a key with driftlock keys create, or listen on 127.0.0.1.",
        )
    async with _context(settings, clock_s, wall_s) as context:
        hub = FeedHub(settings)
        server = _Server(_config(settings, context, hub))
        with _bound(settings) as listener:
            await _serve(server, listener, context, hub, stop, ready)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the runtime."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiHttpProtocol(BoundedHttpProtocol):
    """Tells in the API's own form what is wrong with a request that no route ever sees."""

    def refusal(self, status: int, sentence: str) -> tuple[bytes, bytes]:
        name = "head-too-large" if status == 431 else "bad-request"
        return MEDIA_TYPE.encode(), as_json(name, sentence)


def _config(settings: ApiSettings, context: ApiContext, hub: FeedHub) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(context, hub),
        http=ApiHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # loopback alone makes the development key valid: no header may claim it
        timeout_graceful_shutdown=int(settings.shutdown_grace_s),
        backlog=BACKLOG,
    )


@contextlib.asynccontextmanager
async def _context(
    settings: ApiSettings, clock_s: Callable[[], float], wall_s: Callable[[], float]
) -> AsyncIterator[ApiContext]:
    # no connection is needed to start: the first request or probe opens one
    connections = await pool.create_pool(
        settings.database_url,
        name="driftlock-api",
        connections_min=0,
        connections_max=settings.database_connections_max,
    )
    nats = NatsProbe(settings.nats_url)
    context = ApiContext(settings=settings, pool=connections, clock_s=clock_s, wall_s=wall_s)
    context.probes["postgresql"] = lambda: probe_postgres(context)
    context.probes["nats"] = nats.check
    context.append = nats.append
    nats.start()
    try:
        yield context
    finally:
        await nats.close()
        connections.terminate()


@contextlib.contextmanager
def _bound(settings: ApiSettings) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise StartError(
            f"The API cannot listen on {settings.host}:{settings.port}: {error.strerror or error}.",
            hint="Choose another --api-port, or stop what uses this one.",
        ) from error
    with listener:
        yield listener


async def _serve(
    server: uvicorn.Server,
    listener: socket.socket,
    context: ApiContext,
    hub: FeedHub,
    stop: asyncio.Event,
    ready: asyncio.Event | None,
) -> None:
    listening, upkeeping = asyncio.create_task(hub.run()), asyncio.create_task(_upkeep(context))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        if ready is not None:
            ready.set()  # the socket listens: what connects now waits in its backlog
        logger.info("API on http://%s:%d", context.settings.host, listener.getsockname()[1])
        await asyncio.wait({serving, stopping, listening, upkeeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.close()  # first: the server waits for open streams
        server.should_exit = True
        await asyncio.wait({serving, listening})
        for task in (stopping, upkeeping):
            await tasks.end(task)
    for task in (serving, listening, upkeeping):
        error = None if task.cancelled() else task.exception()
        if error is not None:
            raise error


async def _upkeep(context: ApiContext) -> None:
    """Partitions ahead, old feed entries removed; a failure waits for the next round."""
    while True:
        try:
            async with context.connection() as conn:
                await upkeep.run(conn, present=datetime.fromtimestamp(context.wall_s(), UTC))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, UnavailableError) as error:
            logger.warning("upkeep failed and will be tried again: %s", error)
        await asyncio.sleep(context.settings.upkeep_interval_s)
