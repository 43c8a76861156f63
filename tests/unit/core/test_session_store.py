"""The session store against a slow, obvious one, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder_numbers import NumberBits
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import Units
from driftlock.core.session_kernel import CHUNK_IDS, KEY_BYTES, REST_BYTES, SLOT_BYTES, SPARE_BYTES
from driftlock.core.session_store import SessionStore

CHUNK_BYTES = 2 * CHUNK_IDS + 2
LIMITS = LogSettings(
    mode="session",
    session_idle_ns=5,
    session_events_max=20,
    sessions_open_max=6,
    sessions_bytes_max=16 * 1024,
)
TEXTS = (20 * np.arange(501)).astype(np.uint16)
Row = tuple[str, tuple[int, ...], int, int, int, bool, int]


def number_of(position: int) -> tuple[float, int]:
    """Bits and cause of an event's strangest number; many have none."""
    return (position * 7 % 13 / 4, position) if position % 3 else (0.0, -1)


@dataclass
class Session:
    first: int
    ids: list[int] = field(default_factory=list)
    last: int = 0
    touched: int = 0
    known: int = 0
    taught: bool = False
    number: tuple[float, int] = (0.0, -1)


class ObviousStore:
    """Lists of keys, oldest first, and every rule written out."""

    def __init__(self, limits: LogSettings) -> None:
        self.limits = limits
        self.sessions: dict[bytes, Session] = {}
        self.open: list[bytes] = []
        self.paused: list[bytes] = []
        self.over: list[bytes] = []
        self.judged: list[Row] = []
        self.top = 0

    def room(self) -> int:
        templates, limit = self.top + 1, self.limits.sessions_bytes_max
        rows = 246 * min(templates, 256) + 40 * max(templates - 256, 0)
        return max(limit - rows - int(TEXTS[self.top]), limit // 12)

    def bytes(self) -> int:
        chunks = sum(-(-len(s.ids) // CHUNK_IDS) for s in self.sessions.values())
        return len(self.sessions) * SLOT_BYTES + chunks * CHUNK_BYTES + len(self.open) * KEY_BYTES

    def close(self, key: bytes, *, keep: bool) -> None:
        session = self.sessions[key]
        ids = tuple(session.ids)
        span = (session.first, session.last)
        self.judged.append((key.decode(), ids, *span, session.known, session.taught, session.number[1]))
        self.open.remove(key)
        if not keep:
            del self.sessions[key]
            return
        session.known, session.taught = len(ids), ids[-1] % 3 == 0
        (self.over if ids[-1] % 2 == 0 else self.paused).append(key)

    def crowd_out(self) -> None:
        for key in self.open[: max(len(self.open) // 16, 1)]:
            self.close(key, keep=True)

    def event(self, key: bytes, template: int, position: int, now: int) -> None:
        self.top = max(self.top, template)
        session = self.sessions.get(key)
        new, opens = session is None, key not in self.open
        begins = session is None or len(session.ids) % CHUNK_IDS == 0
        need = SLOT_BYTES * new + KEY_BYTES * opens + CHUNK_BYTES * begins
        crowded = opens and len(self.open) >= self.limits.sessions_open_max
        if crowded or (need and self.bytes() + need > self.room()):
            if len(self.open) >= self.limits.sessions_open_max:
                self.crowd_out()
            most = SLOT_BYTES + KEY_BYTES + CHUNK_BYTES
            while self.bytes() + most > self.room():
                if not self.paused and not self.over:
                    self.crowd_out()
                del self.sessions[(self.over or self.paused).pop(0)]
            self.event(key, template, position, now)
            return
        session = self.sessions.setdefault(key, Session(position))
        for place in (self.open, self.paused, self.over):
            if key in place:
                place.remove(key)
        self.open.append(key)
        session.ids.append(template)
        if number_of(position)[0] > session.number[0]:
            session.number = number_of(position)
        session.last, session.touched = position, now
        if len(session.ids) >= self.limits.session_events_max:
            self.close(key, keep=False)

    def idle(self, now: int) -> None:
        while self.open and now - self.sessions[self.open[0]].touched >= self.limits.session_idle_ns:
            self.close(self.open[0], keep=True)


def take(store: SessionStore, units: Units | None, judged: list[Row]) -> None:
    """Judges units as `ObviousStore.close` does."""
    if units is None:
        return
    last = np.array([units.ids_of(row)[-1] for row in range(len(units))])
    for row, key in enumerate(units.keys):
        ids = tuple(units.ids_of(row).tolist())
        span = int(units.first[row]), int(units.last[row])
        told = (int(units.known[row]), bool(units.taught[row]), int(units.number_causes[row]))
        judged.append((key, ids, *span, *told))
    store.settle(units, last % 3 == 0, last % 2 == 0, np.zeros(len(units), np.bool_))


def feed(store: SessionStore, events: list[tuple[int, int, int]], judged: list[Row], first: int = 0) -> None:
    ids = np.array([template for _, template, _ in events], np.int32)
    keys = [b"key-%d" % key if key else b"" for key, _, _ in events]
    at = np.arange(first, first + len(events))
    bits, causes = zip(*map(number_of, at.tolist()), strict=True)
    numbers = NumberBits(np.array(bits, np.float32), np.array(causes, np.int32))
    for units in store.add(ids, keys, at, at * 10, numbers=numbers, now_ns=events[0][2], texts=TEXTS):
        take(store, units, judged)


calls = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 90)), min_size=1), st.integers(0, 6)),
    min_size=1,
    max_size=30,
)


