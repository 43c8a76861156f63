"""No secret of `support.planted` passes, wherever it stands, and wherever a limit of ours cuts it in two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from driftlock.signals import log_text, spans
from driftlock.signals.batch import Lines
from driftlock.signals.canonical import LINE_BYTES_MAX
from driftlock.signals.keys import KEY_TEXT_CHARS_MAX
from driftlock.signals.logs import decode_logs
from driftlock.signals.points import decode_points
from driftlock.signals.redaction import redact
from driftlock.signals.spans import decode_spans
from driftlock.signals.textlog import text_batch
from support.planted import PLANTED, found_in

AROUND = (
    "{}", "failed with {} for x", "k={} y=1", '{{"k": "{}", "n": 1}}', "k='{}'", "[{}]", "({})", "{},",
    "foo:{}", "x {}. y", '\\"k\\":\\"{}\\"', "k={};z", "POST /path/{}/x", "x|{}|y", "<{}>", "{}\nnext",
    "at {}:12", "--opt={}",
)  # fmt: skip
LONG = " and more of it, " * 20


def before_a_cut(size: int) -> Iterator[str]:
    """Each secret placed so that a cut after `size` bytes falls between any two of its characters."""
    for planted in PLANTED:
        for kept in range(1, len(planted.text)):
            lead = size - kept
            yield "w " * (lead // 2) + " " * (lead % 2) + planted.text + LONG


def all_of(lines: Lines) -> str:
    return "\n".join(lines[index].decode() for index in range(len(lines)))


def bodies(texts: list[str]) -> str:
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add().scope_logs.add()
    for text in texts:
        block.log_records.add().body.string_value = text
        block.log_records.add().body.kvlist_value.values.add(key="k").value.string_value = text
    return all_of(decode_logs(request.SerializeToString(), tenant="t", attributes=()).canonical)


@pytest.mark.parametrize("around", AROUND)
def test_in_any_surroundings(around: str) -> None:
    texts = [around.format(planted.text) for planted in PLANTED]
    assert not found_in(bodies(texts))
    assert not found_in("\n".join(redact(text) for text in texts))


def test_cut_by_the_limit_on_bodies_and_lines() -> None:
    assert not found_in(bodies(list(before_a_cut(log_text.BODY_BYTES_MAX))))
    file = "\n".join(text.replace("\n", " ") for text in before_a_cut(LINE_BYTES_MAX))
    assert not found_in(all_of(text_batch(file.encode()).canonical))


def test_cut_by_the_limits_on_spans() -> None:
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add().scope_spans.add()
    for text in before_a_cut(spans.NAME_BYTES_MAX):
        block.spans.add(name=text)
    for text in before_a_cut(spans.STATUS_BYTES_MAX):
        span = block.spans.add()
        span.status.code, span.status.message = 2, text
    lines = all_of(decode_spans(request.SerializeToString(), tenant="t", attributes=()).canonical)
    assert "w w w" in lines
    assert not found_in(lines)


def test_cut_by_the_limit_on_names() -> None:
    digest_chars = 17
    told = []
    for text in before_a_cut(KEY_TEXT_CHARS_MAX - digest_chars):
        request = ExportMetricsServiceRequest()
        block = request.resource_metrics.add()
        for name in ("service.name", "owner"):
            block.resource.attributes.add(key=name).value.string_value = text
        metric = block.scope_metrics.add().metrics.add(name="depth")
        point = metric.gauge.data_points.add(time_unix_nano=1, as_double=1)
        point.attributes.add(key="user").value.string_value = text
        batch = decode_points(request.SerializeToString(), tenant="t", attributes=("owner",))
        told += [batch.keys[0].name, *batch.names.values()]
    assert not found_in("\n".join(told))
