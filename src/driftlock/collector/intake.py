"""From the bytes of one Export request to its acknowledgement.

Owns: checking and splitting a request, message ids, the append. Must not know transports.

A request with an idempotency key gets message ids that follow from the key and the content, so a client that
sends it again after a lost answer does not append it twice. Without a key ids are random: two equal requests
are then two requests, as the specification has it, and may share messages with others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import Append, TelemetryLog
from driftlock.collector import metrics
from driftlock.collector.joining import Joiner
from driftlock.collector.settings import CollectorSettings
from driftlock.errors import TooLargeError, UnavailableError
from driftlock.signals.otlp import Kind, Split, encode_response, split

Transport = Literal["grpc", "http"]

# Parsing more than this would hold up the event loop for milliseconds (JSON: much longer).
INLINE_BYTES_MAX = 512 * 1024
# Threads share one interpreter lock: more would only hold more memory.
PARSERS_MAX = 2


@dataclass(frozen=True, slots=True)
class Request:
    """One Export request, decompressed."""

    kind: Kind
    transport: Transport
    payload: bytes
    json: bool = False
    idempotency_key: str | None = None


class Intake:
    """Takes requests of both transports. `new_id` makes a random, unique text."""

    def __init__(
        self,
        log: TelemetryLog,
        settings: CollectorSettings,
        *,
        now_ns: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._log = log
        self._settings = settings
        self._now_ns = now_ns
        self._joiner = Joiner(
            log, tenant=settings.tenant, timeout_s=settings.append_timeout_s, now_ns=now_ns, new_id=new_id
        )
        self._parsers = asyncio.Semaphore(PARSERS_MAX)

    async def take(self, request: Request) -> bytes:
        """The response body, once the log has every part of the request.

        Raises MalformedTelemetryError, or UnavailableError when the log was away for too long. Nothing
        permanent is ever raised after a part was appended.
        """
        parsed = await self._split(request)
        with metrics.APPEND.labels(request.kind).time():
            await self._append(request, parsed)
        self._count(request, parsed)
        return encode_response(request.kind, parsed.rejected, parsed.message, json=request.json)

    async def _split(self, request: Request) -> Split:
        if len(request.payload) <= INLINE_BYTES_MAX:
            return self._split_now(request)
        async with self._parsers:
            return await asyncio.to_thread(self._split_now, request)

    def _split_now(self, request: Request) -> Split:
        return split(
            request.kind,
            request.payload,
            json=request.json,
            tenant=self._settings.tenant,
            attributes=self._settings.attributes,
            partitions=self._settings.partitions,
            message_bytes_max=self._settings.message_bytes_max,
        )

    async def _append(self, request: Request, parsed: Split) -> None:
        if not parsed.parts:
            return
        try:
            if request.idempotency_key is None:
                await self._joiner.append(request.kind, parsed.parts)
            else:
                await self._log.append_many(
                    self._named(request, request.idempotency_key, parsed),
                    timeout_s=self._settings.append_timeout_s,
                )
        except TooLargeError as error:
            # NATS was set to take less than at our start: ours to repair, so the client shall keep the data.
            raise UnavailableError(error.message) from error

    def _named(self, request: Request, key: str, parsed: Split) -> list[Append]:
        """The parts as messages of their own, whose ids the same request would get again."""
        received_ns, tenant = self._now_ns(), self._settings.tenant
        return [
            Append(
                partition,
                Envelope(kind=request.kind, tenant=tenant, received_ns=received_ns, payload=payload),
                _derived_id(request.kind, key, tenant, partition, index, payload),
            )
            for index, (partition, payload) in enumerate(parsed.parts)
        ]

    def _count(self, request: Request, parsed: Split) -> None:
        labels = (request.kind, request.transport)
        metrics.RECORDS.labels(*labels).inc(parsed.records)
        metrics.BYTES.labels(*labels).inc(len(request.payload))
        if parsed.rejected:
            metrics.REJECTED.labels(*labels).inc(parsed.rejected)


def _derived_id(kind: Kind, key: str, tenant: str, partition: int, index: int, payload: bytes) -> str:
    """Follows from the content too: a key used again for other data must not make that data vanish."""
    digest = hashlib.blake2b(digest_size=16, person=b"driftlock-once")
    for part in (key, tenant, kind, str(partition), str(index)):
        raw = part.encode("utf-8", "surrogateescape")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    digest.update(payload)
    return digest.hexdigest()
