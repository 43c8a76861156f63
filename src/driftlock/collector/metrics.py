"""What a collector tells Prometheus. `signal` is logs, metrics or traces, `transport` is grpc or http."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LABELS = ["signal", "transport"]

REQUESTS = Counter(
    "driftlock_otlp_requests",
    "OTLP requests answered, by outcome (accepted, or why not).",
    [*_LABELS, "outcome"],
)
RECORDS = Counter("driftlock_otlp_records", "Log records, spans and metric points accepted.", _LABELS)
REJECTED = Counter(
    "driftlock_otlp_rejected_records", "Records rejected from requests that were otherwise accepted.", _LABELS
)
BYTES = Counter("driftlock_otlp_bytes", "Bytes of accepted OTLP requests, after decompression.", _LABELS)
APPEND = Histogram(
    "driftlock_otlp_append_duration_seconds",
    "From a parsed request to its acknowledgement by the log.",
    ["signal"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
INFLIGHT = Gauge(
    "driftlock_otlp_inflight_bytes",
    "Bytes held between receipt and acknowledgement.",
    multiprocess_mode="livesum",
)
