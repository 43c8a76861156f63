"""The collector's view of OTLP: validation, splitting, answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.keys import KEY_TEXT_CHARS_MAX, key_text
from driftlock.signals.otlp import Split, encode_response, encode_status, split

MEBIBYTE = 1 << 20


def cut(kind: Any, payload: bytes, **changes: Any) -> Split:
    options: dict[str, Any] = {
        "json": False,
        "tenant": "t",
        "attributes": (),
        "partitions": 32,
        "message_bytes_max": MEBIBYTE,
    }
    return split(kind, payload, **(options | changes))


def logs_request(
    services: list[str | None], records: int = 2, body: str = "hello"
) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    for service in services:
        resource = request.resource_logs.add(schema_url="https://example.test/schema")
        if service is not None:
            item = resource.resource.attributes.add(key="service.name")
            item.value.string_value = service
        scope = resource.scope_logs.add(schema_url="s")
        scope.scope.name = "lib"
        for n in range(records):
            scope.log_records.add(time_unix_nano=n + 1).body.string_value = f"{body} {service} {n}"
    return request


def bodies(parts: list[tuple[int, bytes]]) -> list[str]:
    return [
        record.body.string_value
        for _, raw in parts
        for resource in ExportLogsServiceRequest.FromString(raw).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def test_one_service_reuses_the_input_bytes() -> None:
    raw = logs_request(["a", "a"]).SerializeToString()
    got = cut("logs", raw)
    assert [part for _, part in got.parts] == [raw]
    assert (got.records, got.rejected, got.message) == (4, 0, "")


def test_services_go_to_their_own_partitions_and_nothing_is_lost() -> None:
    request = logs_request([f"s{n}" for n in range(100)])
    got = cut("logs", request.SerializeToString())
    assert 20 < len(got.parts) <= 32
    assert sorted(bodies(got.parts)) == sorted(bodies([(0, request.SerializeToString())]))
    again = cut("logs", logs_request(["s7"]).SerializeToString())
    home = [p for p, raw in got.parts if any(b.endswith("s7 0") for b in bodies([(p, raw)]))]
    assert home == [again.parts[0][0]]


def test_the_partition_follows_tenant_and_configured_attributes_but_not_the_signal() -> None:
    request = logs_request(["a"])
    request.resource_logs[0].resource.attributes.add(key="zone").value.string_value = "1"
    raw = request.SerializeToString()
    plain = {cut("logs", raw, tenant=f"t{n}").parts[0][0] for n in range(20)}
    assert len(plain) > 5
    zones = set()
    for n in range(20):
        request.resource_logs[0].resource.attributes[1].value.string_value = str(n)
        zones.add(cut("logs", request.SerializeToString(), attributes=("zone",)).parts[0][0])
    assert len(zones) > 5
    spans = trace_request([(b"t" * 16, b"s" * 8)], "a").SerializeToString()
    assert (
        cut("traces", spans).parts[0][0] == cut("logs", logs_request(["a"]).SerializeToString()).parts[0][0]
    )


def test_the_partition_is_stable_over_releases() -> None:
    # A change here moves every stream to another owner: only with a migration.
    got = [cut("logs", logs_request([s]).SerializeToString()).parts[0][0] for s in ("a", "checkout", None)]
    assert got == PINNED_PARTITIONS


PINNED_PARTITIONS = [18, 10, 21]


def test_missing_service_is_unknown_service() -> None:
    missing = cut("logs", logs_request([None]).SerializeToString())
    named = cut("logs", logs_request(["unknown_service"]).SerializeToString())
    assert missing.parts[0][0] == named.parts[0][0]


def test_an_empty_request_has_no_parts() -> None:
    assert cut("logs", b"") == Split([], 0, 0, "")
    assert cut("metrics", b"{}", json=True) == Split([], 0, 0, "")


@pytest.mark.parametrize("services", [["a"], ["a", "b", "c"]])
def test_a_large_request_is_cut_into_bounded_messages(services: list[str | None]) -> None:
    request = logs_request(services, records=50, body="x" * 200)
    got = cut("logs", request.SerializeToString(), message_bytes_max=2_000)
    assert all(len(raw) <= 2_000 for _, raw in got.parts)
    assert sorted(bodies(got.parts)) == sorted(bodies([(0, request.SerializeToString())]))
    assert got.records == 50 * len(services)
    for _, raw in got.parts:
        for resource in ExportLogsServiceRequest.FromString(raw).resource_logs:
            assert resource.schema_url == "https://example.test/schema"
            assert resource.resource.attributes[0].key == "service.name"
            assert resource.scope_logs[0].scope.name == "lib"


def test_a_record_larger_than_a_message_is_rejected_and_told() -> None:
    request = logs_request(["a"], records=3)
    request.resource_logs[0].scope_logs[0].log_records[1].body.string_value = "y" * 5_000
    got = cut("logs", request.SerializeToString(), message_bytes_max=2_000)
    assert (got.records, got.rejected) == (2, 1)
    assert "larger than a message" in got.message
    assert bodies(got.parts) == ["hello a 0", "hello a 2"]


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=30), st.integers(400, 4_000))
@settings(deadline=None, max_examples=60)
def test_cutting_keeps_order_and_size(sizes: list[int], limit: int) -> None:
    request = logs_request(["a"], records=0)
    for n, size in enumerate(sizes):
        record = request.resource_logs[0].scope_logs[0].log_records.add()
        record.body.string_value = f"{n} " + "x" * size
    got = cut("logs", request.SerializeToString(), message_bytes_max=limit)
    assert all(len(raw) <= limit for _, raw in got.parts)
    kept = [int(body.split()[0]) for body in bodies(got.parts)]
    assert kept == sorted(kept)
    assert got.records == len(kept)
    assert got.records + got.rejected == len(sizes)


def test_many_scopes_under_a_large_resource_do_not_multiply() -> None:
    """Each scope once took a message of its own: 4 MB became 1.7 GB with 400 scopes."""
    limit = 64 * 1024
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="big").value.string_value = "x" * (limit // 2 - 1_000)
    for n in range(5_000):
        scope = resource.scope_logs.add()
        scope.log_records.add(time_unix_nano=n + 1).body.string_value = str(n)
    payload = request.SerializeToString()
    got = cut("logs", payload, message_bytes_max=limit)
    assert (got.records, got.rejected) == (5_000, 0)
    assert bodies(got.parts) == [str(n) for n in range(5_000)]
    assert all(len(raw) <= limit for _, raw in got.parts)
    assert sum(len(raw) for _, raw in got.parts) <= 4 * len(payload)


def test_a_resource_too_large_to_repeat_is_rejected_and_told() -> None:
    request = logs_request(["a"], records=3)
    request.resource_logs[0].resource.attributes.add(key="big").value.string_value = "x" * 1_500
    got = cut("logs", request.SerializeToString() + b"\n\0" * 400, message_bytes_max=1_600)
    assert (got.records, got.rejected) == (0, 3)
    assert "larger than may be repeated" in got.message


def trace_request(ids: list[tuple[bytes, bytes]], service: str = "a") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_spans.add()
    for n, (trace_id, span_id) in enumerate(ids):
        scope.spans.add(trace_id=trace_id, span_id=span_id, name=f"n{n}")
    return request


def test_spans_with_bad_ids_are_rejected() -> None:
    good = (b"t" * 16, b"s" * 8)
    bad = [
        (b"", b"s" * 8),
        (b"t" * 16, b""),
        (b"\0" * 16, b"s" * 8),
        (b"t" * 16, b"\0" * 8),
        (b"t" * 15, b"s" * 8),
    ]
    got = cut("traces", trace_request([good, *bad, good]).SerializeToString())
    assert (got.records, got.rejected) == (2, 5)
    assert "trace_id" in got.message
    names = [
        s.name
        for s in ExportTraceServiceRequest.FromString(got.parts[0][1]).resource_spans[0].scope_spans[0].spans
    ]
    assert names == ["n0", "n6"]


def test_metric_records_are_points() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="a").gauge.data_points.add(as_int=1)
    histogram = metrics.add(name="b").histogram
    histogram.data_points.add()
    histogram.data_points.add()
    metrics.add(name="empty")
    got = cut("metrics", request.SerializeToString())
    assert got.records == 3


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\xff", b"\x0a\x05ab", b"hello", b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a\x7f"],
)
def test_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedTelemetryError):
        cut("logs", payload)


def test_invalid_utf8_is_malformed() -> None:
    raw = logs_request(["abc"]).SerializeToString().replace(b"hello", b"he\xffl\xfe")
    with pytest.raises(MalformedTelemetryError):
        cut("logs", raw)


def test_absurd_nesting_is_malformed_in_both_forms() -> None:
    value = {"stringValue": "x"}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": value}]}]}]}
    with pytest.raises(MalformedTelemetryError, match="nested"):
        cut("logs", json.dumps(document).encode(), json=True)
    raw = b""
    for _ in range(200):
        raw = b"\x2a" + _length(raw) + raw
        raw = b"\x0a" + _length(raw) + raw
    for tag in (b"\x2a", b"\x12", b"\x12", b"\x0a"):
        raw = tag + _length(raw) + raw
    with pytest.raises(MalformedTelemetryError):
        cut("logs", raw)
    with pytest.raises(MalformedTelemetryError):
        cut("logs", b"[" * 100_000, json=True)


def _length(raw: bytes) -> bytes:
    size, out = len(raw), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_the_deepest_json_that_is_accepted_can_be_read_back() -> None:
    accepted = 0
    for depth in range(30, 60):
        value: dict[str, Any] = {"stringValue": "x"}
        for _ in range(depth):
            value = {"arrayValue": {"values": [value]}}
        document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": value}]}]}]}
        try:
            got = cut("logs", json.dumps(document).encode(), json=True)
        except MalformedTelemetryError:
            continue
        ExportLogsServiceRequest.FromString(got.parts[0][1])
        accepted = depth
    assert 40 <= accepted < 59


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_random_bytes_are_split_or_refused(payload: bytes) -> None:
    for kind in ("logs", "metrics", "traces"):
        for form in (False, True):
            try:
                cut(kind, payload, json=form)
            except MalformedTelemetryError:
                continue


def test_json_form() -> None:
    document = {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]},
                "unknown": {"x": [1]},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": "1544712660300000000",
                                "observedTimeUnixNano": 1544712660300000001,
                                "severityNumber": 10,
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "eee19b7ec3c1b174",
                                "body": {"stringValue": "x"},
                                "attributes": [
                                    {"key": "i", "value": {"intValue": "-5"}},
                                    {"key": "d", "value": {"doubleValue": "NaN"}},
                                    {"key": "b", "value": {"bytesValue": "AQI="}},
                                    {"key": "n", "value": {"kvlistValue": {"values": [{"key": "k"}]}}},
                                    {"key": "z", "value": None},
                                ],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    got = cut("logs", json.dumps(document).encode(), json=True)
    (resource,) = ExportLogsServiceRequest.FromString(got.parts[0][1]).resource_logs
    record = resource.scope_logs[0].log_records[0]
    assert record.time_unix_nano == 1544712660300000000
    assert record.observed_time_unix_nano == 1544712660300000001
    assert record.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert record.span_id.hex() == "eee19b7ec3c1b174"
    assert record.severity_number == 10
    assert record.attributes[0].value.int_value == -5
    assert record.attributes[2].value.bytes_value == b"\x01\x02"
    assert record.attributes[3].value.kvlist_value.values[0].key == "k"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"severityNumber": "SEVERITY_NUMBER_INFO"}, "integer"),
        ({"timeUnixNano": "soon"}, "integer"),
        ({"timeUnixNano": -1}, "range"),
        ({"timeUnixNano": 2**64}, "range"),
        ({"traceId": "xyz"}, "hexadecimal"),
        ({"body": {"bytesValue": "!"}}, "base64"),
        ({"body": "text"}, "object"),
        ({"attributes": {}}, "array"),
        ({"body": {"boolValue": 1}}, "true or false"),
        ({"body": {"stringValue": "\ud800"}}, "not valid"),
    ],
)
def test_json_faults_are_told_with_their_place(record: dict[str, Any], told: str) -> None:
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    with pytest.raises(MalformedTelemetryError, match=told):
        cut("logs", json.dumps(document).encode(), json=True)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"3", b'{"resourceLogs": 3}', b"{", b"\xff", b'{"resourceLogs":[NaN]}']
)
def test_json_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedTelemetryError):
        cut("logs", payload, json=True)


def test_json_and_protobuf_say_the_same() -> None:
    span = {"traceId": "01" * 16, "spanId": "02" * 8, "name": "n", "kind": 2, "status": {"code": 2}}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span, span | {"spanId": ""}]}]}]}
    got = cut("traces", json.dumps(document).encode(), json=True)
    assert (got.records, got.rejected) == (1, 1)
    read = ExportTraceServiceRequest.FromString(got.parts[0][1]).resource_spans[0].scope_spans[0].spans[0]
    assert (read.trace_id, read.kind, read.status.code) == (b"\1" * 16, 2, 2)


def test_responses() -> None:
    assert encode_response("logs", 0, "", json=False) == b""
    assert encode_response("logs", 0, "", json=True) == b"{}"
    response = ExportLogsServiceResponse.FromString(encode_response("logs", 3, "why", json=False))
    assert response.partial_success.rejected_log_records == 3
    assert response.partial_success.error_message == "why"
    body = json.loads(encode_response("metrics", 3, "why", json=True))
    assert body == {"partialSuccess": {"rejectedDataPoints": "3", "errorMessage": "why"}}
    assert ExportLogsServiceResponse.FromString(encode_response("logs", 0, "warn", json=False)).HasField(
        "partial_success"
    )


def test_statuses() -> None:
    status = Status.FromString(encode_status(14, "later", json=False, retry_after_s=1.5))
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message, info.retry_delay.ToTimedelta().total_seconds()) == (14, "later", 1.5)
    assert not Status.FromString(encode_status(3, "bad", json=False)).details
    body = json.loads(encode_status(14, "later", json=True, retry_after_s=1.5))
    assert body["details"][0]["retryDelay"] == "1.5s"
    assert json.loads(encode_status(3, "bad", json=True)) == {"code": 3, "message": "bad"}


def test_names_are_harmless_bounded_and_distinct() -> None:
    assert key_text("a\0b\nc") == "a�b�c"
    long_a, long_b = key_text("x" * 300 + "a"), key_text("x" * 300 + "b")
    assert len(long_a) == KEY_TEXT_CHARS_MAX
    assert long_a != long_b


def test_the_collector_does_not_load_numba() -> None:
    code = "import sys, driftlock.signals.otlp; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
