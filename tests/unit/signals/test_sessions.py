"""Session keys: read as a slow reading of the rules says, and safe to keep whatever senders write."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from driftlock.errors import UsageError
from driftlock.signals.batch import LogBatch
from driftlock.signals.logs import decode_logs, decode_logs_together
from driftlock.signals.masking import Masking
from driftlock.signals.sessions import KEY_CHARS_MAX, VALUE_CHARS_MAX, Sessions, session_key
from driftlock.signals.spans import decode_spans

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))
CONVERSATION = "gen_ai.conversation.id"
NAMES = ("session.id", "b", "n" * 70)
PLAIN = Masking.of(redact=("none",))


def pair(key: str, value: Any) -> KeyValue:
    if isinstance(value, list):
        made = AnyValue()
        made.array_value.SetInParent()
        return KeyValue(key=key, value=made)
    fields = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    fields |= {bytes: "bytes_value"}
    return KeyValue(key=key, value=AnyValue(**{fields[type(value)]: value}))


def record(body: str | None = None, *attributes: tuple[str, Any], **fields: Any) -> LogRecord:
    made = LogRecord(attributes=[pair(*one) for one in attributes], **fields)
    if body is not None:
        made.body.string_value = body
    return made


def request(records: list[LogRecord], *resource: tuple[str, Any]) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    part = made.resource_logs.add()
    part.resource.attributes.extend(pair(*one) for one in (("service.name", "shop"), *resource))
    part.scope_logs.add().log_records.extend(records)
    return made


def decoded(made: ExportLogsServiceRequest, sessions: Sessions, masking: Masking = PLAIN) -> LogBatch:
    payload = made.SerializeToString()
    return decode_logs(payload, tenant="t", attributes=(), masking=masking, sessions=sessions)


def told(batch: LogBatch) -> list[str]:
    return [key.decode() for key in batch.sessions] or [""] * len(batch)


# ---- the rules, read slowly


def slow_key(one: LogRecord, resource: list[tuple[str, Any]], names: tuple[str, ...]) -> str:
    """The key by the rules, for values that need no cleaning: the first name with a value, record first."""
    for pairs in (
        [(item.key, item.value) for item in one.attributes],
        [(k, pair(k, v).value) for k, v in resource],
    ):
        for name in names:
            for key, value in pairs:
                kind = value.WhichOneof("value")
                if key != name or kind not in ("string_value", "int_value", "bool_value"):
                    continue
                text = str(getattr(value, kind))
                if kind == "bool_value":
                    text = text.lower()
                if text:
                    return text
    return ""


words = st.sampled_from(["", "7", "a-1", "x" * 60, "Kundin-ä"])
values = (
    words
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats()
    | st.just([])
    | st.binary(max_size=3)
)
pairs = st.lists(
    st.tuples(st.sampled_from([*NAMES, "session.ie", "c", "n" * 69, "gen_ai.x"]), values), max_size=40
)


@SLOW
@given(st.lists(pairs, max_size=4), pairs, st.permutations(NAMES))
def test_attributes_name_sessions_as_the_rules_say(
    found: list[list[tuple[str, Any]]], resource: list[tuple[str, Any]], names: list[str]
) -> None:
    records = [record("x", *attributes) for attributes in found]
    chosen = Sessions.of(attributes=names)
    batch = decoded(request(records, *resource), chosen)
    keys = [slow_key(one, resource, tuple(names)) for one in records]
    assert told(batch) == keys
    assert [batch.keys[i].unit for i in batch.stream] == ["session" if key else "" for key in keys]
    for row in range(len(batch)):
        assert not any(f" {name}=" in batch.canonical[row].decode() for name in names)


@SLOW
@given(st.lists(st.none() | st.text(alphabet="abk_1 \n(é", max_size=12), max_size=8))
@pytest.mark.parametrize("pattern", [r"k_\d", r"a(b+|k)?", r"^(?:a|b)(.)$", r" é|\("])
def test_a_pattern_names_sessions_as_python_s_would(pattern: str, bodies: list[str | None]) -> None:
    expected = []
    for body in bodies:
        match = re.search(pattern.replace("$", r"\Z"), body or "")
        text = "" if match is None else match.group(1 if match.re.groups else 0) or ""
        expected.append(text.strip().translate({10: "�"}) if text.strip() else "")
    batch = decoded(request([record(body) for body in bodies]), Sessions.of(attributes=(), pattern=pattern))
    assert told(batch) == expected


def test_an_attribute_goes_before_the_pattern_and_a_structured_body_is_asked_as_it_reads() -> None:
    structured = record(None, ("user.name", "eve"))
    structured.body.kvlist_value.values.append(pair("block", "blk_3"))
    records = [record("on blk_1", ("session.id", "s")), record("on blk_2"), structured, record("on none")]
    chosen = Sessions.of(attributes=("session.id",), pattern=r"blk_\d")
    assert told(decoded(request(records), chosen)) == ["s", "blk_2", "blk_3", ""]
    assert told(decoded(request(records, ("session.id", 4)), chosen)) == ["s", "4", "4", "4"]
    assert told(decoded(request(records[:2] + records[3:]), chosen)) == ["s", "blk_2", ""]


def test_what_is_said_to_a_model_names_no_session() -> None:
    records = [record("call me Bob", event_name="gen_ai.user.message"), record("call me Bob")]
    batch = decoded(request(records), Sessions.of(pattern="Bob"))
    assert told(batch) == ["", "Bob"]
    assert [(batch.keys[i].signal, batch.keys[i].unit) for i in batch.stream] == [
        ("llm", ""),
        ("logs", "session"),
    ]


def test_several_requests_at_once_have_the_keys_of_each() -> None:
    payloads = [
        request([record("x", ("session.id", n)), record("y")], *resource).SerializeToString()
        for n, resource in enumerate([(), (("session.id", "r"),)])
    ]
    chosen = Sessions.of(attributes=("session.id",))
    found = decode_logs_together(payloads, tenant="t", attributes=(), sessions=chosen)
    assert found is not None
    assert told(found[0]) == ["0", "", "1", "r"]
    assert found[1].tolist() == [2, 2]


# ---- LLM calls


def spans(*attributes: dict[str, Any], **resource: Any) -> bytes:
    made = ExportTraceServiceRequest()
    part = made.resource_spans.add()
    part.resource.attributes.extend(pair(*one) for one in resource.items())
    for one in attributes:
        span = part.scope_spans.add().spans.add(name="chat", trace_id=b"t" * 16, span_id=b"s" * 8)
        span.attributes.extend(pair(key, value) for key, value in one.items())
    return made.SerializeToString()


def test_a_conversation_is_a_session_and_other_spans_stay_with_their_traces() -> None:
    llm = {"gen_ai.system": "openai"}
    payload = spans({**llm, CONVERSATION: "conv-a"}, llm, {CONVERSATION: "conv-a"})
    batch = decode_spans(payload, tenant="t", attributes=())
    assert batch.sessions == [b"conv-a", b"", b""]
    kinds = [(batch.keys[i].signal, batch.keys[i].unit) for i in batch.stream]
    assert kinds == [("llm", "session"), ("llm", ""), ("traces", "")]
    lines = [batch.canonical[i].decode() for i in range(3)]
    assert lines[0] == lines[1] == "chat gen_ai.system=openai took<duration>"
    assert "conversation" in lines[2], "a session attribute means nothing to a plain span"
    without = decode_spans(payload, tenant="t", attributes=(), sessions=Sessions.of(attributes=("none",)))
    assert (without.sessions, len(without.keys)) == ((), 2)


def test_records_and_spans_of_a_conversation_share_a_stream() -> None:
    resource = {"service.name": "bot", CONVERSATION: "c"}
    span = decode_spans(spans({"gen_ai.system": "x"}, **resource), tenant="t", attributes=())
    log = decode_logs(
        request([record("x", ("gen_ai.system", "x")), record("x")], *resource.items()).SerializeToString(),
        tenant="t",
        attributes=(),
    )
    assert span.sessions == [b"c"]
    assert log.sessions == [b"c", b"c"]
    assert [key.signal for key in log.keys] == ["llm", "logs"]
    assert log.keys[0].service == "shop", "the first service.name counts"


# ---- keys are safe to keep


def test_a_key_is_one_line_of_bounded_length_and_distinct_values_stay_distinct() -> None:
    assert session_key("s", " a\nb\0 ", ()) == "a�b�".encode()
    assert session_key("s", "   ", ()) == b""
    long = ["v" * 200 + str(n) for n in range(20)] + ["v" * VALUE_CHARS_MAX * 2 + str(n) for n in range(20)]
    keys = {session_key("s", value, ("secrets", "personal")) for value in long}
    assert len(keys) == len(long)
    assert max(len(key.decode()) for key in keys) <= KEY_CHARS_MAX


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("enduser.id", "bob@example.org", "bob"),
        ("session.token", "hunter-two-three", "hunter"),
        ("session.id", "ghp_0123456789abcdefghijABCDEFGHIJ012345", "0123456789abcdef"),
        ("card", "4111 1111 1111 1111", "1111"),
    ],
)
def test_keys_are_redacted_and_stay_apart(name: str, value: str, hidden: str) -> None:
    on, off = Masking.of(), PLAIN
    records = [record("x", (name, value)), record("x", (name, value + "0"))]
    chosen = Sessions.of(attributes=(name,))
    assert told(decoded(request(records), chosen, off)) == [value, value + "0"]
    shown = told(decoded(request(records), chosen, on))
    assert hidden not in shown[0]
    assert shown[0] != shown[1]
    assert shown[0] == told(decoded(request(records), chosen, on))[0]


# ---- what may be chosen


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"attributes": [f"a{n}" for n in range(17)]}, "at most 16"),
        ({"attributes": ["x" * 300]}, "1 to 256 bytes"),
        ({"pattern": "(?=a)"}, "cannot be used"),
        ({"pattern": "a" * 501}, "more than 500"),
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sessions.of(**given)


def test_choices_beside_the_default_have_versions_of_their_own() -> None:
    choices = [
        Sessions.of(),
        Sessions.of(attributes=("none",)),
        Sessions.of(attributes=("a", "b")),
        Sessions.of(attributes=("b", "a")),
        Sessions.of(pattern="a"),
        Sessions.of(attributes=("a",), pattern="b"),
    ]
    assert choices[0].version == ""
    assert len({choice.version for choice in choices}) == len(choices)
    assert Sessions.of(attributes=("a", "b", "a")) == Sessions.of(attributes=("a", "b"))
