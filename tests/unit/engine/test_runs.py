"""Runs: however a partition's messages are fed together, the outcome is that of one after another."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftlock.bus.envelope import Envelope
from driftlock.core.log_stream import LogSettings
from driftlock.engine.engine import PartitionEngine
from driftlock.engine.finding import Finding
from driftlock.engine.registry import dump_entry
from driftlock.engine.runs import RUN_BYTES_MAX, runs, second_of
from driftlock.engine.settings import EngineSettings
from driftlock.errors import MalformedTelemetryError
from driftlock.signals.sessions import Sessions
from support import telemetry

SECOND_NS = 1_000_000_000
START_NS = telemetry.START_NS


def log_message(rng: random.Random, position: int, received_ns: int, services: list[str]) -> Envelope:
    """Log records of several services in one message; late ones are sometimes strange."""
    payload = b"".join(
        telemetry.logs(
            rng,
            service,
            events=rng.randrange(1, 40),
            received_ns=received_ns,
            strange=position > 250 and rng.random() < 0.1,
        ).payload
        for service in services
    )
    return Envelope("logs", "default", received_ns, payload, position)


def messages(seed: int, count: int = 400) -> list[Envelope]:
    """Logs of a few services in small messages, many a second, among some spans, points and ticks."""
    rng = random.Random(seed)
    made, now_ns, position = [], START_NS, 0
    for _ in range(count):
        position += rng.randrange(1, 4)
        now_ns += rng.randrange(-50_000_000, 250_000_000)
        if rng.random() < 0.06:
            other = rng.choice([telemetry.traces(rng, "a", count=3, received_ns=now_ns), None])
            kind, payload = ("tick", b"") if other is None else ("traces", other.payload)
            made.append(Envelope(kind, "default", now_ns, payload, position))  # type: ignore[arg-type]
        else:
            services = rng.sample(["a", "b", "c", "d"], rng.randrange(1, 4))
            made.append(log_message(rng, position, now_ns, services))
    return made


def feed_alone(engine: PartitionEngine, log: list[Envelope]) -> list[Finding]:
    found: list[Finding] = []
    for m in log:
        found += engine.feed(
            m.kind, m.payload, tenant=m.tenant, received_ns=m.received_ns, position=m.position
        )
    return found


def feed_in_runs(engine: PartitionEngine, log: list[Envelope], cuts: list[int]) -> tuple[list[Finding], int]:
    """As an owner does: what the reader gave, cut into runs. Also how many messages shared one."""
    found: list[Finding] = []
    shared = 0
    for first, last in zip([0, *cuts], [*cuts, len(log)], strict=True):
        for run in runs(log[first:last], now_ns=engine.now_ns):
            together = engine.feed_together(run) if len(run) > 1 else None
            shared += len(run) if together is not None else 0
            found += feed_alone(engine, run) if together is None else together
    return found, shared


def everything(engine: PartitionEngine) -> object:
    return engine.take_changes(), engine.statuses(), engine.now_ns, engine.events


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 3), cuts=st.lists(st.integers(1, 399), max_size=30, unique=True))
def test_runs_change_neither_findings_nor_state(seed: int, cuts: list[int]) -> None:
    log = messages(seed)
    alone, together = PartitionEngine(EngineSettings()), PartitionEngine(EngineSettings())
    expected = feed_alone(alone, log)
    found, shared = feed_in_runs(together, log, sorted(cuts))
    assert expected, "the story holds strange blocks"
    assert sorted(found, key=lambda f: f.seed) == sorted(expected, key=lambda f: f.seed)
    assert [f.position for f in found] == [f.position for f in expected]
    assert everything(together) == everything(alone)
    assert shared > 150


def test_the_bound_on_streams_evicts_the_same_ones() -> None:
    rng = random.Random(5)
    names = [f"name-{number}" for number in range(12)]
    log = [log_message(rng, n + 1, START_NS + n * 30_000_000, rng.sample(names, 2)) for n in range(300)]
    engines = [PartitionEngine(EngineSettings(streams_max=8)) for _ in range(2)]
    feed_alone(engines[0], log)
    feed_in_runs(engines[1], log, [])
    assert engines[0].evicted_streams == engines[1].evicted_streams > 0
    assert [s.key for s in engines[1].statuses()] == [s.key for s in engines[0].statuses()]
    assert everything(engines[1]) == everything(engines[0])


def test_a_malformed_message_spoils_only_itself() -> None:
    log = [log_message(random.Random(n), n + 1, START_NS, ["a"]) for n in range(3)]
    broken = Envelope("logs", "default", START_NS, log[1].payload[:-3], 2)
    engine = PartitionEngine(EngineSettings())
    assert engine.feed_together([log[0], broken, log[2]]) is None
    assert len(engine) == 0
    feed_alone(engine, [log[0]])
    with pytest.raises(MalformedTelemetryError):
        feed_alone(engine, [broken])


def test_two_broken_halves_do_not_become_a_whole() -> None:
    payload = log_message(random.Random(0), 1, START_NS, ["a"]).payload
    halves = [
        Envelope("logs", "default", START_NS, payload[:50], 1),
        Envelope("logs", "default", START_NS, payload[50:], 2),
    ]
    assert PartitionEngine(EngineSettings()).feed_together(halves) is None


def session_messages(seed: int, count: int = 250) -> list[Envelope]:
    """Small messages of orders, whose steps take several messages, of ordinary lines and of LLM calls."""
    rng = random.Random(seed)
    made, now_ns = [], START_NS
    for n in range(count):
        now_ns += rng.randrange(0, 200_000_000)
        orders = telemetry.orders(
            rng, "a", n, before=n - 5, received_ns=now_ns, faulty=n > 150 and rng.random() < 0.2
        )
        payload = orders.payload + telemetry.logs(rng, "a", events=20, received_ns=now_ns).payload
        payload += telemetry.chats("b", conversations=range(n, n + 2), received_ns=now_ns).payload
        made.append(Envelope("logs", "default", now_ns, payload, n + 1))
    return made


ORDERS = EngineSettings(
    logs=LogSettings(session_idle_ns=2 * SECOND_NS, sessions_open_max=45, p_value_threshold=0.01),
    traces=LogSettings(mode="session", session_idle_ns=2 * SECOND_NS, p_value_threshold=0.01),
    sessions=Sessions.of(attributes=("order.id", "gen_ai.conversation.id")),
)
TRACED = EngineSettings(logs=LogSettings(mode="session"))


@pytest.fixture(scope="module", params=[ORDERS, TRACED], ids=["orders", "traces"])
def fed(
    request: pytest.FixtureRequest,
) -> tuple[list[Envelope], EngineSettings, PartitionEngine, list[Finding]]:
    log, engine = session_messages(0), PartitionEngine(request.param)
    return log, request.param, engine, feed_alone(engine, log)


def test_orders_form_streams_of_their_own_and_some_are_crowded_out(
    fed: tuple[list[Envelope], EngineSettings, PartitionEngine, list[Finding]],
) -> None:
    _, chosen, engine, found = fed
    units = {s.key.unit for s in engine.statuses() if s.key.service == "a"}
    assert units == ({"", "session"} if chosen is ORDERS else {""})
    if chosen is ORDERS:
        assert {f.key.unit for f in found} >= {"session"}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 249), max_size=20, unique=True))
def test_runs_change_nothing_for_sessions(
    fed: tuple[list[Envelope], EngineSettings, PartitionEngine, list[Finding]], cuts: list[int]
) -> None:
    log, chosen, alone, expected = fed
    together = PartitionEngine(chosen)
    found, shared = feed_in_runs(together, log, sorted(cuts))
    assert [f.position for f in found] == [f.position for f in expected]
    assert sorted(found, key=lambda f: f.seed) == sorted(expected, key=lambda f: f.seed)
    assert shared > 150
    assert held(together) == held(alone)


def held(engine: PartitionEngine) -> object:
    # not `take_changes`, which hands out once; digests, because a difference of states tells nobody anything
    states = {e.key: hashlib.sha256(dump_entry(e)).hexdigest() for e in engine._registry}
    return states, engine.statuses(), engine.now_ns, engine.events


def test_a_run_does_not_pass_a_second_that_an_unread_message_seemed_to_begin() -> None:
    """The clock of a malformed message does not count, so the cut by it may have been too hopeful."""
    log = [log_message(random.Random(n), n + 2, START_NS + n * SECOND_NS, ["a"]) for n in range(2)]
    ahead = Envelope("traces", "default", START_NS + 9 * SECOND_NS, b"\xff", 1)
    engine = PartitionEngine(EngineSettings())
    assert log in list(runs([ahead, *log], now_ns=0))
    assert engine.feed_together(log) is None


def test_runs_hold_what_belongs_together_in_order() -> None:
    rng = random.Random(1)
    log = messages(1)
    log.append(Envelope("logs", "other", log[-1].received_ns, log[0].payload, 10_000))
    cut = list(runs(log, now_ns=0))
    assert [m for run in cut for m in run] == log
    assert max(len(run) for run in cut) > 3
    for run in cut:
        if len(run) > 1:
            assert {(m.kind, m.tenant) for m in run} in ({("logs", "default")}, {("logs", "other")})
            assert sum(len(m.payload) for m in run) <= RUN_BYTES_MAX
    large = [Envelope("logs", "t", 1, rng.randbytes(RUN_BYTES_MAX // 3), n) for n in range(10)]
    assert [len(run) for run in runs(large, now_ns=0)] == [3, 3, 3, 1]
    assert second_of(START_NS + 5) == START_NS
