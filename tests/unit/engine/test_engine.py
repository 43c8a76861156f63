"""The engine: what it finds is a function of the log, however often it is restored from a checkpoint."""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftlock.core.log_settings import LogSettings
from driftlock.engine.engine import PartitionEngine, StoredState
from driftlock.engine.finding import Finding
from driftlock.engine.settings import EngineSettings
from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import StreamKey
from driftlock.signals.sessions import Sessions
from support import telemetry

STRICT = EngineSettings(
    logs=LogSettings(p_value_threshold=0.01), traces=LogSettings(mode="session", p_value_threshold=0.01)
)
ORDERS = replace(STRICT, sessions=Sessions.of(attributes=("order.id",)))

REFRESH = uuid.UUID(int=77)


def feed(engine: PartitionEngine, messages: list[telemetry.Message], *, first: int = 1) -> list[Finding]:
    found: list[Finding] = []
    for position, message in enumerate(messages, first):
        found += engine.feed(
            message.kind,
            message.payload,
            tenant="default",
            received_ns=message.received_ns,
            position=position,
        )
    return found


@pytest.fixture(scope="module")
def messages() -> list[telemetry.Message]:
    return list(telemetry.story())


@pytest.fixture(scope="module")
def undisturbed(messages: list[telemetry.Message]) -> list[Finding]:
    return feed(PartitionEngine(STRICT), messages)


def test_finds_the_faults_of_every_signal_and_little_else(undisturbed: list[Finding]) -> None:
    strange = [f for f in undisturbed if f.key.signal == "logs"]
    assert strange, "no log fault was found"
    assert {f.key.signal for f in undisturbed} == {"logs", "traces", "metrics"}
    for finding in undisturbed:
        assert 0 < finding.verdict.p_value <= 0.01
        assert finding.verdict.explanation
    # 6 faults were put into logs, 6 into traces, 6 into the five series of metrics
    faults_from = len(list(telemetry.story())) * 2 // 3
    assert len([f for f in strange if f.position >= faults_from]) >= 3
    # three log and three trace streams: records of the first hundreds of units, then silence
    early = [f for f in undisturbed if f.position < faults_from]
    assert len(early) <= 10, [f.verdict.explanation for f in early]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 1079), min_size=1, max_size=4, unique=True))
def test_restored_from_any_checkpoint_it_finds_the_same(
    cuts: list[int], messages: list[telemetry.Message], undisturbed: list[Finding]
) -> None:
    assert restored_at(cuts, STRICT, messages) == undisturbed


def restored_at(cuts: list[int], chosen: EngineSettings, messages: list[telemetry.Message]) -> list[Finding]:
    """What engines find that each go on from the checkpoint of the one before, taken at the cuts."""
    engine = PartitionEngine(chosen)
    stored: dict[uuid.UUID, StoredState] = {}
    found: list[Finding] = []
    previous = 0
    for cut in [*sorted(cuts), len(messages)]:
        found += feed(engine, messages[previous:cut], first=previous + 1)
        states, removed = engine.take_changes()
        for state in states:
            stored[state.stream_id] = state
        for stream_id in removed:
            stored.pop(stream_id, None)
        restored = PartitionEngine(chosen)
        restored.restore(stored.values(), now_ns=engine.now_ns)
        engine, previous = restored, cut
    return found


# ---- sessions of logs


@pytest.fixture(scope="module")
def orders() -> list[telemetry.Message]:
    return list(telemetry.story(messages=300, with_orders=True))


@pytest.fixture(scope="module")
def of_orders(orders: list[telemetry.Message]) -> list[Finding]:
    return feed(PartitionEngine(ORDERS), orders)


def test_a_session_that_misses_its_last_step_is_found_and_blocks_are_judged_as_before(
    of_orders: list[Finding],
) -> None:
    sessions = [f for f in of_orders if f.key.unit]
    others = [f for f in of_orders if not f.key.unit]
    without = feed(PartitionEngine(STRICT), list(telemetry.story(messages=300)))
    # rows of other records stand between a message's rows now, so blocks have other positions
    assert [seen(f) for f in others] == [seen(f) for f in without]
    # faults of the last 30 seconds are not complete yet
    assert [f.verdict.key for f in sessions] == [
        "service-2-order-212-2",
        "service-1-order-232-2",
        "service-0-order-252-2",
    ]
    for finding in sessions:
        assert finding.key.name == f"{finding.key.service}{{unit=session}}"
        assert finding.trace_ids == ()
        assert finding.verdict.events == 5
        assert "it lacks “INFO order closed”" in finding.verdict.explanation


