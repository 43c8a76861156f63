"""Masking in the engine: lines reach streams masked, and a change of patterns never mixes templates."""

from __future__ import annotations

from dataclasses import replace

from driftlock.core.log_baseline import Baseline
from driftlock.engine.engine import PartitionEngine
from driftlock.engine.settings import EngineSettings
from driftlock.signals.masking import Masking
from driftlock.signals.sample import sample_logs

PLAIN = EngineSettings()
MASKED = replace(PLAIN, masking=Masking.of(mask=("took=took [0-9]+ ms",)))


def fed(settings: EngineSettings) -> PartitionEngine:
    engine = PartitionEngine(settings)
    engine.feed("logs", sample_logs(1100), tenant="t", received_ns=10**18, position=1)
    return engine


def baseline_of(engine: PartitionEngine) -> Baseline:
    key = next(iter(engine.statuses())).key
    found = engine.baseline(key)
    assert found is not None
    return Baseline.decode(found[1])


def test_a_baseline_says_how_its_lines_were_made() -> None:
    plain, masked = baseline_of(fed(PLAIN)), baseline_of(fed(MASKED))
    assert [text for _, text in masked.templates][1:] == [
        b"INFO request <num> from <ip> <took> http.status=200"
    ]
    assert plain.about["shape"][-1] == PLAIN.masking.version
    assert masked.about["shape"][-1] == MASKED.masking.version


def test_streams_learn_anew_when_the_patterns_change() -> None:
    states, _ = fed(PLAIN).take_changes()
    for settings, phase in ((PLAIN, "ready"), (MASKED, "learning")):
        engine = PartitionEngine(settings)
        engine.restore(states, now_ns=10**18)
        assert {status.warm_up.phase for status in engine.statuses()} == {phase}
