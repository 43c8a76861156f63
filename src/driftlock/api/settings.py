"""What the API role is told, and its named limits."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Settings of one API process. Rate limits and connection limits are counted by each process alone.

    `dev_api_key` is honoured only for clients on loopback, and refused when `host` is not loopback.
    """

    database_url: str
    nats_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    dev_api_key: str | None = None
    rate_limit_per_minute: int = 100
    sse_connections_max: int = 1000
    sse_send_timeout_s: float = 10.0
    sse_ring_events_max: int = 4096
    sse_ring_bytes_max: int = 64 * MIB
    sse_retry_ms: int = 2000
    heartbeat_s: float = 15.0
    feed_poll_s: float = 5.0
    upkeep_interval_s: float = 600.0
    request_bytes_max: int = 1 * MIB
    database_connections_max: int = 16
    database_wait_s: float = 5.0
    key_cache_s: float = 3.0
    shutdown_grace_s: float = 3.0
    commit: str = "unknown"