def seen(finding: Finding) -> tuple[object, ...]:
    verdict = finding.verdict
    return finding.key, finding.position, verdict.events, verdict.score, verdict.p_value, verdict.explanation


def test_no_record_is_lost_between_sessions_and_blocks(orders: list[telemetry.Message]) -> None:
    engines = [PartitionEngine(STRICT), PartitionEngine(ORDERS)]
    for engine in engines:
        feed(engine, orders[:90])
    counts = [
        {s.key.name: s.events for s in engine.statuses() if s.key.signal == "logs"} for engine in engines
    ]
    assert engines[0].events == engines[1].events
    for service in ("service-0", "service-1", "service-2"):
        assert counts[0][service] == counts[1][service] + counts[1][f"{service}{{unit=session}}"]
        assert counts[1][service] == 1_500


def test_warm_up_of_sessions_is_told_in_sessions(orders: list[telemetry.Message]) -> None:
    engine = PartitionEngine(ORDERS)
    feed(engine, orders[:150])
    (blocks, sessions) = [
        next(s for s in engine.statuses() if (s.key.signal, s.key.unit) == ("logs", unit))
        for unit in ("", "session")
    ]
    assert blocks.warm_up.units_needed == 100  # 1/α − 1 scores, and one block more: a window has two
    assert sessions.warm_up.units_needed == 200
    # after 50 seconds those are complete that ended in the first 20: six in three seconds
    assert sessions.warm_up.units_seen == 30


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 899), min_size=1, max_size=4, unique=True))
def test_sessions_are_restored_from_any_checkpoint(
    cuts: list[int], orders: list[telemetry.Message], of_orders: list[Finding]
) -> None:
    assert restored_at(cuts, ORDERS, orders) == of_orders


def test_an_engine_of_other_sessions_learns_line_streams_of_logs_anew(
    orders: list[telemetry.Message],
) -> None:
    engine = PartitionEngine(ORDERS)
    feed(engine, orders[:600])
    states, _ = engine.take_changes()
    for chosen, learning in (
        (ORDERS, set()),
        (STRICT, {"logs"}),
        (replace(STRICT, sessions=Sessions.of(attributes=("order.id",), pattern="x")), {"logs"}),
    ):
        restored = PartitionEngine(chosen)
        restored.restore(states, now_ns=engine.now_ns)
        phases = [(s.key.signal, s.warm_up.phase) for s in restored.statuses() if s.key.signal != "metrics"]
        assert {signal for signal, phase in phases if phase == "learning"} == learning


def test_a_stream_of_sessions_is_another_than_that_of_an_attribute_with_its_name() -> None:
    plain = StreamKey("t", "logs", "a")
    named = StreamKey("t", "logs", "a", (("unit", "session"),))
    assert len({plain.id, plain.of_sessions.id, named.id, named.of_sessions.id}) == 4
    assert plain.of_sessions.name == named.name == "a{unit=session}"


def with_refresh(messages: list[telemetry.Message], stream: uuid.UUID, at: int) -> list[telemetry.Message]:
    asked = telemetry.Message("refresh", stream.bytes + REFRESH.bytes, messages[at].received_ns)
    return [*messages[:at], asked, *messages[at:]]


