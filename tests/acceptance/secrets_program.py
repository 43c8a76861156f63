"""A program with the OpenTelemetry SDK that is careless with secrets: they stand in all that it sends.

Told by arguments: `usual` for a while of ordinary work, `strange` for what it never did before. Both are full
of what `support.planted` lists. The endpoint comes from the SDK's own environment.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import AnyValue

from support.planted import PLANTED, Planted

ROUNDS = {"usual": 40, "strange": 1}
POINTS = {"usual": 200, "strange": 3}
QUEUE_MAX = 50_000


def resource_with(service: str) -> Resource:
    """Secrets in the resource: in the attributes that split streams, and in others."""
    texts = {planted.name: planted.text for planted in PLANTED}
    return Resource.create(
        {
            "service.name": service,
            "owner": texts["e-mail"],
            "deploy.token": texts["github"],
            "process.command_line": f"server --{texts['password']} --db {texts['password in a url']}",
        }
    )


def log(resource: Resource, planted: Sequence[Planted], rounds: int, *, strange: bool) -> None:
    """Text bodies, structured bodies and attributes, a few of each secret in every round."""
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(), max_queue_size=QUEUE_MAX))
    logger = provider.get_logger("app")
    severity = SeverityNumber.FATAL if strange else SeverityNumber.INFO
    records = [one for planted_one in planted for one in records_with(planted_one.text, strange=strange)]
    records *= rounds
    random.Random(1).shuffle(records)
    for body, attributes in records:
        logger.emit(body=body, attributes=attributes, severity_number=severity)
    provider.shutdown()


def records_with(text: str, *, strange: bool) -> list[tuple[AnyValue, dict[str, AnyValue]]]:
    """Bodies and attributes of log records that hold a text."""
    if strange:
        return [
            (f"unforeseen dump of {text} on the way out", {}),
            (f"unforeseen value {{'raw': '{text}', 'n': 7}}", {}),
            ({"unforeseen": {"given": text, "headers": [text]}}, {}),
            ("unforeseen", {"input": text, "cause": "odd"}),
        ]
    return [
        (f"request by {text} served", {}),
        (f'{{"event": "login", "who": "{text}", "n": 7}}', {}),
        ({"event": "login", "who": text}, {}),
        ("stored", {"enduser.id": text, "ok": True}),
    ]


def trace(resource: Resource, planted: Sequence[Planted], rounds: int, *, strange: bool) -> None:
    """Names, attributes, messages of errors, exceptions; prompts and arguments of tools of a model."""
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=QUEUE_MAX))
    tracer = provider.get_tracer("app")
    for _ in range(rounds):
        for one in planted:
            name = f"recover {one.text}" if strange else "GET /orders"
            with tracer.start_as_current_span(name, attributes={"http.request.header": one.text}) as span:
                if strange:
                    span.record_exception(ValueError(one.text))
                    span.set_status(Status(StatusCode.ERROR, f"broken by {one.text}"))
                call_model(tracer, one, strange=strange)
    provider.shutdown()


def call_model(tracer, one: Planted, *, strange: bool) -> None:  # type: ignore[no-untyped-def]
    attributes = {
        "gen_ai.operation.name": "execute_tool" if strange else "chat",
        "gen_ai.provider.name": "example",
        "gen_ai.request.model": "small-1",
        "gen_ai.input.messages": f'[{{"role": "user", "content": "{one.text}"}}]',
        "gen_ai.prompt.0.content": one.text,
        "gen_ai.tool.call.arguments": f'{{"query": "{one.text}"}}',
        "input.value": one.text,
        "gen_ai.usage.input_tokens": 40,
    }
    with tracer.start_as_current_span("tool" if strange else "chat small-1", attributes=attributes) as span:
        span.add_event("gen_ai.user.message", {"content": one.text})
        if strange:
            span.set_status(Status(StatusCode.ERROR, f"the tool refused {one.text}"))


def measure(resource: Resource, planted: Sequence[Planted], points: int, *, strange: bool) -> None:
    """A gauge with a series for each secret, in its attributes."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=resource)
    gauge = provider.get_meter("app").create_gauge("queue.depth")
    for number in range(points):
        for one in planted:
            gauge.set(9_000.0 if strange else 100.0 + number % 7, {"user": one.text, "kind": one.name})
        reader.force_flush()
    provider.shutdown()


def main() -> None:
    phase = sys.argv[1]
    strange, rounds = phase == "strange", ROUNDS[phase]
    texts = {planted.name: planted.text for planted in PLANTED}
    resource = resource_with(f"shop of {texts['e-mail']}")
    log(resource, PLANTED, rounds, strange=strange)
    trace(resource, PLANTED, rounds, strange=strange)
    measure(resource, PLANTED, POINTS[phase], strange=strange)
    for one in PLANTED:  # streams whose very name is a secret
        log(resource_with(f"job {one.text}"), (one,), 1, strange=strange)


if __name__ == "__main__":
    main()
