"""A little telemetry of every signal, as OTLP bytes: what compiled code is tried on before real data."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVICES = ("sample-a", "sample-b")


def sample_logs(records: int) -> bytes:
    """An ExportLogsServiceRequest of two services with `records` log records each."""
    request = ExportLogsServiceRequest()
    for service in SERVICES:
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        scope = resource.scope_logs.add()
        for number in range(records):
            record = scope.log_records.add(time_unix_nano=number + 1, severity_number=9)
            record.body.string_value = f"request {number} from 10.0.0.{number % 255} took {number % 7} ms"
            record.attributes.add(key="http.status").value.int_value = 200
    return bytes(request.SerializeToString())


def sample_spans(traces: int) -> bytes:
    """An ExportTraceServiceRequest of one service with `traces` traces of two spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = SERVICES[0]
    scope = resource.scope_spans.add()
    for number in range(2 * traces):
        span = scope.spans.add(name=f"operation {number % 2}", kind=2)
        span.trace_id, span.span_id = (number // 2 + 1).to_bytes(16, "big"), (number + 1).to_bytes(8, "big")
        span.start_time_unix_nano, span.end_time_unix_nano = 1, 1_000_000
    return bytes(request.SerializeToString())


def sample_points(points: int) -> bytes:
    """An ExportMetricsServiceRequest of one service with one gauge of `points` points."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = SERVICES[0]
    metric = resource.scope_metrics.add().metrics.add(name="sample")
    for number in range(points):
        metric.gauge.data_points.add(time_unix_nano=number + 1, as_double=number % 5)
    return bytes(request.SerializeToString())
