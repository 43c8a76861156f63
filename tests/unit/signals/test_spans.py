"""Spans as canonical lines."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import Lines, SpanBatch
from driftlock.signals.spans import DURATION_BOUNDS_NS, decode_spans, operation_ends

MILLISECOND = 1_000_000


def add_span(request: ExportTraceServiceRequest, name: str, *, service: str = "shop", **fields: Any) -> Any:
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    attributes = fields.pop("attributes", {})
    span = resource.scope_spans.add().spans.add(name=name, trace_id=b"t" * 16, span_id=b"s" * 8, **fields)
    for key, value in attributes.items():
        target = span.attributes.add(key=key).value
        if isinstance(value, str):
            target.string_value = value
        elif isinstance(value, list):
            for one in value:
                target.array_value.values.add().string_value = one
        else:
            target.int_value = value
    return span


def decoded(request: ExportTraceServiceRequest) -> SpanBatch:
    return decode_spans(request.SerializeToString(), tenant="t", attributes=())


def lines(batch: SpanBatch) -> list[str]:
    return [batch.canonical[i].decode() for i in range(len(batch))]


def test_a_line_names_kind_status_attributes_and_duration() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(
        request,
        "GET /users/17",
        kind=2,
        start_time_unix_nano=10 * MILLISECOND,
        end_time_unix_nano=13 * MILLISECOND,
        attributes={"http.route": "/users/{id}", "http.response.status_code": 503, "peer.port": 40123},
    )
    span.status.code = 2
    span.status.message = "upstream 10.0.0.1 gone"
    span.events.add(name="exception").attributes.add(key="exception.type").value.string_value = "TimeoutError"
    batch = decoded(request)
    assert lines(batch) == [
        "SERVER GET /users/<num> ERROR upstream <ip> gone exception=TimeoutError "
        "http.response.status_code=503 http.route=/users/{id} peer.port=<num> took<duration>"
    ]
    assert (batch.status[0], batch.duration_ns[0], batch.time_ns[0]) == (2, 3 * MILLISECOND, 10 * MILLISECOND)
    assert batch.trace_id[0].tobytes() == b"t" * 16
    assert batch.keys[0].signal == "traces"


def test_slow_and_quick_calls_read_alike_and_differ_beside_the_line() -> None:
    request = ExportTraceServiceRequest()
    for duration in (1, 1, 900):
        add_span(request, "q", start_time_unix_nano=1, end_time_unix_nano=1 + duration * MILLISECOND)
    batch = decoded(request)
    assert batch.template[0] == batch.template[1] == batch.template[2]
    numbers = batch.canonical.numbers
    assert numbers[0] == numbers[1] != numbers[2]


def test_the_order_of_attributes_does_not_matter() -> None:
    request = ExportTraceServiceRequest()
    add_span(request, "q", attributes={"a": "x", "b": "y"})
    add_span(request, "q", attributes={"b": "y", "a": "x"})
    batch = decoded(request)
    assert batch.template[0] == batch.template[1]


def test_an_end_before_the_start_is_no_negative_duration() -> None:
    request = ExportTraceServiceRequest()
    add_span(request, "q", start_time_unix_nano=50, end_time_unix_nano=0)
    add_span(request, "q", start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**64 - 1)
    batch = decoded(request)
    assert batch.duration_ns.tolist() == [0, 0]
    assert batch.time_ns.tolist() == [50, 0]


@pytest.mark.parametrize("marker", ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system"])
def test_genai_spans_are_of_the_llm_signal(marker: str) -> None:
    request = ExportTraceServiceRequest()
    add_span(request, "db", service="bot")
    add_span(
        request,
        "chat",
        service="bot",
        attributes={
            marker: "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 5231,
            "gen_ai.usage.output_tokens": 0,
            "gen_ai.response.finish_reasons": ["stop", "length"],
            "gen_ai.input.messages": "hello " * 100,
        },
    )
    batch = decoded(request)
    assert [batch.keys[i].signal for i in batch.stream] == ["traces", "llm"]
    line = lines(batch)[1]
    assert "gen_ai.usage.input_tokens=thousands" in line
    assert "gen_ai.usage.output_tokens=none" in line
    assert "gen_ai.response.finish_reasons=length+stop" in line
    assert "gen_ai.input.messages=<text>" in line
    assert "hello" not in line
    assert line.endswith(" gen_ai.request.model=gpt-4o took<duration>")


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.prompt.0.content", "gen_ai.input.messages", "input.value", "ai.prompt.messages",
        "ai.toolCall.args",
        "retrieval.documents.0.document.content", "reranker.query", "embedding.embeddings.0.embedding.text",
    ],
)  # fmt: skip
def test_what_was_said_is_never_kept_however_short(key: str) -> None:
    request = ExportTraceServiceRequest()
    add_span(request, "chat", attributes={"gen_ai.system": "x", key: "my name is Bob"})
    add_span(request, "chat", attributes={key: "Bob"})
    assert all("=<text>" in line and "Bob" not in line for line in lines(decoded(request)))


def test_models_are_told_apart_and_what_is_no_name_of_one_is_masked() -> None:
    request = ExportTraceServiceRequest()
    names = ("m-1", "m-2", "m-2", "sk-0123456789abcdefghijklmn", "a model of mine 7")
    for name in names:
        add_span(
            request,
            "chat",
            end_time_unix_nano=900,
            attributes={"gen_ai.system": "x", "gen_ai.request.model": name, "gen_ai.response.model": "m-9"},
        )
    add_span(request, "db", attributes={"gen_ai.request.model": "m-1"})
    assert [line.partition(" ")[2] for line in lines(decoded(request))] == [
        "gen_ai.system=x gen_ai.request.model=m-1 gen_ai.response.model=m-9 took<duration>",
        *["gen_ai.system=x gen_ai.request.model=m-2 gen_ai.response.model=m-9 took<duration>"] * 2,
        "gen_ai.request.model=<secret> gen_ai.system=x gen_ai.response.model=m-9 took<duration>",
        'gen_ai.request.model="a model of mine <num>" gen_ai.system=x gen_ai.response.model=m-9'
        " took<duration>",
        "gen_ai.request.model=m-<num> took<duration>",
    ]


def test_secrets_in_attributes_are_masked() -> None:
    request = ExportTraceServiceRequest()
    add_span(
        request,
        "q",
        attributes={"http.request.header.authorization": "Basic dXNlcjpwYXNz", "db.password": "p w"},
    )
    assert "dXNl" not in lines(decoded(request))[0]
    assert 'db.password="<secret>"' in lines(decoded(request))[0]


def test_durations_are_kept_beside_the_line_in_two_sizes_before_its_numbers() -> None:
    request = ExportTraceServiceRequest()
    told = [0, 1, 62_499, *(int(bound) + more for bound in DURATION_BOUNDS_NS for more in (-1, 0)), 10**15]
    for duration in told:
        add_span(request, "q", attributes={"rows": 1_234}, end_time_unix_nano=duration)
    batch = decoded(request)
    assert set(lines(batch)) == {"q rows=<num> took<duration>"}
    for duration, packed in zip(told, batch.canonical.numbers.tolist(), strict=True):
        first, second, rows, none = (packed >> shift & 15 for shift in (0, 4, 8, 12))
        assert first == 2 + sum(duration >= 62_500 * 4**n for n in range(13))
        assert second == 2 + sum(duration >= 125_000 * 4**n for n in range(13))
        assert (rows, none) == (9, 0)


def test_empty_and_malformed() -> None:
    assert len(decode_spans(b"", tenant="t", attributes=())) == 0
    with pytest.raises(MalformedTelemetryError):
        decode_spans(b"\xff", tenant="t", attributes=())


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("SERVER GET /cart took<duration>", "SERVER GET /cart"),
        ("SERVER GET /cart OK http.method=GET took<duration>", "SERVER GET /cart"),
        ("CLIENT SELECT shop ERROR deadline exceeded took<duration>", "CLIENT SELECT shop"),
        ("INTERNAL worker exception=ValueError took<duration>", "INTERNAL worker"),
        ("SELECT * FROM t WHERE id=<num> took<duration>", "SELECT * FROM t WHERE"),
        ("OK computer took<duration>", "OK computer"),
        ("took<duration>", "took<duration>"),
        ("a=b took<duration>", ""),
        ("CLIENT ERRORS OKAY taken took<duration>", "CLIENT ERRORS OKAY taken"),
        ("", ""),
    ],
)
def test_an_operation_is_what_comes_before_status_attributes_and_duration(line: str, operation: str) -> None:
    raw = line.encode()
    ends = operation_ends(
        Lines(np.frombuffer(b"xx " + raw, np.uint8), np.array([3, 3 + len(raw)]), np.zeros(1, np.uint32))
    )
    assert raw[: ends[0]].decode() == operation


def test_span_ids_become_numbers_none_a_zero_and_what_is_no_id_a_one() -> None:
    payload = ExportTraceServiceRequest()
    block = payload.resource_spans.add().scope_spans.add()
    rng = random.Random(1)
    ids = [rng.randbytes(8) for _ in range(3_000)] + [n.to_bytes(8, "big") for n in range(1, 3_001)]
    root, untold = (b"short", b""), (bytes(8), b"x" * 9)
    for own, parent in [*pairwise(ids), root, untold]:
        block.spans.add(trace_id=bytes([1] * 16), span_id=own, parent_span_id=parent, name="a")
    calls = decode_spans(payload.SerializeToString(), tenant="t", attributes=()).calls
    assert calls[-2:].tolist() == [[1, 0], [0, 1]]
    named = calls[:-2]
    assert (named >= 2).all()
    assert (named[:-1, 1] == named[1:, 0]).all(), "a parent is told as the span itself is"
    # of random ids, and of ids that count up: with 16 bits each, every fiftieth trace of fifty spans would
    # hold two alike, and a caller that was none
    assert len(np.unique(named[:, 0])) == len(named)
