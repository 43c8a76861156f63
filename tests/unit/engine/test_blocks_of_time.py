"""Log streams cut by time in the engine: a service that stops is told while others keep sending."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

import pytest

from driftlock.bus.envelope import Envelope
from driftlock.core.log_settings import LogSettings
from driftlock.core.time_blocks import EMPTY_BLOCKS_MAX
from driftlock.engine.block_clock import HEARD_NS, UNHEARD_NS
from driftlock.engine.engine import EPISODE_SILENT_NS, PartitionEngine, StoredState
from driftlock.engine.finding import Finding
from driftlock.engine.runs import runs
from driftlock.engine.settings import EngineSettings
from driftlock.signals.sessions import Sessions
from support import telemetry

SECOND_NS = telemetry.SECOND_NS
BLOCK_S = 10
START_NS = telemetry.START_NS // (BLOCK_S * SECOND_NS) * BLOCK_S * SECOND_NS
SETTINGS = EngineSettings(logs=LogSettings(mode="time", block_ns=BLOCK_S * SECOND_NS, p_value_threshold=0.01))
SERVICES = ["cart", "mail", "shop"]
SECONDS = 1_400
STOPPED_S = 1_253
"""Second in which `mail` sends for the last time, a little after the beginning of a block."""


def fleet(seconds: int = SECONDS, *, stopped_s: int = STOPPED_S) -> list[Envelope]:
    """Each second a message of each service, of one to nine lines; from `stopped_s` on `mail` is silent."""
    rng = random.Random(6)
    made = []
    for second in range(seconds):
        for number, service in enumerate(SERVICES):
            at_ns = START_NS + second * SECOND_NS + number * 300_000_000
            told = telemetry.logs(rng, service, events=rng.randrange(1, 10), received_ns=at_ns)
            if service != "mail" or second < stopped_s:
                made.append(Envelope("logs", "t", at_ns, told.payload, len(made) + 1))
    return made


def tick(second: float, position: int) -> Envelope:
    return Envelope("tick", "", START_NS + int(second * SECOND_NS), b"", position)


def feed(engine: PartitionEngine, log: list[Envelope]) -> list[Finding]:
    return [
        finding
        for m in log
        for finding in engine.feed(
            m.kind, m.payload, tenant=m.tenant, received_ns=m.received_ns, position=m.position
        )
    ]


@pytest.fixture(scope="module")
def log() -> list[Envelope]:
    return fleet()


@pytest.fixture(scope="module")
def found(log: list[Envelope]) -> list[Finding]:
    return feed(PartitionEngine(SETTINGS), log)


@pytest.fixture(scope="module")
def learned(log: list[Envelope]) -> list[StoredState]:
    """All three services, up to the second in which `mail` stopped."""
    engine = PartitionEngine(SETTINGS)
    feed(engine, [m for m in log if m.received_ns < START_NS + STOPPED_S * SECOND_NS])
    return engine.take_changes()[0]


def resumed(learned: list[StoredState]) -> PartitionEngine:
    engine = PartitionEngine(SETTINGS)
    engine.restore(learned, now_ns=START_NS + STOPPED_S * SECOND_NS)
    return engine


def test_a_service_that_stops_alarms_as_its_first_empty_block_ends_while_others_go_on(
    log: list[Envelope], found: list[Finding]
) -> None:
    late = [f for f in found if f.received_ns >= START_NS + STOPPED_S * SECOND_NS]
    assert {f.key.service for f in late} == {"mail"}
    (silent,) = late  # the block that it stopped in may be told first: then silence is its course
    assert silent.verdict.kind == ("unit" if silent.verdict.events else "silence")
    assert silent.verdict.p_value <= 0.01
    told_ns = START_NS + (STOPPED_S // BLOCK_S + 1) * BLOCK_S * SECOND_NS
    assert told_ns <= silent.received_ns <= told_ns + (BLOCK_S + 1) * SECOND_NS
    moved = next(m for m in log if m.position == silent.position)
    assert moved.received_ns == silent.received_ns  # the message that moved the clock, of another service
    assert silent.timestamp_ns == silent.verdict.last_time_ns


def test_a_silence_that_begins_with_a_block_is_told_as_such() -> None:
    engine = PartitionEngine(SETTINGS)
    found = [
        f for f in feed(engine, fleet(1_280, stopped_s=1_250)) if f.received_ns > START_NS + 1_250 * SECOND_NS
    ]
    (silent,) = found
    assert (silent.key.service, silent.verdict.kind, silent.verdict.events) == ("mail", "silence", 0)
    assert "no line came" in silent.verdict.explanation
    assert silent.received_ns == START_NS + 1_260 * SECOND_NS
    assert silent.position > silent.verdict.last >> 22


@pytest.mark.parametrize("cut", [1_900, 3_765, 3_800])
def test_a_restored_engine_finds_the_same(log: list[Envelope], found: list[Finding], cut: int) -> None:
    engine = PartitionEngine(SETTINGS)
    again = feed(engine, log[:cut])
    states, _ = engine.take_changes()
    restored = PartitionEngine(SETTINGS)
    restored.restore(states, now_ns=engine.now_ns)
    assert again + feed(restored, log[cut:]) == found


@pytest.mark.parametrize("given", [3, 1_000])
def test_runs_find_the_same(log: list[Envelope], found: list[Finding], given: int) -> None:
    engine, again, shared = PartitionEngine(SETTINGS), list[Finding](), 0
    for first in range(0, len(log), given):
        for run in runs(log[first : first + given], now_ns=engine.now_ns):
            together = engine.feed_together(run) if len(run) > 1 else None
            shared += together is not None
            again += feed(engine, list(run)) if together is None else together
    assert again == found
    assert shared > 500


def test_the_clock_of_a_silent_partition_is_moved_at_ends_of_blocks_until_silence_is_told(
    learned: list[StoredState],
) -> None:
    engine, found, asked = resumed(learned), list[Finding](), []
    for step in range(600):
        second = STOPPED_S + step / 2
        if engine.waits_for_clock(START_NS + int(second * SECOND_NS)):
            asked.append(second)
            found += feed(engine, [tick(second, 10_000 + step)])
    blocks = STOPPED_S // BLOCK_S * BLOCK_S
    # the block begun, then the empty ones: after them a silent partition costs nothing
    assert asked == [blocks + BLOCK_S * n for n in range(1, EMPTY_BLOCKS_MAX + 2)]
    assert {f.key.service for f in found} == set(SERVICES)
    assert not engine.take_changes()[1]
    assert engine.take_changes()[0] == []  # and no checkpoint either


def test_long_blocks_ask_for_the_clock_often_enough_to_tell_that_somebody_listened() -> None:
    logs = replace(SETTINGS.logs, block_ns=3_600 * SECOND_NS)
    engine = PartitionEngine(replace(SETTINGS, logs=logs))
    (first, *_) = fleet(1)
    feed(engine, [first])
    assert not engine.waits_for_clock(first.received_ns + HEARD_NS - 1)
    assert engine.waits_for_clock(first.received_ns + HEARD_NS)


def test_time_in_which_nobody_listened_is_no_silence(learned: list[StoredState]) -> None:
    for step_ns, told in ((UNHEARD_NS, True), (UNHEARD_NS + SECOND_NS, False)):
        engine = resumed(learned)
        late = Envelope("tick", "", engine.now_ns + step_ns, b"", 10_000)
        assert bool(feed(engine, [late])) == told
        if told:
            continue
        restored = PartitionEngine(SETTINGS)
        restored.restore(engine.take_changes()[0], now_ns=engine.now_ns)
        second = (engine.now_ns - START_NS) // SECOND_NS
        end = second // BLOCK_S * BLOCK_S + BLOCK_S
        for one in (engine, restored):
            # the rest of that block is no whole one: the next is the first that can be told of
            assert feed(one, [tick(end, 10_001)]) == []
            assert len(feed(one, [tick(end + BLOCK_S, 10_002)])) == len(SERVICES)


def test_the_episode_of_a_silence_is_open_until_lines_come_again(learned: list[StoredState]) -> None:
    engine = resumed(learned)
    silent = [tick(STOPPED_S + n, 10_000 + n) for n in range(60)]
    found = feed(engine, silent)
    engine.courses.clear()
    hours = 3 * EPISODE_SILENT_NS // SECOND_NS
    feed(engine, [tick(STOPPED_S + n, 20_000 + n) for n in range(60, hours, 60)])
    assert engine.courses == []
    rng, again = random.Random(2), []
    for second in range(hours, hours + 60):
        at_ns = START_NS + (STOPPED_S + second) * SECOND_NS
        payload = telemetry.logs(rng, "shop", events=5, received_ns=at_ns).payload
        again.append(Envelope("logs", "t", at_ns, payload, 30_000 + second))
    assert feed(engine, again) == []
    (over,) = engine.courses
    assert not over.episode.open
    assert over.seed in {f.seed for f in found if f.key.service == "shop"}


def test_what_senders_clocks_say_moves_no_block(learned: list[StoredState]) -> None:
    """Times a century ahead or behind: what counts is when events were received."""
    found = []
    for wrong_s in (0, 3_000_000_000, -1_700_000_000):
        engine, rng, log = resumed(learned), random.Random(3), list[Envelope]()
        for second in range(STOPPED_S, STOPPED_S + 100):
            at_ns = START_NS + second * SECOND_NS
            told = telemetry.logs(rng, "cart", events=5, received_ns=at_ns + wrong_s * SECOND_NS)
            log.append(Envelope("logs", "t", at_ns, told.payload, 10_000 + second))
        found.append([(f.key, f.verdict) for f in feed(engine, log)])
    assert found[0] == found[1] == found[2]


def test_sessions_of_logs_and_traces_are_cut_as_ever() -> None:
    chosen = replace(SETTINGS, sessions=Sessions.of(attributes=("order.id",)))
    blocks = replace(chosen, logs=LogSettings(p_value_threshold=0.01))
    seen = []
    for settings in (chosen, blocks):
        engine = PartitionEngine(settings)
        log = [
            Envelope(m.kind, "t", m.received_ns, m.payload, n)  # type: ignore[arg-type]
            for n, m in enumerate(telemetry.story(messages=120, with_orders=True), 1)
        ]
        found = feed(engine, log)
        of_others = [f for f in found if f.key.unit or f.key.signal != "logs"]
        statuses = [s for s in engine.statuses() if s.key.unit or s.key.signal != "logs"]
        seen.append((of_others, statuses))
    assert seen[0] == seen[1]


def test_a_refresh_learns_anew_from_the_next_whole_block(learned: list[StoredState]) -> None:
    engine = resumed(learned)
    (key,) = [s.key for s in engine.statuses() if s.key.service == "cart"]
    wish = key.id.bytes + uuid.UUID(int=5).bytes
    engine.feed("refresh", wish, tenant="t", received_ns=engine.now_ns, position=9_000)
    rng = random.Random(4)
    for second in range(STOPPED_S, STOPPED_S + 31):
        at_ns = START_NS + second * SECOND_NS
        payload = telemetry.logs(rng, "cart", events=5, received_ns=at_ns).payload
        engine.feed("logs", payload, tenant="t", received_ns=at_ns, position=10_000 + second)
    (status,) = engine.statuses([key.id])
    assert (status.warm_up.phase, status.warm_up.units_seen) == ("learning", 2)
    assert status.warm_up.units_needed == 200
