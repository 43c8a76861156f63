"""What the collector role is told."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Settings of one collector process. Ports may be 0 in tests: then `ready` comes with real ones.

    `request_bytes_max` holds before and after decompression. `inflight_bytes_max` bounds what is held from
    receipt to acknowledgement. `append_timeout_s` stays below the 10 s after which OTLP exporters give up
    on an answer, so that they get a refusal to retry instead. `reuse_port` lets several collectors share
    the ports.
    """

    nats_url: str
    host: str = "127.0.0.1"
    grpc_port: int = 4317
    http_port: int = 4318
    partitions: int = 32
    attributes: tuple[str, ...] = ()
    tenant: str = "default"
    request_bytes_max: int = 64 * MIB
    inflight_bytes_max: int = 256 * MIB
    message_bytes_max: int = 4 * MIB
    log_bytes_max: int = 8 * 1024 * MIB
    log_age_max_s: float | None = None
    append_timeout_s: float = 8.0
    body_idle_timeout_s: float = 10.0
    body_timeout_s: float = 120.0
    drain_timeout_s: float = 2.0
    reuse_port: bool = False