def test_a_refresh_learns_anew_and_a_replay_learns_anew_at_the_same_place(
    messages: list[telemetry.Message], undisturbed: list[Finding]
) -> None:
    half = len(messages) // 2
    for signal in ("logs", "traces"):
        key = next(f.key for f in undisturbed if f.key.signal == signal)
        asked = with_refresh(messages, key.id, half)
        engine = PartitionEngine(STRICT)
        found = feed(engine, asked[: half + 1])
        (status,) = engine.statuses([key.id])
        ((replaced, before, content),) = engine.replaced
        assert (replaced, before) == (key, hashlib.sha256(content).hexdigest())
        (mark,) = engine.refreshes()
        assert (mark.id, mark.key, mark.position) == (REFRESH, key, half + 1)
        assert (mark.baseline_before, mark.baseline_after) == (before, "")
        assert status.warm_up.phase == "learning"
        assert (status.warm_up.units_seen, status.baseline_ref) == (0, "")
        restored = PartitionEngine(STRICT)
        restored.restore(engine.take_changes()[0], now_ns=engine.now_ns)
        later = [feed(one, asked[half + 1 :], first=half + 2) for one in (engine, restored)]
        assert later[0] == later[1]
        new = engine.statuses([key.id])[0].baseline_ref
        assert new
        assert engine.refreshes() == restored.refreshes()
        assert engine.refreshes()[0].baseline_after == new
        told = {f.verdict.baseline_ref for f in found + later[0] if f.key == key}
        old = {f.verdict.baseline_ref for f in undisturbed if f.key == key}
        assert new not in old
        assert told <= old | {new}
        # positions differ by the one message more
        others = [(f.key, f.verdict.score, f.verdict.p_value) for f in found + later[0] if f.key != key]
        assert others == [(f.key, f.verdict.score, f.verdict.p_value) for f in undisturbed if f.key != key]


def test_a_refresh_of_nothing_changes_nothing() -> None:
    engine = PartitionEngine(STRICT)
    feed(engine, [telemetry.logs(random.Random(0), "a", events=30, received_ns=10**18)])
    (stream,) = (status.key.id for status in engine.statuses())
    for payload, tenant in ((b"x" * 32, "default"), (stream.bytes + REFRESH.bytes, "other")):
        engine.feed("refresh", payload, tenant=tenant, received_ns=10**18, position=9)
    for payload in (b"", stream.bytes, b"x" * 33):
        with pytest.raises(MalformedTelemetryError):
            engine.feed("refresh", payload, tenant="default", received_ns=10**19, position=9)
    assert engine.now_ns == 10**18
    assert engine.refreshes() == []
    assert engine.statuses()[0].events == 30
    assert engine.statuses()[0].warm_up.units_seen == 1


def test_a_refresh_that_comes_twice_learns_anew_once(
    messages: list[telemetry.Message], undisturbed: list[Finding]
) -> None:
    key = next(f.key for f in undisturbed if f.key.signal == "logs")
    half, more = len(messages) // 2, len(messages) // 2 + 60
    once, twice = PartitionEngine(STRICT), PartitionEngine(STRICT)
    asked = with_refresh(messages, key.id, half)
    repeated = with_refresh(asked, key.id, more)
    without = [
        m if n != more else telemetry.Message("tick", b"", m.received_ns) for n, m in enumerate(repeated)
    ]
    assert feed(twice, repeated) == feed(once, without)
    assert twice.refreshes() == once.refreshes()


def test_payloads_that_are_not_otlp_change_nothing() -> None:
    engine = PartitionEngine(STRICT)
    for kind in ("logs", "traces", "metrics"):
        with pytest.raises(MalformedTelemetryError):
            engine.feed(kind, b"\xff\xff\xff", tenant="default", received_ns=5, position=1)
    assert engine.now_ns == 0
    assert len(engine) == 0


def test_a_clock_that_runs_backwards_does_not_turn_the_engine_s_back() -> None:
    engine = PartitionEngine(STRICT)
    rng = random.Random(0)
    feed(engine, [telemetry.logs(rng, "a", events=3, received_ns=10**18)])
    feed(engine, [telemetry.logs(rng, "a", events=3, received_ns=10**17)])
    assert engine.now_ns == 10**18


def test_streams_beyond_the_bound_are_counted_and_the_rest_go_on() -> None:
    engine = PartitionEngine(EngineSettings(streams_max=5))
    rng = random.Random(0)
    for number in range(50):
        feed(engine, [telemetry.logs(rng, f"name-{number}", events=2, received_ns=10**18 + number)])
    assert len(engine) == 5
    assert engine.evicted_streams == 45
