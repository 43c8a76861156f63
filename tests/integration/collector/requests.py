"""Export requests to send."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def logs(*bodies: str, service: str = "shop") -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_logs.add()
    for body in bodies:
        scope.log_records.add(time_unix_nano=1).body.string_value = body
    return request.SerializeToString()


def metrics(service: str = "shop") -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    metric = resource.scope_metrics.add().metrics.add(name="load")
    metric.gauge.data_points.add(time_unix_nano=1, as_double=0.5)
    return request.SerializeToString()


def traces(*, good: int = 1, bad: int = 0, service: str = "shop") -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_spans.add()
    for number in range(good):
        scope.spans.add(
            trace_id=bytes(15) + b"\x01", span_id=bytes(7) + bytes([number + 1]), name="GET /", kind=2
        )
    for _ in range(bad):
        scope.spans.add(trace_id=b"short", span_id=b"", name="broken")
    return request.SerializeToString()


ALL = {"logs": logs("a"), "metrics": metrics(), "traces": traces()}
EMPTY = b""
