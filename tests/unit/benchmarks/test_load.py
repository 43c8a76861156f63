"""The load that speed is measured with: valid OTLP, the same for the same seed, fresh when sent again."""

from __future__ import annotations

from collections import Counter

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load import (
    RECORDS_A_REQUEST,
    TIME_MARK_NS,
    Shape,
    fresh,
    lines,
    requests,
    shape_of,
    strange_block,
)

NOW_NS = 1_790_000_000_000_000_000


def logs_of(payload: bytes) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest.FromString(payload)


@pytest.mark.parametrize("kind", ["logs", "traces", "metrics"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str) -> None:
    shape = shape_of(100)
    first = requests(kind, shape, count=2, seed=1)  # type: ignore[arg-type]
    assert first == requests(kind, shape, count=2, seed=1)  # type: ignore[arg-type]
    assert first != requests(kind, shape, count=2, seed=2)  # type: ignore[arg-type]
    assert first[0] != first[1]


@pytest.mark.parametrize("streams", [1, 100, 10_000])
def test_requests_hold_a_thousand_records_of_all_services_in_turn(streams: int) -> None:
    shape = shape_of(streams)
    turns = max(1, streams * shape.run // RECORDS_A_REQUEST)
    seen: Counter[str] = Counter()
    for payload in requests("logs", shape, count=turns, seed=1):
        decoded = logs_of(payload)
        sizes = [len(r.scope_logs[0].log_records) for r in decoded.resource_logs]
        assert sum(sizes) == RECORDS_A_REQUEST
        seen.update(r.resource.attributes[0].value.string_value for r in decoded.resource_logs)
    assert len(seen) == streams
    assert set(seen.values()) == {1}


def test_a_log_record_has_about_two_hundred_bytes() -> None:
    payload = requests("logs", shape_of(1), count=1, seed=1)[0]
    assert 160 < len(payload) / RECORDS_A_REQUEST < 240


def test_a_service_writes_few_templates_often_and_others_rarely() -> None:
    records = logs_of(requests("logs", shape_of(1), count=1, seed=1)[0]).resource_logs[0].scope_logs[0]
    beginnings = Counter(record.body.string_value.split()[0] for record in records.log_records)
    assert 5 <= len(beginnings) <= 10
    assert max(beginnings.values()) > 5 * min(beginnings.values())


def test_a_request_sent_again_is_fresh() -> None:
    payload = requests("traces", Shape(10, 100), count=1, seed=1)[0]
    first = ExportTraceServiceRequest.FromString(fresh(payload, now_ns=NOW_NS, round_number=0))
    again = ExportTraceServiceRequest.FromString(fresh(payload, now_ns=NOW_NS + 5, round_number=1))
    ids = []
    for request, now_ns in ((first, NOW_NS), (again, NOW_NS + 5)):
        spans = [s for r in request.resource_spans for s in r.scope_spans[0].spans]
        assert len(spans) == RECORDS_A_REQUEST
        assert {s.end_time_unix_nano for s in spans} == {now_ns}
        assert all(0 < now_ns - s.start_time_unix_nano < 1_000_000_000 for s in spans)
        ids.append({s.trace_id for s in spans})
        assert all(len(trace_id) == 16 for trace_id in ids[-1])
        assert len(ids[-1]) == RECORDS_A_REQUEST // 5
    assert not ids[0] & ids[1]


def test_freshening_log_records_changes_their_times_alone() -> None:
    payload = requests("logs", shape_of(1), count=1, seed=1)[0]
    old, new = logs_of(payload), logs_of(fresh(payload, now_ns=NOW_NS, round_number=7))
    before = old.resource_logs[0].scope_logs[0].log_records
    after = new.resource_logs[0].scope_logs[0].log_records
    assert [r.body.string_value for r in after] == [r.body.string_value for r in before]
    assert {r.time_unix_nano for r in before} == {TIME_MARK_NS}
    assert {r.time_unix_nano for r in after} == {NOW_NS} == {r.observed_time_unix_nano for r in after}


def test_each_service_has_as_many_series_as_points_in_a_request() -> None:
    payload = requests("metrics", shape_of(100), count=1, seed=1)[0]
    series = set()
    decoded = ExportMetricsServiceRequest.FromString(fresh(payload, now_ns=NOW_NS, round_number=0))
    for resource in decoded.resource_metrics:
        service = resource.resource.attributes[0].value.string_value
        for metric in resource.scope_metrics[0].metrics:
            point = metric.gauge.data_points[0]
            assert point.time_unix_nano == NOW_NS
            series.add((service, metric.name, point.attributes[0].value.int_value))
    assert len(series) == RECORDS_A_REQUEST


def test_a_strange_block_shares_no_line_with_ordinary_ones() -> None:
    block = logs_of(fresh(strange_block("service-00000", events=25, seed=1), now_ns=NOW_NS, round_number=0))
    strange = {r.body.string_value.split()[0] for r in block.resource_logs[0].scope_logs[0].log_records}
    ordinary: set[str] = set()
    for payload in requests("logs", shape_of(100), count=2, seed=1):
        for resource in logs_of(payload).resource_logs:
            ordinary |= {r.body.string_value.split()[0] for r in resource.scope_logs[0].log_records}
    assert not strange & ordinary
    assert len(block.resource_logs[0].scope_logs[0].log_records) == 25


def test_plain_lines_are_seeded_and_carry_rising_times() -> None:
    made = list(lines(count=200, seed=3))
    assert made == list(lines(count=200, seed=3))
    assert [line[:19] for line in made] == sorted(line[:19] for line in made)
    assert all("\n" not in line and line[23] == "Z" for line in made)
