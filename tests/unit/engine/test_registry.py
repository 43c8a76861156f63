"""The registry's bound: a flood of names costs no established stream its state."""

from __future__ import annotations

from driftlock.engine.registry import SERIES_SETTLED_EVENTS, StreamRegistry
from driftlock.signals.batch import StreamKey


def key(name: str) -> StreamKey:
    return StreamKey("default", "metrics", name)


def touch(registry: StreamRegistry, name: str, *, events: int, active: int) -> bool:
    entry = registry.touch(key(name), settings=None, events=events, now_ns=active, active=active)
    if entry is not None:
        registry.changed(entry)
    return entry is not None


def test_a_newcomer_displaces_the_stalest_stream_in_warm_up() -> None:
    registry = StreamRegistry(2)
    assert touch(registry, "old", events=1, active=1)
    assert touch(registry, "new", events=1, active=2)
    registry.take_changes()
    assert touch(registry, "old", events=1, active=3)
    assert touch(registry, "newest", events=1, active=4)
    assert registry.get(key("new")) is None
    assert registry.get(key("old")) is not None
    assert registry.evicted_streams == 1
    changed, removed = registry.take_changes()
    assert [entry.key.service for entry in changed if entry.key.service == "new"] == []
    assert removed == [key("new").id]


def test_established_streams_are_never_displaced_and_the_refused_are_counted() -> None:
    registry = StreamRegistry(2)
    for active, name in enumerate(("a", "b")):
        assert touch(registry, name, events=SERIES_SETTLED_EVENTS, active=active)
    for number in range(1000):
        assert not touch(registry, f"flood-{number}", events=3, active=10 + number)
    assert len(registry) == 2
    assert registry.refused_events == 3000


def test_a_stream_that_returns_after_eviction_is_not_reported_as_removed() -> None:
    registry = StreamRegistry(1)
    touch(registry, "a", events=1, active=1)
    registry.take_changes()
    touch(registry, "b", events=1, active=2)
    touch(registry, "a", events=1, active=3)
    changed, removed = registry.take_changes()
    assert [entry.key.service for entry in changed] == ["a"]
    assert removed == []  # b never reached a checkpoint


def test_a_stored_stream_that_came_back_and_went_again_is_removed() -> None:
    registry = StreamRegistry(1)
    touch(registry, "a", events=1, active=1)
    registry.take_changes()
    for active, name in enumerate(("b", "a", "b"), 2):
        touch(registry, name, events=1, active=active)
    _, removed = registry.take_changes()
    assert removed == [key("a").id]
