"""Log records as canonical lines: the compiled walk against the protobuf library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from driftlock.errors import MalformedTelemetryError
from driftlock.signals import logs as module
from driftlock.signals.batch import LogBatch, StreamKey
from driftlock.signals.logs import decode_logs
from driftlock.signals.sessions import DEFAULT_SESSIONS, Sessions

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))
SECOND = 1_000_000_000


# ---- building requests


def value_of(python: Any) -> AnyValue:
    value = AnyValue()
    if isinstance(python, bool):
        value.bool_value = python
    elif isinstance(python, int):
        value.int_value = python
    elif isinstance(python, float):
        value.double_value = python
    elif isinstance(python, bytes):
        value.bytes_value = python
    elif isinstance(python, str):
        value.string_value = python
    elif isinstance(python, list):
        value.array_value.SetInParent()
        value.array_value.values.extend(value_of(one) for one in python)
    elif isinstance(python, dict):
        value.kvlist_value.SetInParent()
        value.kvlist_value.values.extend(pairs_of(python))
    return value


def pairs_of(python: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(one)) for key, one in python.items()]


def record_of(body: Any = "hello", attributes: dict[str, Any] | None = None, **fields: Any) -> LogRecord:
    return LogRecord(body=value_of(body), attributes=pairs_of(attributes or {}), **fields)


def request_of(*records: LogRecord, service: str = "shop", **resource: Any) -> ExportLogsServiceRequest:
    attributes = pairs_of({"service.name": service, **resource})
    scope = ScopeLogs(scope=InstrumentationScope(name="lib", version="1"), log_records=list(records))
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=Resource(attributes=attributes), scope_logs=[scope])]
    )


def decoded(request: ExportLogsServiceRequest | bytes, attributes: tuple[str, ...] = ()) -> LogBatch:
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    return decode_logs(payload, tenant="t", attributes=attributes)


def lines(batch: LogBatch) -> list[str]:
    return [batch.canonical[i].decode() for i in range(len(batch))]


def line(body: Any = "hello", attributes: dict[str, Any] | None = None, **fields: Any) -> str:
    return lines(decoded(request_of(record_of(body, attributes, **fields))))[0]


# ---- what a line says


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"severity_number": 1}, "TRACE hello"),
        ({"severity_number": 8}, "DEBUG hello"),
        ({"severity_number": 9, "severity_text": "informational"}, "INFO hello"),
        ({"severity_number": 13}, "WARN hello"),
        ({"severity_number": 20}, "ERROR hello"),
        ({"severity_number": 24}, "FATAL hello"),
        ({"severity_number": 25, "severity_text": "odd"}, "odd hello"),
        ({"severity_number": -3}, "hello"),
        ({"severity_text": "Notice"}, "Notice hello"),
        ({"event_name": "user.login"}, "user.login hello"),
    ],
)
def test_severity_and_event_name_come_first(fields: dict[str, Any], expected: str) -> None:
    assert line(**fields) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("took 15 ms\nat 10.0.0.1", "took <num> ms⏎at <ip>"),
        (None, ""),
        ("", ""),
        (12, "<num>"),
        (-(2**63), "<num>"),
        (True, "true"),
        (1.5, "<num>"),
        (b"\0\1", "<bytes>"),
        ({"b": 2, "a": "x y", "c": {"d": [1, "z"]}}, 'a="x y" b=<num> c={d=[<num>, z]}'),
        ([], "[]"),
        ({}, ""),
    ],
)
def test_bodies(body: Any, expected: str) -> None:
    assert line(body) == expected


def test_attributes_are_sorted_masked_and_bounded() -> None:
    attributes = {
        "http.status_code": 503,
        "user.id": "8c5f9a30-21f5-4b5c-9c5e-3a8c0c8f2d11",
        "retry": False,
        "load": 0.75,
        "exception.stacktrace": "at x\n" * 50,
        "argv": ["a", "b"],
        "db.password": "two words",
    }
    assert line("x", attributes) == (
        'x argv=<list> db.password="<secret>" exception.stacktrace=<text> http.status_code=503 '
        "load=<num> retry=false user.id=<uuid>"
    )
    many = line("x", {f"key{n:03}": "v" * 60 for n in range(100)})
    assert len(many) < 1_000
    assert many.startswith("x key<num>=vvvv")


def test_a_long_body_keeps_its_attributes() -> None:
    got = line("word " * 2_000, {"zone": "eu"})
    assert got.endswith("<cut> zone=eu")
    assert len(got) < 4_096


def test_times_fall_back() -> None:
    records = [
        record_of(time_unix_nano=5, observed_time_unix_nano=7),
        record_of(observed_time_unix_nano=7),
        record_of(),
        record_of(time_unix_nano=2**64 - 1, observed_time_unix_nano=7),
        record_of(time_unix_nano=2**63, observed_time_unix_nano=2**63),
    ]
    assert decoded(request_of(*records)).time_ns.tolist() == [5, 7, 0, 7, 0]


def test_trace_ids_of_another_length_are_absent() -> None:
    batch = decoded(request_of(record_of(trace_id=b"t" * 16), record_of(trace_id=b"t" * 15), record_of()))
    assert [row.tobytes() for row in batch.trace_id] == [b"t" * 16, bytes(16), bytes(16)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("my name is Bob", "gen_ai.user.message <text>"),
        ({"content": "Bob", "role": "user"}, "gen_ai.user.message content=<text> role=user"),
        (
            {"message": {"content": "Bob", "role": "assistant"}, "finish_reason": "stop", "index": 3},
            "gen_ai.user.message finish_reason=stop index=<num> message={content=<text> role=assistant}",
        ),
        (["Bob", 5], "gen_ai.user.message [<text>, <num>]"),
    ],
)
def test_what_was_said_to_a_model_is_never_kept(body: Any, expected: str) -> None:
    assert line(body, event_name="gen_ai.user.message") == expected
    assert "Bob" not in line("hello", {"gen_ai.prompt": "Bob", "gen_ai.completion.0.content": "Bob"})
    assert "Bob" not in line(body, {"gen_ai.system": "x"})


def test_streams_are_service_signal_and_configured_attributes() -> None:
    request = request_of(record_of(), zone="eu", team=7)
    request.MergeFrom(request_of(record_of(), record_of(event_name="gen_ai.choice"), service="bot"))
    request.MergeFrom(request_of(record_of(attributes={"gen_ai.system": "x"}), record_of(), service="bot"))
    batch = decoded(request, attributes=("team", "zone", "absent"))
    assert [batch.keys[i] for i in batch.stream] == [
        StreamKey("t", "logs", "shop", (("team", "7"), ("zone", "eu"))),
        StreamKey("t", "logs", "bot"),
        StreamKey("t", "llm", "bot"),
        StreamKey("t", "llm", "bot"),
        StreamKey("t", "logs", "bot"),
    ]
    assert len(batch.keys) == 3


def test_a_resource_without_a_name_or_none_at_all_is_unknown() -> None:
    bare = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record_of()])])]
    )
    assert decoded(bare).keys[0].service == "unknown_service"
    assert decoded(request_of(record_of(), service="")).keys[0].service == "unknown_service"
    assert decoded(request_of(record_of(), service="a\0b\n")).keys[0].service == "a�b�"


def test_an_empty_request_is_an_empty_batch() -> None:
    assert len(decoded(b"")) == 0
    assert len(decoded(ExportLogsServiceRequest(resource_logs=[ResourceLogs()]))) == 0


# ---- the walk and the library agree

texts = st.text(max_size=12) | st.sampled_from(
    [
        "gen_ai.system",
        "gen_ai.prompt",
        "gen_ai.prompt.0.x",
        "input.valu",
        "input.value",
        "ai.prompt",
        "ai.prompts",
        "ai.promp",
        "llm.prompts",
        "a b",
        "token",
        "x" * 80,
        "y" * 300,
        "status",
        "zone",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts | st.binary(max_size=4)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
pairs = st.lists(st.tuples(texts, scalars | st.lists(texts, max_size=2)), max_size=6)
records = st.builds(
    lambda body, attributes, **fields: LogRecord(
        body=body if body is None else value_of(body),
        attributes=[KeyValue(key=k, value=value_of(v)) for k, v in attributes],
        **fields,
    ),
    body=scalars,
    attributes=pairs,
    time_unix_nano=st.integers(0, 2**64 - 1),
    observed_time_unix_nano=st.integers(0, 2**64 - 1),
    severity_number=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 25),
    severity_text=texts,
    event_name=texts,
    trace_id=st.binary(min_size=15, max_size=17),
    span_id=st.binary(max_size=8),
    flags=st.integers(0, 2**32 - 1),
    dropped_attributes_count=st.integers(0, 2**32 - 1),
)
scopes = st.builds(
    lambda found, name, schema: ScopeLogs(
        scope=InstrumentationScope(name=name), schema_url=schema, log_records=found
    ),
    st.lists(records, max_size=4),
    texts,
    texts,
)
requests = st.lists(
    st.builds(
        lambda found, attributes: ResourceLogs(
            resource=Resource(attributes=[KeyValue(key=k, value=value_of(v)) for k, v in attributes]),
            scope_logs=found,
        ),
        st.lists(scopes, max_size=3),
        pairs | st.just([("service.name", "a")]),
    ),
    max_size=3,
).map(lambda found: ExportLogsServiceRequest(resource_logs=found))


HOSTILE = Sessions(("status", "x" * 80, "gen_ai.system", "zone"), pattern=r"[a-z0-9]+|b(.)")


def same(walked: LogBatch, parsed: LogBatch) -> None:
    assert list(walked.sessions) == list(parsed.sessions)
    assert [walked.keys[i] for i in walked.stream] == [parsed.keys[i] for i in parsed.stream]
    assert list(walked.keys) == list(parsed.keys)
    for name in ("time_ns", "severity", "trace_id", "template"):
        np.testing.assert_array_equal(getattr(walked, name), getattr(parsed, name))
        assert getattr(walked, name).dtype == getattr(parsed, name).dtype
    assert lines(walked) == lines(parsed)


def agree(payload: bytes) -> bool:
    """Check the two against each other; whether the walk took the payload."""
    return min(_agree(payload, sessions) for sessions in (DEFAULT_SESSIONS, HOSTILE))


def _agree(payload: bytes, sessions: Sessions) -> bool:
    try:
        parsed: LogBatch | None = module._parsed(payload, "t", ("zone",), sessions=sessions)
    except MalformedTelemetryError:
        parsed = None
    try:
        walked = module._walked(payload, "t", ("zone",), sessions=sessions)
    except MalformedTelemetryError:
        assert parsed is None
        return False
    if walked is None:
        return False
    assert parsed is not None, "the walk took what the protobuf library refuses"
    same(walked, parsed)
    return True


@given(requests)
@SLOW
def test_the_walk_takes_every_usual_request_and_reads_it_alike(request: ExportLogsServiceRequest) -> None:
    assert agree(request.SerializeToString())


@given(requests, requests)
@SLOW
def test_concatenated_requests(first: ExportLogsServiceRequest, second: ExportLogsServiceRequest) -> None:
    assert agree(first.SerializeToString() + second.SerializeToString())


@given(requests, st.integers(0, 10_000))
@SLOW
def test_truncated_requests(request: ExportLogsServiceRequest, at: int) -> None:
    payload = request.SerializeToString()
    agree(payload[: at % (len(payload) + 1)])


@given(requests, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
@settings(SLOW, max_examples=300)
def test_changed_bytes(request: ExportLogsServiceRequest, changes: list[tuple[int, int]]) -> None:
    payload = bytearray(request.SerializeToString() or b"\0")
    for at, byte in changes:
        payload[at % len(payload)] = byte
    agree(bytes(payload))


@given(st.binary(max_size=60))
@settings(SLOW, max_examples=300)
def test_random_bytes(payload: bytes) -> None:
    agree(payload)


def wrap(field: int, raw: bytes) -> bytes:
    assert len(raw) < 128
    return bytes([field << 3 | 2, len(raw)]) + raw


fields = st.one_of(
    st.builds(wrap, st.integers(1, 15), st.binary(max_size=6)),
    st.builds(lambda field, value: bytes([field << 3, value]), st.integers(1, 15), st.integers(0, 127)),
    st.builds(
        lambda field, raw: bytes([field << 3 | 1]) + raw,
        st.integers(1, 15),
        st.binary(min_size=8, max_size=8),
    ),
    st.builds(
        lambda field, raw: bytes([field << 3 | 5]) + raw,
        st.integers(1, 15),
        st.binary(min_size=4, max_size=4),
    ),
    st.just(b"\x7b\x7c"),
    st.just(b"\xa0\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    st.builds(lambda text: wrap(5, wrap(1, text.encode())), st.text(max_size=5)),
    st.builds(
        lambda key, text: wrap(6, wrap(1, key.encode()) + wrap(2, wrap(1, text.encode()))),
        texts.filter(lambda t: len(t) < 9),
        st.text(max_size=5),
    ),
)


@given(st.lists(fields, max_size=5), st.lists(fields, max_size=2), st.lists(fields, max_size=2))
@settings(SLOW, max_examples=500)
@example([wrap(5, wrap(1, b"a")), wrap(5, wrap(1, b"b"))], [], [])
@example([wrap(5, wrap(1, b"a") + bytes([3 << 3, 7]))], [], [])
@example([wrap(5, wrap(1, b"\xff"))], [], [])
@example([], [wrap(1, b"\x0a\x01\xff")], [])
def test_any_fields_in_any_order(inner: list[bytes], scope: list[bytes], resource: list[bytes]) -> None:
    # Unknown fields, repeated singular fields, fields of another wire type, groups.
    record = b"".join(inner)[:100]
    payload = wrap(1, (wrap(2, (wrap(2, record) + b"".join(scope))[:110]) + b"".join(resource))[:120])
    agree(payload)


def test_every_prefix_of_a_message_is_read_or_refused() -> None:
    payload = request_of(
        record_of("x", {"a": 1, "b": "y", "c": [1]}, trace_id=b"t" * 16, severity_number=9, event_name="e")
    ).SerializeToString()
    taken = [agree(payload[:end]) for end in range(len(payload) + 1)]
    assert taken[-1]
    assert sum(taken) < 5


def test_structured_bodies_are_read_by_the_library() -> None:
    batch = decoded(request_of(record_of({"b": 1, "a": 2}), record_of({"a": 2, "b": 1}), record_of("x")))
    assert batch.template[0] == batch.template[1]
    assert lines(batch)[2] == "x"


def test_absurd_nesting_is_bounded_or_refused() -> None:
    value: Any = "x"
    for _ in range(25):
        value = {"k": value}
    assert "<map>" in line(value)
    wide = line({f"k{n}": [1] * 50 for n in range(1_000)})
    assert len(wide) <= 2 * 4_096
    raw = b""
    for _ in range(300):
        raw = _long(5, _long(1, raw))
    payload = _long(1, _long(2, _long(2, _long(5, raw))))
    with pytest.raises(DecodeError):
        ExportLogsServiceRequest.FromString(payload)
    with pytest.raises(MalformedTelemetryError):
        decoded(payload)


def _long(field: int, raw: bytes) -> bytes:
    size, out = len(raw), bytearray([field << 3 | 2])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size]) + raw


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05ab", b"hello", b"\x0a\x02\x0a\x7f"])
def test_malformed_messages_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedTelemetryError):
        decoded(payload)


def test_decoding_does_not_depend_on_how_records_are_batched() -> None:
    found = [record_of(f"user {n} did {n % 3}", {"n": n}, time_unix_nano=n * SECOND) for n in range(20)]
    whole = decoded(request_of(*found))
    single = [decoded(request_of(record)) for record in found]
    assert whole.template.tolist() == [int(one.template[0]) for one in single]
