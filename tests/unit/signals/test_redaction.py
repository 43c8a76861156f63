"""Redaction of names and log lines of our own, and users' patterns."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from driftlock.errors import UsageError
from driftlock.runtime.logs import JsonLines, Text
from driftlock.signals import redaction
from driftlock.signals.announced import hide
from driftlock.signals.canonical import CANONICAL_VERSION
from driftlock.signals.keys import key_parts, partition_of
from driftlock.signals.logs import decode_logs
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.patterns import PATTERNS_MAX, masked, parse_patterns
from driftlock.signals.points import decode_points
from driftlock.signals.redaction import CLASSES, PERSONAL, SECRETS, checked_classes, redact, redact_name
from driftlock.signals.textlog import text_batch

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2 x", "password=<secret> x"),
        ('{"api_key": "a b"}', '{"api_key": <secret>}'),
        ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer <secret>"),
        ("with Bearer abcdefghijklmnopqrst.", "with Bearer <secret>"),
        ("postgresql://me:s3cret@db:5432/x", "postgresql://<secret>@db:5432/x"),
        ("nats://token@host:4222", "nats://<secret>@host:4222"),
        (f"key {PEM} end", "key <secret> end"),
        (PEM.replace("\n", ""), "<secret>"),
        ("-----BEGIN RSA PRIVATE KEY-----MIIE", "<secret>"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "<secret>"),
        ("xoxb-123456789012-abcdefGHIJ AKIAIOSFODNN7EXAMPLE", "<secret> <secret>"),
        ("AIzaSyA-1234567890abcdefghijklmnopqrstu", "<secret>"),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "<secret>"),
        ("a eyJhbGciOi.eyJzdWIiOiIx.SflKxwRJ_s-x", "a <jwt>"),
        ("Cookie: a=b; sid=c.d; last=\"e f\"; HttpOnly", "Cookie: <secret>; HttpOnly"),
        ("{cookie=a=b;sid=c,zone=eu}", "{cookie=<secret>,zone=eu}"),
        ("mail bob.b+x@example.co.uk.", "mail <email>."),
        ("card 4111 1111 1111 1111, 5500-0000-0000-0004, 378282246310005", "card <card>, <card>, <card>"),
        ("IBAN DE89 3704 0044 0532 0130 00 or GB82WEST12345698765432", "IBAN <iban> or <iban>"),
        # stay
        ("4111 1111 1111 1112 DE89370400440532013001", "4111 1111 1111 1112 DE89370400440532013001"),
        ("v2 at 10.0.0.1:80, 1700000000000000000", "v2 at 10.0.0.1:80, 1700000000000000000"),
        ("npm_config_user_agent_of_the_build token x", "npm_config_user_agent_of_the_build token x"),
        ("partition 5: 120 keys, pass 2 of 3", "partition 5: 120 keys, pass 2 of 3"),
        ("", ""),
    ],
)  # fmt: skip
def test_examples(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected


def test_classes_can_be_chosen() -> None:
    text = "bob@example.org password=x"
    assert redact(text, (SECRETS,)) == "bob@example.org password=<secret>"
    assert redact(text, (PERSONAL,)) == "<email> password=x"
    assert redact(text, ()) == text
    assert checked_classes(("personal", "secrets")) == CLASSES
    assert checked_classes(("none",)) == ()
    with pytest.raises(UsageError, match="knows no class 'all'"):
        checked_classes(("all",))


def luhn(digits: str) -> str:
    total = sum(int(d) if i % 2 else sum(divmod(int(d) * 2, 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


@given(st.text("0123456789", min_size=14, max_size=14), st.sampled_from(["", " ", "-"]))
@settings(deadline=None, max_examples=200)
def test_no_card_number_passes_in_a_name_or_in_a_line(digits: str, gap: str) -> None:
    number = luhn("4" + digits)
    written = gap.join(number[i : i + 4] for i in range(0, 16, 4))
    assert redact(f"paid by {written}.") == "paid by <card>."
    canonical = text_batch(f"paid by {written}.".encode()).canonical[0].decode()
    assert not any(c.isdigit() for c in canonical)


@given(st.text("ab1@.:/-_= \"'ey", max_size=60))
@settings(deadline=None, max_examples=300)
def test_what_is_redacted_stays_so(text: str) -> None:
    clean = redact(text)
    assert redact(clean) == clean
    assert (redact_name(text) == text) == (clean == text)


hinted = st.sampled_from(
    ["pass_word=x1", "api-key: x", "TOKEN=a", "cookie=b", "bob@x.org", "nats://t@h", "NL91 ABNA 0417 1643 00",
     "AKIAIOSFODNN7EXAMPLE", "Bearer abcdefghijklmnop1", "4111111111111111", "sk-0123456789abcdefghij1"]
)  # fmt: skip


@given(st.lists(hinted | st.text("aB1 .:/-_=", max_size=8), max_size=5).map(" ".join))
@settings(deadline=None, max_examples=500)
def test_the_quick_look_misses_nothing(text: str) -> None:
    slow = hide(text, secrets=True, personal=True, userinfo="<secret>@")
    for name in CLASSES:
        for pattern, replacement in redaction._RULES[name]:
            slow = pattern.sub(replacement, slow)
    assert redact(text) == slow


def test_redacted_names_stay_apart() -> None:
    first, second = redact_name("bob@example.org"), redact_name("ann@example.org")
    assert first.startswith("<email>~")
    assert first != second
    assert redact_name("checkout") == "checkout"


# ---- the ways by which text leaves


def request_with(service: str, *, body: str, **attributes: str) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    for name, value in attributes.items():
        resource.resource.attributes.add(key=name).value.string_value = value
    resource.scope_logs.add().log_records.add().body.string_value = body
    return bytes(request.SerializeToString())


def test_keys_of_streams_are_redacted_and_their_partition_is_as_before() -> None:
    payload = request_with("for bob@example.org", body="x", api_key="k1", host="h1")
    batch = decode_logs(payload, tenant="t", attributes=("api_key", "host"))
    key = batch.keys[0]
    assert "bob" not in key.name
    assert "k1" not in key.name
    assert key.service.startswith("for <email>~")
    assert dict(key.attributes)["api_key"].startswith("<secret>~")
    assert dict(key.attributes)["host"] == "h1"
    kept = decode_logs(
        payload, tenant="t", attributes=("api_key", "host"), masking=Masking.of(redact=("none",))
    )
    assert kept.keys[0].service == "for bob@example.org"
    resource = ExportLogsServiceRequest.FromString(payload).resource_logs[0].resource
    service, named = key_parts(resource, ("api_key", "host"))
    assert partition_of("t", (service, named), 32) == partition_of(
        "t", (kept.keys[0].service, kept.keys[0].attributes), 32
    )


def test_lines_keep_secrets_only_when_told() -> None:
    payload = request_with("s", body="password=hunter and key AKIAIOSFODNN7EXAMPLE of bob@example.org")
    told = decode_logs(payload, tenant="t", attributes=()).canonical[0]
    assert told == b"password=<secret> and key <secret> of <email>"
    kept = decode_logs(
        payload, tenant="t", attributes=(), masking=Masking.of(redact=("personal",))
    ).canonical[0]
    assert kept == b"password=hunter and key AKIAIOSFODNN<num>EXAMPLE of <email>"


def test_names_of_series_are_redacted_and_series_stay_apart() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    for user in ("bob@example.org", "ann@example.org"):
        point = metric.gauge.data_points.add(time_unix_nano=1, as_double=1)
        point.attributes.add(key="user").value.string_value = user
        point.attributes.add(key="token").value.string_value = "t0p"
    batch = decode_points(request.SerializeToString(), tenant="t", attributes=())
    assert len(batch.names) == 2
    assert set(batch.names.values()) == {"requests{token=<secret>,user=<email>} value"}


@pytest.mark.parametrize("formatter", [Text("api"), JsonLines("api")], ids=["text", "json"])
def test_our_own_log_lines_are_redacted(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("cannot reach postgresql://me:s3cret@db/x for bob@example.org")
    except ValueError:
        fault = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "", 0, "password=%s", ("hunter2",), fault)
    line = formatter.format(record)
    assert "hunter2" not in line
    assert "s3cret" not in line
    assert "bob@" not in line
    assert "password=<secret>" in line


# ---- users' patterns


def lines_of(masking: Masking, raw: list[bytes]) -> list[str]:
    offsets = np.cumsum([0, *map(len, raw)], dtype=np.int64)
    found = masking.canonical(np.frombuffer(b"".join(raw), dtype=np.uint8), offsets[:-1], offsets[1:])
    return [found[i].decode() for i in range(len(found))]


def test_patterns_come_before_the_typed_masking_and_in_order() -> None:
    masking = Masking.of(mask=("order-id=ORD-[0-9A-Z]+", "pair=<order-id>:<order-id>", "name=user=\\w+"))
    assert lines_of(masking, [b"ORD-12AB:ORD-1 took 5", b"", b"user=bob ORD-", b"x\nORD-1 \xff"]) == [
        "<pair> took <num>",
        "",
        "<name> ORD-",
        "x⏎<order-id> ?",
    ]
    assert lines_of(masking, []) == []


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"ORD-1", b"\n", b"\x1e", b" ", b"\xc3"]), max_size=6)
)
@settings(deadline=None, max_examples=200)
def test_a_pattern_that_matches_nothing_changes_nothing(raw: list[bytes]) -> None:
    assert lines_of(Masking.of(mask=("never=never-to-be-seen",)), raw) == lines_of(DEFAULT_MASKING, raw)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("order", "is not NAME=REGEX"),
        ("Order=x", "is not NAME=REGEX"),
        ("id1=x", "is not NAME=REGEX"),
        ("a=", "1 to 500 characters"),
        ("a=" + "x" * 501, "1 to 500 characters"),
        ("a=x*", "matches the empty text"),
        (r"a=\b", "matches the empty text"),
        (r"a=(x)\1", "backreferences are not supported"),
        ("a=x(?=y)", "look-around"),
        ("a=[", "unclosed character class"),
        ("a=(?:a{1000}){1000}", "exceeds size limit"),
    ],
    ids=str,
)
def test_a_pattern_that_cannot_be_used_is_refused_in_one_sentence(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as fault:
        parse_patterns((text,))
    assert "\n" not in fault.value.message


def test_patterns_are_bounded_and_their_names_differ() -> None:
    names = [f"{a}{b}=x" for a in "abcdefgh" for b in "abcdefgh"]
    assert len(parse_patterns(names[:PATTERNS_MAX])) == PATTERNS_MAX
    with pytest.raises(UsageError, match="at most 32"):
        parse_patterns(names)
    with pytest.raises(UsageError, match="given twice"):
        parse_patterns(("a=x", "a=y"))


def test_what_backtracking_could_not_finish_is_done_at_once() -> None:
    # In a backtracking engine (a+)+$ takes 2^n steps here.
    line = b"a" * 50_000 + b"!"
    found, starts, ends = masked(
        np.frombuffer(line, np.uint8), np.array([0]), np.array([len(line)]), parse_patterns(("x=(a+)+$",))
    )
    assert found[starts[0] : ends[0]].tobytes() == line


def test_the_version_names_what_changes_lines() -> None:
    plain, one = DEFAULT_MASKING, Masking.of(mask=("a=x",))
    assert plain.version == str(CANONICAL_VERSION)
    versions = {
        one.version,
        Masking.of(mask=("a=y",)).version,
        Masking.of(mask=("b=x",)).version,
        plain.version,
    }
    assert len(versions) == 4
    assert Masking.of(redact=("personal",)).version != plain.version
    assert Masking.of(redact=("secrets",)).version == plain.version
