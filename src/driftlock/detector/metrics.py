"""What a detector tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ANOMALIES = Counter(
    "driftlock_anomalies_detected", "Anomalies written, by kind of stream.", ["stream_type", "severity"]
)
EVENTS = Counter("driftlock_events_processed", "Events scored or learned.", ["stream_type"])
COMPRESSION_RATIO = Histogram(
    "driftlock_compression_ratio",
    "Compressed by raw size of anomalous windows and their baselines.",
    ["stream_type", "window_type"],
    buckets=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
)
NCD_SCORE = Histogram(
    "driftlock_ncd_score",
    "Normalised compression distance of anomalous windows.",
    ["stream_type"],
    buckets=tuple(i / 10 for i in range(1, 11)),
)
P_VALUE = Histogram(
    "driftlock_p_value",
    "p-values of reported anomalies.",
    ["stream_type"],
    buckets=(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
)
COMPUTATION = Histogram(
    "driftlock_cbad_computation_duration_seconds",
    "Time spent by stage: score (decoding and detection), commit, checkpoint, restore.",
    ["stage"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
PARTITIONS_OWNED = Gauge(
    "driftlock_partitions_owned", "Partitions that detectors own.", multiprocess_mode="livesum"
)
STREAMS = Gauge(
    "driftlock_streams", "Streams held by detectors, by phase.", ["phase"], multiprocess_mode="livesum"
)
STATE_BYTES = Gauge(
    "driftlock_detector_state_bytes", "Bytes held by stream states.", multiprocess_mode="livesum"
)
LOG_LAG = Gauge(
    "driftlock_log_lag_messages",
    "Messages of the log not yet scored, by partition.",
    ["partition"],
    multiprocess_mode="livemax",
)
CHECKPOINTS = Counter("driftlock_checkpoints", "Checkpoints written.")
CHECKPOINT_BYTES = Counter("driftlock_checkpoint_bytes", "Bytes of state written by checkpoints.")
SKIPPED_MESSAGES = Counter(
    "driftlock_log_messages_skipped", "Messages of the log that could not be scored.", ["reason"]
)
REFUSED_EVENTS = Counter(
    "driftlock_stream_refused_events", "Events of streams that found no room in the stream bound."
)
SKIPPED_POINTS = Counter(
    "driftlock_metric_points_skipped",
    "Metric points that were not scored: not finite (not_finite), or their series found no room (no_room).",
    ["reason"],
)
EVICTED_STREAMS = Counter(
    "driftlock_streams_evicted", "Streams in warm-up that gave way to newer ones at the stream bound."
)
LOG_GAPS = Counter(
    "driftlock_log_gaps",
    "Times that the log's bounds discarded messages before a partition's owner read them.",
    ["partition"],
)
