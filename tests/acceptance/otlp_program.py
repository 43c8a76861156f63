"""A program with the OpenTelemetry SDK, as anybody's: it logs, counts and traces, exports and ends.

Told by arguments: grpc or http, and the compression. The endpoint comes from the SDK's own environment.
"""

from __future__ import annotations

import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

RECORDS = 1500
SPANS = 700


def exporters(protocol: str):  # type: ignore[no-untyped-def]
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPLogExporter(), OTLPMetricExporter(), OTLPSpanExporter()


def main() -> None:
    to_logs, to_metrics, to_spans = exporters(sys.argv[1])
    resource = Resource.create({"service.name": "checkout"})

    log_provider = LoggerProvider(resource=resource)
    log_provider.add_log_record_processor(BatchLogRecordProcessor(to_logs))
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.addHandler(LoggingHandler(logger_provider=log_provider))
    for number in range(RECORDS):
        logger.warning("order %d took too long", number)

    meter_provider = MeterProvider([PeriodicExportingMetricReader(to_metrics)], resource=resource)
    meter_provider.get_meter("app").create_counter("orders").add(RECORDS, {"shop": "north"})

    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(to_spans, max_queue_size=10_000))
    tracer = tracer_provider.get_tracer("app")
    for _ in range(SPANS):
        with tracer.start_as_current_span("GET /orders"):
            pass

    for provider in (log_provider, meter_provider, tracer_provider):
        provider.force_flush()
        provider.shutdown()


if __name__ == "__main__":
    main()
