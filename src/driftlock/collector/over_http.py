"""OTLP over HTTP: a plain ASGI application.

Owns: paths, content types and encodings, bodies read under bounds. Requests before OTLP (a wrong path,
method, content type) are answered in plain text, OTLP's own refusals as a `Status` in the request's form.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from driftlock.collector import metrics
from driftlock.collector.answers import TooSlowError, UnsupportedMediaError, answer_for, sentence_for
from driftlock.collector.budget import Budget, Lease
from driftlock.collector.gunzip import Gunzip
from driftlock.collector.intake import Intake, Request
from driftlock.collector.settings import CollectorSettings
from driftlock.errors import TooLargeError
from driftlock.signals.otlp import Kind, encode_status

logger = logging.getLogger(__name__)

PATHS: dict[str, Kind] = {"/v1/logs": "logs", "/v1/metrics": "metrics", "/v1/traces": "traces"}
PROTOBUF = "application/x-protobuf"
JSON = "application/json"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class DisconnectedError(Exception):
    """The client went away before its request was complete: nobody is there to answer."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers say."""

    content_type: str
    encoding: str
    length: int | None
    idempotency_key: str | None

    @property
    def json(self) -> bool:
        return self.content_type == JSON


class HttpApp:
    """The application; uvicorn calls it once a request."""

    def __init__(self, intake: Intake, budget: Budget, settings: CollectorSettings) -> None:
        self._intake = intake
        self._budget = budget
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "lifespan and WebSockets are off"
        kind = PATHS.get(scope["path"])
        if kind is None:
            return await _say(send, 404, f"OTLP is received at {', '.join(PATHS)}")
        if scope["method"] != "POST":
            return await _say(send, 405, "OTLP is sent by POST", (b"allow", b"POST"))
        head = _read_head(scope)
        if head.content_type not in (PROTOBUF, JSON):
            return await _say(send, 415, f"OTLP is sent as {PROTOBUF} or {JSON}")
        try:
            with self._budget.lease() as lease:
                payload = await self._body(head, receive, lease)
                request = Request(kind, "http", payload, head.json, head.idempotency_key)
                body = await self._intake.take(request)
        except DisconnectedError:
            metrics.REQUESTS.labels(kind, "http", "aborted").inc()
            return None
        except Exception as error:
            return await _refuse(send, kind, head, error)
        metrics.REQUESTS.labels(kind, "http", "accepted").inc()
        return await _respond(send, 200, head.content_type, body)

    async def _body(self, head: _Head, receive: Receive, lease: Lease) -> bytes:
        """The body, decompressed, and held by the lease."""
        bytes_max = self._settings.request_bytes_max
        if head.length is not None and head.length > bytes_max:
            raise TooLargeError(f"the request is larger than {bytes_max} bytes")
        sink: Gunzip | _Plain
        if head.encoding == "gzip":
            sink = Gunzip(bytes_max=bytes_max, hold=lease.grow)
        elif head.encoding in ("", "identity"):
            sink = _Plain(lease)
        else:
            raise UnsupportedMediaError(f"content encoding {head.encoding[:40]!r}: send none or gzip")
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                await self._receive_into(sink, receive)
        except TimeoutError as error:
            raise TooSlowError("the request did not arrive in time") from error
        return sink.finish()

    async def _receive_into(self, sink: Gunzip | _Plain, receive: Receive) -> None:
        received = 0
        more = True
        while more:
            async with asyncio.timeout(self._settings.body_idle_timeout_s):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            chunk: bytes = message.get("body", b"")
            received += len(chunk)
            if received > self._settings.request_bytes_max:
                raise TooLargeError(f"the request is larger than {self._settings.request_bytes_max} bytes")
            sink.feed(chunk)
            more = message.get("more_body", False)


class _Plain:
    """An uncompressed body."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._lease.grow(len(data))
        self._pieces.append(data)

    def finish(self) -> bytes:
        return b"".join(self._pieces)


def _read_head(scope: Scope) -> _Head:
    content_type = encoding = ""
    length: int | None = None
    key: str | None = None
    for raw_name, raw_value in scope["headers"]:
        value = raw_value.decode("latin-1").strip()
        if raw_name == b"content-type":
            content_type = value.partition(";")[0].strip().lower()
        elif raw_name == b"content-encoding":
            encoding = value.lower()
        elif raw_name == b"content-length":
            length = int(value) if value.isdecimal() else None
        elif raw_name == b"idempotency-key":
            key = value
    return _Head(content_type, encoding, length, key)


async def _refuse(send: Send, kind: Kind, head: _Head, error: Exception) -> None:
    answer = answer_for(error)
    if answer.outcome == "internal":
        logger.error("an OTLP request (%s over HTTP) failed", kind, exc_info=error)
    metrics.REQUESTS.labels(kind, "http", answer.outcome).inc()
    headers: list[tuple[bytes, bytes]] = []
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(answer.retry_after_s).encode()))
    if answer.http == 415:
        headers.append((b"accept-encoding", b"gzip"))
    if isinstance(error, TooSlowError):
        # Otherwise the rest of a body is read and dropped: a client that is cut off while it writes would
        # see a broken connection and not the answer.
        headers.append((b"connection", b"close"))
    body = encode_status(
        answer.grpc_number, sentence_for(error), json=head.json, retry_after_s=answer.retry_after_s
    )
    await _respond(send, answer.http, head.content_type, body, *headers)


async def _say(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    await _respond(send, status, "text/plain; charset=utf-8", f"{text}\n".encode(), *headers)


async def _respond(
    send: Send, status: int, content_type: str, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    sent = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
