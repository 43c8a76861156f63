"""Metric points of the log's messages as plain series of floats.

Owns: `decode_points`, what names a series, and which fields a point yields. Must not know: detection.

A sum counts as cumulative only when it is also monotonic: a cumulative up-down counter is a level already.
The mean of a cumulative histogram is that of its whole life.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, DataPointFlags

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import PointBatch, StreamKey
from driftlock.signals.keys import KeyTable, key_text, stream_key
from driftlock.signals.log_text import structure_text
from driftlock.signals.logs import TIME_NS_MAX
from driftlock.signals.redaction import CLASSES, redact

SERIES_NAME_CHARS_MAX = 512
ATTRIBUTES_MAX = 128

_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE

Field = tuple[str, float, bool]  # name, value, cumulative


def decode_points(
    payload: bytes, *, tenant: str, attributes: tuple[str, ...], redact: tuple[str, ...] = CLASSES
) -> PointBatch:
    """The points of an ExportMetricsServiceRequest, in order; see `PointBatch`.

    Names are without what belongs to the classes `redact`; series that differ only there stay apart.
    Points marked as without a recorded value, and fields that are not finite, are skipped and counted.
    Raises `MalformedTelemetryError`.
    """
    try:
        request = ExportMetricsServiceRequest.FromString(payload)
    except DecodeError as error:
        raise MalformedTelemetryError(f"not a valid OTLP metrics message: {error}") from error
    columns = _Columns(redact)
    for resource in request.resource_metrics:
        key = stream_key(resource.resource, tenant, "metrics", attributes, redact)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                columns.add(key, metric)
    return columns.batch()


class _Columns:
    """The growing columns of one batch, and the names of its series."""

    def __init__(self, redacted: tuple[str, ...]) -> None:
        self._redacted = redacted
        self._table = KeyTable()
        self._rows: list[tuple[int, int, int, float, bool]] = []
        self._names: dict[int, str] = {}
        self._series: dict[tuple[int, str, str, bytes], int] = {}
        self._skipped = 0

    def add(self, key: StreamKey, metric: Any) -> None:
        data = metric.WhichOneof("data")
        if data is None:
            return
        stream = self._table.index(key)
        for point, fields in _FIELDS[data](getattr(metric, data)):
            if point.flags & _NO_VALUE:
                self._skipped += 1
                continue
            raw = b"".join(item.SerializeToString() for item in point.attributes)
            time_ns = point.time_unix_nano
            for field, value, cumulative in fields:
                if not math.isfinite(value):
                    self._skipped += 1
                    continue
                series = self._series.get((stream, metric.name, field, raw))
                if series is None:
                    series = self._name(stream, metric.name, field, raw, point.attributes)
                self._rows.append(
                    (stream, time_ns if time_ns <= TIME_NS_MAX else 0, series, value, cumulative)
                )

    def _name(self, stream: int, metric: str, field: str, raw: bytes, attributes: Any) -> int:
        values = sorted((item.key, _value_text(item.value)) for item in list(attributes)[:ATTRIBUTES_MAX])
        pairs = [(name, key_text(value)) for name, value in values]
        key = self._table.keys[stream]
        digest = hashlib.blake2b(key.id.bytes, digest_size=8, person=b"driftlock-serie")
        for part in (metric, field, *(text for pair in pairs for text in pair)):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        series = int.from_bytes(digest.digest(), "little") or 1
        told = ",".join(f"{name}={key_text(value, self._redacted)}" for name, value in values)
        inside = "{" + told + "}" if values else ""
        name = redact(f"{key_text(metric, self._redacted)}{inside}", self._redacted)
        if len(name) > SERIES_NAME_CHARS_MAX:
            name = name[: SERIES_NAME_CHARS_MAX - 1] + "…"
        self._names[series] = f"{name} {field}"
        self._series[stream, metric, field, raw] = series
        return series

    def batch(self) -> PointBatch:
        stream, time_ns, series, value, cumulative = (
            zip(*self._rows, strict=True) if self._rows else ((),) * 5
        )
        return PointBatch(
            keys=self._table.keys,
            stream=np.array(stream, dtype=np.int32),
            time_ns=np.array(time_ns, dtype=np.int64),
            series=np.array(series, dtype=np.uint64),
            value=np.array(value, dtype=np.float64),
            cumulative=np.array(cumulative, dtype=np.bool_),
            names=self._names,
            skipped=self._skipped,
        )


def _value_text(value: Any) -> str:
    if value.WhichOneof("value") == "double_value":
        return repr(value.double_value)
    return structure_text(value).decode("utf-8", "replace")


# ---- the fields of each kind of point

Points = Iterator[tuple[Any, list[Field]]]


def _numbers(data: Any, cumulative: bool) -> Points:
    for point in data.data_points:
        kind = point.WhichOneof("value")
        # A point without a value says nothing: it counts as skipped.
        value = float(getattr(point, kind)) if kind else math.nan
        yield point, [("value", value, cumulative)]


def _gauge(data: Any) -> Points:
    return _numbers(data, False)


def _sum(data: Any) -> Points:
    return _numbers(data, bool(data.is_monotonic and data.aggregation_temporality == _CUMULATIVE))


def _histogram(data: Any) -> Points:
    cumulative = data.aggregation_temporality == _CUMULATIVE
    for point in data.data_points:
        yield point, _distribution(point.count, point.sum if point.HasField("sum") else None, cumulative)


def _summary(data: Any) -> Points:
    for point in data.data_points:
        yield point, _distribution(point.count, point.sum, True)


def _distribution(count: int, total: float | None, cumulative: bool) -> list[Field]:
    fields: list[Field] = [("count", float(count), cumulative)]
    if total is not None:
        fields.append(("sum", total, cumulative))
        if count:
            fields.append(("mean", total / count, False))
    return fields


_FIELDS: dict[str, Callable[[Any], Points]] = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponential_histogram": _histogram,
    "summary": _summary,
}
