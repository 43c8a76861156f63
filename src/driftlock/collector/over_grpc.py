"""OTLP over gRPC: the three Export methods on raw bytes.

Owns: the gRPC server and its limits. Message classes stay out of the way: bytes go to the intake as they are.

Two settings against memory: gRPC's own decompression has no bound on its output, so it is off and gzip is
told by its first bytes (they cannot begin an OTLP message: wire type 7 does not exist). And the methods are
served as streams of one message, because then a request's body is read only when there is room for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from driftlock.collector import metrics
from driftlock.collector.answers import TooSlowError, answer_for, sentence_for
from driftlock.collector.budget import Budget, Lease
from driftlock.collector.gunzip import GZIP_MAGIC, gunzip
from driftlock.collector.intake import Intake, Request
from driftlock.collector.settings import CollectorSettings
from driftlock.errors import MalformedTelemetryError, StartError
from driftlock.signals.otlp import Kind, encode_status

logger = logging.getLogger(__name__)

SERVICES: dict[str, Kind] = {
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
}
# gRPC tells a message's size only with the message: so much is set aside before it is read.
READ_ESTIMATE_BYTES = 4 * 1024 * 1024
_STATUS_DETAILS = "grpc-status-details-bin"
# identity and gzip; deflate is not in the specification
_ALGORITHMS = 0b101

Handler = Callable[[Any, Any], Awaitable[bytes]]


class GrpcServer:
    """The server; `start` gives the port that it listens on."""

    def __init__(self, intake: Intake, budget: Budget, settings: CollectorSettings) -> None:
        self._intake = intake
        self._budget = budget
        self._settings = settings
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.request_bytes_max),
                ("grpc.per_message_decompression", 0),
                ("grpc.compression_enabled_algorithms_bitset", _ALGORITHMS),
                ("grpc.so_reuseport", int(settings.reuse_port)),
            ]
        )
        for service, kind in SERVICES.items():
            method = grpc.stream_unary_rpc_method_handler(self._handler(kind))
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"Export": method}),)
            )

    async def start(self) -> int:
        """Raises StartError when the port is taken."""
        host = self._settings.host
        address = f"[{host}]" if ":" in host else host
        try:
            port = self._server.add_insecure_port(f"{address}:{self._settings.grpc_port}")
        except RuntimeError as error:
            message = f"OTLP over gRPC cannot listen on {address}:{self._settings.grpc_port}"
            hint = "Is another program on this port? Choose another with --otlp-grpc-port."
            raise StartError(message, hint=hint) from error
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        await self._server.stop(self._settings.drain_timeout_s)

    def _handler(self, kind: Kind) -> Handler:
        async def export(_: Any, context: Any) -> bytes:
            try:
                with self._budget.lease() as lease:
                    payload = await self._payload(context, lease)
                    key = _metadata(context, "idempotency-key")
                    request = Request(kind, "grpc", payload, idempotency_key=key)
                    response = await self._intake.take(request)
            except Exception as error:
                return await _refuse(kind, context, error)
            metrics.REQUESTS.labels(kind, "grpc", "accepted").inc()
            return response

        return export

    async def _payload(self, context: Any, lease: Lease) -> bytes:
        """The message, decompressed, and held by the lease."""
        lease.grow(min(READ_ESTIMATE_BYTES, self._settings.request_bytes_max))
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                message = await context.read()
        except TimeoutError as error:
            raise TooSlowError("the request did not arrive in time") from error
        if message is grpc.aio.EOF:
            raise MalformedTelemetryError("a request without a message")
        lease.settle(len(message))
        if message[:2] != GZIP_MAGIC:
            return bytes(message)
        payload = gunzip(message, bytes_max=self._settings.request_bytes_max, hold=lease.grow)
        lease.settle(len(payload))
        return payload


def _metadata(context: Any, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None


async def _refuse(kind: Kind, context: Any, error: Exception) -> bytes:
    answer = answer_for(error)
    if answer.outcome == "internal":
        logger.error("an OTLP request (%s over gRPC) failed", kind, exc_info=error)
    metrics.REQUESTS.labels(kind, "grpc", answer.outcome).inc()
    sentence = sentence_for(error)
    trailing: tuple[tuple[str, bytes], ...] = ()
    if answer.retry_after_s is not None:
        status = encode_status(answer.grpc_number, sentence, json=False, retry_after_s=answer.retry_after_s)
        trailing = ((_STATUS_DETAILS, status),)
    await context.abort(answer.grpc, sentence, trailing)
    raise AssertionError("abort raises")
