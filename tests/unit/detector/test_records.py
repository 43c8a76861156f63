"""Findings as rows: what a finding says of its kind, and of its standing among the hour's verdicts."""

from __future__ import annotations

from msgspec import structs

from driftlock.core.verdict import Verdict
from driftlock.detector.records import to_row
from driftlock.engine.finding import Finding
from driftlock.signals.batch import StreamKey

VERDICT = Verdict(
    key="block 7",
    first=1,
    last=25,
    first_time_ns=1,
    last_time_ns=2,
    events=25,
    score=30.0,
    p_value=0.004,
    surprise_bits=90.0,
    calibration_size=500,
    alarm=True,
)


def test_a_lasting_change_is_tagged_and_a_unit_is_not() -> None:
    key = StreamKey("", "logs", "shop")
    unit = to_row(Finding(key, VERDICT, 1, 2, 1, {"q_value": 0.4, "verdicts": 100}), partition=3)
    drift = to_row(Finding(key, structs.replace(VERDICT, kind="drift"), 1, 2, 1), partition=3)
    assert (unit.tags, drift.tags) == ([], ["drift"])
    assert (unit.metadata["kind"], drift.metadata["kind"]) == ("unit", "drift")
    assert (unit.metadata["q_value"], unit.metadata["verdicts"]) == (0.4, 100)
    assert unit.id == drift.id, "one unit is one anomaly, whichever it tells"
