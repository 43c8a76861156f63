"""The collector role: OTLP in, the telemetry log out.

Owns: wiring, start and drain. An OTLP request is acknowledged once the log has all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from driftlock.bus.log import TelemetryLog
from driftlock.collector.budget import Budget
from driftlock.collector.intake import Intake
from driftlock.collector.over_grpc import GrpcServer
from driftlock.collector.over_http import HttpApp
from driftlock.collector.settings import CollectorSettings
from driftlock.errors import StartError
from driftlock.http_protocol import BoundedHttpProtocol

logger = logging.getLogger(__name__)

BACKLOG = 2048


@dataclass
class Ready:
    """Set once both servers listen, with the ports they got."""

    event: asyncio.Event
    grpc_port: int = 0
    http_port: int = 0


async def run(
    settings: CollectorSettings,
    stop: asyncio.Event,
    *,
    now_ns: Callable[[], int],
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ready: Ready | None = None,
) -> None:
    """Receive until `stop` is set, then finish what is in flight within `drain_timeout_s`.

    `now_ns` is the wall clock in nanoseconds since 1970. Raises StartError or UnavailableError when it cannot
    start.
    """
    listening = _listen(settings)
    try:
        log = await TelemetryLog.connect(settings.nats_url, name="driftlock-collector")
    except BaseException:
        listening.close()
        raise
    try:
        await log.ensure(bytes_max=settings.log_bytes_max, age_max_s=settings.log_age_max_s)
        _check_sizes(settings, log)
        await _serve(
            settings, log, listening, stop, Intake(log, settings, now_ns=now_ns, new_id=new_id), ready
        )
    finally:
        listening.close()
        await log.close()


async def _serve(
    settings: CollectorSettings,
    log: TelemetryLog,
    listening: socket.socket,
    stop: asyncio.Event,
    intake: Intake,
    ready: Ready | None,
) -> None:
    budget = Budget(settings.inflight_bytes_max)
    over_grpc = GrpcServer(intake, budget, settings)
    over_http = _HttpServer(_http_config(HttpApp(intake, budget, settings), settings))
    grpc_port = await over_grpc.start()
    serving = asyncio.create_task(over_http.serve(sockets=[listening]))
    listens = asyncio.create_task(over_http.listens.wait())
    try:
        await asyncio.wait({listens, serving}, return_when=asyncio.FIRST_COMPLETED)
        http_port = listening.getsockname()[1]
        logger.info(
            "receiving OTLP: gRPC on %s:%d, HTTP on %s:%d", settings.host, grpc_port, settings.host, http_port
        )
        if ready is not None:
            ready.grpc_port, ready.http_port = grpc_port, http_port
            ready.event.set()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        listens.cancel()
        over_http.should_exit = True
        await asyncio.gather(over_grpc.stop(), serving)


class _HttpServer(uvicorn.Server):
    """Tells when it listens, and leaves signals to the runtime."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http_config(app: HttpApp, settings: CollectorSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
    )


def _listen(settings: CollectorSettings) -> socket.socket:
    """Our own socket, so that a port in use is told before anything else starts."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((settings.host, settings.http_port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        message = f"OTLP over HTTP cannot listen on {settings.host}:{settings.http_port}: {error.strerror}"
        hint = "Is another program on this port? Choose another with --otlp-http-port."
        raise StartError(message, hint=hint) from error
    listening.setblocking(False)
    return listening


def _check_sizes(settings: CollectorSettings, log: TelemetryLog) -> None:
    if settings.message_bytes_max > log.payload_bytes_max:
        message = (
            f"NATS takes messages up to {log.payload_bytes_max} bytes, "
            f"but the log's messages may have {settings.message_bytes_max}"
        )
        raise StartError(message, hint="Set max_payload: 8MB in the configuration of nats-server.")