@given(calls, st.just(LIMITS))
@settings(max_examples=150, deadline=None)
def test_it_does_what_the_obvious_store_does_and_survives_a_restart(
    batches: list[Any], limits: LogSettings
) -> None:
    obvious, store = ObviousStore(limits), SessionStore(limits)
    store.leave_room(REST_BYTES - SPARE_BYTES)  # so that the first template takes of the sessions' room
    judged: list[Row] = []
    now = position = 0
    for batch, wait in batches:
        now += wait
        obvious.idle(now)
        take(store, store.idle(now), judged)
        for offset, (key, template) in enumerate(batch):
            if key:
                obvious.event(b"key-%d" % key, template, position + offset, now)
        feed(store, [(key, template, now) for key, template in batch], judged, position)
        position += len(batch)
        assert judged == obvious.judged
        assert (store.open, store.kept) == (len(obvious.open), len(obvious.paused) + len(obvious.over))
        named = {template for key in obvious.open for template in obvious.sessions[key].ids}
        assert set(store.ids_in_use().tolist()) == named
        twin = SessionStore(limits)
        twin.leave_room(REST_BYTES - SPARE_BYTES)
        twin.load(store.state())
        assert twin.state() == store.state()
        store = twin


@pytest.mark.parametrize("open_max", [40, 1_000])
def test_it_crowds_out_several_at_once_as_the_obvious_store_does(open_max: int) -> None:
    """More open sessions than there is room for: by their number, or by their bytes."""
    rng = np.random.default_rng(open_max)
    limits = replace(LIMITS, sessions_open_max=open_max)
    keys, items = rng.integers(1, 400, 1_500).tolist(), rng.integers(1, 9, 1_500).tolist()
    rows = list(zip(keys, items, strict=True))
    batches = [(rows[low : low + 50], 0) for low in range(0, len(rows), 50)]
    test_it_does_what_the_obvious_store_does_and_survives_a_restart.hypothesis.inner_test(batches, limits)


@given(st.lists(st.integers(1, 30), max_size=6))
@settings(max_examples=30, deadline=None)
def test_judged_sessions_that_name_an_evicted_template_are_forgotten(gone: list[int]) -> None:
    store = SessionStore(replace(LIMITS, sessions_open_max=100, sessions_bytes_max=64 * 1024))
    judged: list[Row] = []
    feed(store, [(1 + n % 25, 1 + (n * 7) % 30, 1) for n in range(75)], judged)
    take(store, store.idle(100), judged)
    held = {key for key, ids, *_ in judged if not set(ids) & set(gone)}
    assert store.kept == 25
    store.forget(gone)
    assert store.kept == len(held)
    feed(store, [(int(key.removeprefix("key-")), 1, 101) for key, *_ in judged], again := [])
    take(store, store.flush(), again)
    assert {key for key, _, _, _, known, *_ in again if known} == held


def test_the_bytes_held_are_bounded_under_a_flood_of_keys() -> None:
    limits = LogSettings(mode="session")
    store = SessionStore(limits)
    judged: list[Row] = []
    rng = np.random.default_rng(3)
    for now in range(60):
        keys, templates = rng.integers(1, 50_000, 1_000).tolist(), rng.integers(1, 500, 1_000).tolist()
        feed(store, [(k, t, now) for k, t in zip(keys, templates, strict=True)], judged, now * 1_000)
    assert len(judged) > 10_000
    assert store.nbytes <= 1.1 * limits.sessions_bytes_max  # arrays grow in steps
    assert store.crowded_out > 0


def test_of_a_long_key_only_the_part_that_is_shown_is_kept_and_told_in_bytes() -> None:
    sizes = {}
    for length in (32, 232, 5_000):
        store = SessionStore(LIMITS)
        keys = [b"k" * (length - 1) + b"%d" % n for n in range(4)]
        rows = np.arange(4)
        ids = rows.astype(np.int32)
        numbers = NumberBits.none(4)
        assert not list(store.add(ids, keys, rows, rows, numbers=numbers, now_ns=1, texts=TEXTS))
        sizes[length] = store.nbytes
        restored = SessionStore(LIMITS)
        restored.load(store.state())
        assert restored.nbytes == store.nbytes
        units = store.flush()
        assert units is not None
        assert len(units) == 4, "keys that are shown alike are still different ones"
        assert units.keys == [key[:256].decode() for key in keys]
        assert store.nbytes == sizes[32] - 4 * KEY_BYTES
    assert (sizes[232] - sizes[32], sizes[5_000] - sizes[32]) == (4 * 200, 4 * 224)
