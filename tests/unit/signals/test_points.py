"""Metric points as series."""

from __future__ import annotations

import math
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import PointBatch
from driftlock.signals.points import SERIES_NAME_CHARS_MAX, decode_points

DELTA, CUMULATIVE = 1, 2


@pytest.fixture
def request_() -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest()


def metrics_of(request: ExportMetricsServiceRequest, service: str = "a") -> Any:
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    return resource.scope_metrics.add().metrics


def decoded(request: ExportMetricsServiceRequest) -> PointBatch:
    return decode_points(request.SerializeToString(), tenant="t", attributes=())


def named(batch: PointBatch) -> list[tuple[str, float, bool]]:
    rows = zip(batch.series.tolist(), batch.value.tolist(), batch.cumulative.tolist(), strict=True)
    return [(batch.names[series], value, cumulative) for series, value, cumulative in rows]


def test_gauges_and_sums(request_: ExportMetricsServiceRequest) -> None:
    metrics = metrics_of(request_)
    metrics.add(name="load").gauge.data_points.add(as_double=0.5, time_unix_nano=7)
    total = metrics.add(name="requests").sum
    total.is_monotonic, total.aggregation_temporality = True, CUMULATIVE
    point = total.data_points.add(as_int=3)
    point.attributes.add(key="route").value.string_value = "/a"
    point.attributes.add(key="code").value.int_value = 200
    level = metrics.add(name="queue").sum
    level.aggregation_temporality = CUMULATIVE
    level.data_points.add(as_int=4)
    batch = decoded(request_)
    assert named(batch) == [
        ("load value", 0.5, False),
        ("requests{code=200,route=/a} value", 3.0, True),
        ("queue value", 4.0, False),
    ]
    assert batch.time_ns.tolist() == [7, 0, 0]


def test_histograms_and_summaries_yield_count_sum_and_mean(request_: ExportMetricsServiceRequest) -> None:
    metrics = metrics_of(request_)
    histogram = metrics.add(name="h").histogram
    histogram.aggregation_temporality = DELTA
    histogram.data_points.add(count=4, sum=8.0)
    histogram.data_points.add(count=4)
    exponential = metrics.add(name="e").exponential_histogram
    exponential.aggregation_temporality = CUMULATIVE
    exponential.data_points.add(count=2, sum=1.0)
    metrics.add(name="s").summary.data_points.add(count=0, sum=0.0)
    assert named(decoded(request_)) == [
        ("h count", 4.0, False),
        ("h sum", 8.0, False),
        ("h mean", 2.0, False),
        ("h count", 4.0, False),
        ("e count", 2.0, True),
        ("e sum", 1.0, True),
        ("e mean", 0.5, False),
        ("s count", 0.0, True),
        ("s sum", 0.0, True),
    ]


def test_what_says_nothing_is_skipped_and_counted(request_: ExportMetricsServiceRequest) -> None:
    points = metrics_of(request_).add(name="g").gauge.data_points
    for value in (math.nan, math.inf, -math.inf, 1.0):
        points.add(as_double=value)
    points.add(as_double=5.0, flags=1)
    points.add()
    batch = decoded(request_)
    assert batch.value.tolist() == [1.0]
    assert batch.skipped == 5


def test_a_series_is_its_stream_name_attributes_and_field(request_: ExportMetricsServiceRequest) -> None:
    for service in ("a", "b", "a"):
        for order in (("x", "y"), ("y", "x")):
            point = metrics_of(request_, service).add(name="g").gauge.data_points.add(as_int=1)
            for key in order:
                point.attributes.add(key=key).value.string_value = key
    batch = decoded(request_)
    a, b = batch.series[0], batch.series[2]
    assert batch.series.tolist() == [a, a, b, b, a, a]
    assert a != b


def test_series_hashes_are_stable_over_releases(request_: ExportMetricsServiceRequest) -> None:
    metrics_of(request_).add(name="g").gauge.data_points.add(as_int=1)
    assert decoded(request_).series.tolist() == [PINNED_SERIES]


PINNED_SERIES = 14319341808533156888


def test_names_are_bounded_and_harmless(request_: ExportMetricsServiceRequest) -> None:
    point = metrics_of(request_).add(name="g\n" + "x" * 600).gauge.data_points.add(as_int=1)
    for n in range(300):
        point.attributes.add(key=f"k{n}").value.string_value = "v" * 50
    (name,) = decoded(request_).names.values()
    assert len(name) <= SERIES_NAME_CHARS_MAX + len(" value")
    assert "\n" not in name


def test_times_beyond_the_clock_are_unknown(request_: ExportMetricsServiceRequest) -> None:
    metrics_of(request_).add(name="g").gauge.data_points.add(as_int=1, time_unix_nano=2**64 - 1)
    assert decoded(request_).time_ns.tolist() == [0]


def test_empty_and_malformed() -> None:
    assert len(decode_points(b"", tenant="t", attributes=())) == 0
    with pytest.raises(MalformedTelemetryError):
        decode_points(b"\xff", tenant="t", attributes=())
