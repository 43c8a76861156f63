"""Who called whom, from OTLP to the verdict: however spans come, and wherever the engine starts again."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from driftlock.core.log_settings import LogSettings
from driftlock.engine.engine import PartitionEngine, StoredState
from driftlock.engine.finding import Finding
from driftlock.engine.settings import EngineSettings
from support import telemetry

SECOND_NS = telemetry.SECOND_NS
STRICT = EngineSettings(traces=LogSettings(mode="session", calls=True, p_value_threshold=0.01))
TRACES = 900
ODD = 880


@dataclass
class Call:
    name: str
    caller: int  # place in the list, -1 for what came from another service


CALLS = [
    Call("POST /checkout", -1),
    Call("authorise", 0),
    Call("charge card", 1),
    Call("INSERT payments", 2),
    Call("reserve stock", 0),
    Call("UPDATE stock", 4),
    Call("send mail", 0),
]


def spans_of(rng: random.Random, *, odd: bool) -> list[Span]:
    """A checkout of seven spans; in an odd one, mail is sent by whoever charges the card."""
    trace_id, remote = rng.randbytes(16), rng.randbytes(8)
    ids = [rng.randbytes(8) for _ in CALLS]
    made = []
    for place, call in enumerate(CALLS):
        caller = 2 if odd and call.name == "send mail" else call.caller
        made.append(
            Span(
                trace_id=trace_id,
                span_id=ids[place],
                parent_span_id=remote if caller < 0 else ids[caller],
                name=call.name,
                kind=Span.SPAN_KIND_SERVER if caller < 0 else Span.SPAN_KIND_INTERNAL,
                start_time_unix_nano=telemetry.START_NS,
                end_time_unix_nano=telemetry.START_NS + rng.choice([3, 5, 9]) * 1_000_000,
            )
        )
    return made


def request(spans: list[Span]) -> bytes:
    message = ExportTraceServiceRequest()
    block = message.resource_spans.add(resource=telemetry.resource("shop")).scope_spans.add()
    block.spans.extend(spans)
    return message.SerializeToString()


def found(*, pieces: int, restart_every: int = 0) -> list[Finding]:
    """Findings of one checkout a second, each in so many requests, spans in the order in which they end."""
    rng = random.Random(7)
    engine, findings, position = PartitionEngine(STRICT), list[Finding](), 0
    stored: dict[uuid.UUID, StoredState] = {}
    for number in range(TRACES):
        spans = spans_of(rng, odd=number == ODD)
        rng.shuffle(spans)
        for piece in range(pieces):
            position += 1
            part = spans[len(spans) * piece // pieces : len(spans) * (piece + 1) // pieces]
            received_ns = telemetry.START_NS + number * SECOND_NS + piece
            findings += engine.feed(
                "traces", request(part), tenant="t", received_ns=received_ns, position=position
            )
            if restart_every and position % restart_every == 0:
                states, _ = engine.take_changes()
                stored |= {state.stream_id: state for state in states}
                now_ns, engine = engine.now_ns, PartitionEngine(STRICT)
                engine.restore(stored.values(), now_ns=now_ns)
    for late in range(60):
        received_ns = telemetry.START_NS + (TRACES + late) * SECOND_NS
        findings += engine.feed("tick", b"", tenant="", received_ns=received_ns, position=position + 1 + late)
    return findings


@pytest.fixture(scope="module")
def whole() -> list[Finding]:
    return found(pieces=1)


def test_a_call_from_elsewhere_is_found_and_named(whole: list[Finding]) -> None:
    (finding,) = [
        f for f in whole if f.verdict.detail.get("call", {}).get("caller") == "INTERNAL charge card"
    ]
    assert finding.verdict.p_value <= 0.01
    assert (
        "“INTERNAL send mail” is called by “INTERNAL charge card”, as none of " in finding.verdict.explanation
    )
    odd = random.Random(7)
    for number in range(ODD + 1):
        spans = spans_of(odd, odd=number == ODD)
        trace_id = spans[0].trace_id.hex()
        odd.shuffle(spans)
    assert finding.trace_ids == (trace_id,)


def test_how_spans_come_in_requests_changes_no_verdict(whole: list[Finding]) -> None:
    def told(findings: list[Finding]) -> list[object]:
        return [(f.trace_ids, f.verdict.score, f.verdict.p_value, f.verdict.explanation) for f in findings]

    assert told(found(pieces=3)) == told(whole)


def test_a_restored_engine_knows_who_called(whole: list[Finding]) -> None:
    assert found(pieces=1, restart_every=97) == whole


def timed(rng: random.Random, *, slow: float) -> list[Span]:
    """A checkout whose spans take log-normal times of their own; `slow` times one of them."""
    spans = spans_of(rng, odd=False)
    for place, span in enumerate(spans):
        took = 2_000_000 * (place + 1) * rng.lognormvariate(0, 0.8) * (slow if place == 3 else 1)
        span.end_time_unix_nano = span.start_time_unix_nano + int(took)
    return spans


def test_durations_with_long_tails_are_no_chain_of_alarms_and_a_far_slower_call_is_found() -> None:
    """Ordinary traces alarm hardly ever; then one takes a hundred times as long as its like."""
    rng = random.Random(5)
    engine, findings = PartitionEngine(STRICT), list[Finding]()
    for number in range(4_100):
        spans = timed(rng, slow=100.0 if number == 4_000 else 1.0)
        received_ns = telemetry.START_NS + number * SECOND_NS
        payload = request(spans) if number < 4_040 else b""
        kind = "traces" if payload else "tick"
        findings += engine.feed(kind, payload, tenant="t", received_ns=received_ns, position=number + 1)
    *early, slow = findings
    assert len(early) <= 3, [finding.verdict.explanation for finding in early]
    assert slow.verdict.last >> 22 == 4_001
    assert "the duration of “INTERNAL INSERT payments took<duration>” is " in slow.verdict.explanation
    assert slow.verdict.detail is not None
    assert slow.verdict.detail["number"]["kind"] == "duration"
