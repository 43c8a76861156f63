"""Totals that follow changes."""

from __future__ import annotations

from driftlock.core.verdict import Phase, WarmUp
from driftlock.detector.census import Census
from driftlock.engine.engine import StreamStatus
from driftlock.signals.batch import StreamKey


def status(name: str, phase: Phase, state_bytes: int) -> StreamStatus:
    return StreamStatus(StreamKey("t", "logs", name), 1, 0, 1, state_bytes, WarmUp(phase, 1, 1, 1, 0.5), "")


def test_totals_follow_changes_and_removals() -> None:
    census = Census()
    census.update([status("a", "learning", 100), status("b", "learning", 50)])
    assert census.state_bytes == 150
    assert census.phases["learning"] == 2
    census.update(
        [status("a", "ready", 300)], [StreamKey("t", "logs", "b").id, StreamKey("t", "logs", "x").id]
    )
    assert census.state_bytes == 300
    assert (census.phases["learning"], census.phases["ready"]) == (0, 1)
