"""What comes in and goes out under `/v1/anomalies`. Bounds stand here, and so in the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from driftlock.storage.anomalies import (
    Anomaly,
    NewAnomaly,
    Severity,
    Status,
    StatusChange,
    StreamType,
    anomaly_id,
)

NAME_LENGTH_MAX = 1024
TEXT_LENGTH_MAX = 10_000
TAGS_MAX = 64
TRACES_MAX = 1000
# what OTLP's 64-bit nanoseconds can say, and PostgreSQL and the ids too
TIMESTAMP_MIN = datetime(1970, 1, 1, tzinfo=UTC)
TIMESTAMP_MAX = datetime(2262, 1, 1, tzinfo=UTC)

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Tag = Annotated[str, Meta(min_length=1, max_length=256)]
TraceId = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Moment = Annotated[datetime, Meta(tz=True)]
Bytes = Annotated[int, Meta(ge=0, le=2**53)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Distance = Annotated[float, Meta(ge=0, le=2)]
Positive = Annotated[float, Meta(ge=0)]


class AnomalyReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An anomaly that was found elsewhere. Sizes in bytes, entropies in bits a byte."""

    timestamp: Moment
    stream_type: StreamType
    stream: Name
    service: Name
    severity: Severity
    stream_id: UUID | None = None
    ncd_score: Distance | None = None
    p_value: Probability | None = None
    confidence_level: Probability | None = None
    is_statistically_significant: bool = False
    compression_baseline: Bytes | None = None
    compression_window: Bytes | None = None
    compression_combined: Bytes | None = None
    compression_ratio_baseline: Positive | None = None
    compression_ratio_window: Positive | None = None
    compression_ratio_change: float | None = None
    baseline_entropy: Positive | None = None
    window_entropy: Positive | None = None
    entropy_change: float | None = None
    surprise_bits: Positive | None = None
    glass_box_explanation: Text = ""
    detailed_explanation: dict[str, Any] = {}
    baseline_ref: Annotated[str, Meta(max_length=256)] | None = None
    window_start: Moment | None = None
    window_end: Moment | None = None
    detector_version: Annotated[str, Meta(max_length=256)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=TAGS_MAX)] = []
    metadata: dict[str, Any] = {}
    trace_ids: Annotated[list[TraceId], Meta(max_length=TRACES_MAX)] = []

    def to_row(self, *, seed: bytes, tenant_id: str) -> NewAnomaly:
        """The anomaly to store."""
        return NewAnomaly(
            id=anomaly_id(self.timestamp, seed),
            source="api",
            tenant_id=tenant_id,
            **{name: getattr(self, name) for name in self.__struct_fields__},
        )


class AnomalyDetail(Anomaly, frozen=True):
    """Everything known of an anomaly; `status_history` is oldest first."""

    status_history: list[StatusChange]


class AnomalyPage(msgspec.Struct, frozen=True):
    """One page, newest first. `total` counts all that pass the filter, `next_cursor` leads to more."""

    anomalies: list[Anomaly]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None


class StatusPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new status; `notes` and `reason` replace the stored ones when given."""

    status: Status
    notes: Text | None = None
    reason: Text | None = None
