"""Blocks of time: which units come out of events and clocks, against a slow obvious rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from core_logs import SECOND_NS
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder_numbers import NumberBits
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import Units
from driftlock.core.time_blocks import BLOCK_EVENTS_MAX, EMPTY_BLOCKS_MAX, TimeBlockAssembler

BLOCK_S = 10
BLOCK_NS = BLOCK_S * SECOND_NS

# what happens to a stream: events of one call by their seconds (0: not known), or the clock's time in seconds
Call = tuple[str, list[int]]
calls = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.lists(st.sampled_from([0, *range(1, 130)]), max_size=12)),
        st.tuples(st.just("clock"), st.lists(st.integers(0, 200), min_size=1, max_size=1)),
        st.tuples(st.just("interrupt"), st.lists(st.integers(1, 200), min_size=1, max_size=1)),
    ),
    max_size=14,
)

# key, ids, volume, first and last position, and where its strangest number is
Told = tuple[str, list[int], int, int, int, int]


def number_of(position: int) -> tuple[float, int]:
    """Bits and cause of an event's strangest number; some have none."""
    return (position * 7 % 13 / 4, position) if position % 3 else (0.0, -1)


def numbers_of(places: npt.NDArray[np.int64]) -> NumberBits:
    """Those of events at these positions."""
    told = [number_of(position) for position in places.tolist()]
    bits, causes = np.array([bits for bits, _ in told]), np.array([cause for _, cause in told])
    return NumberBits(bits.astype(np.float32), causes.astype(np.int32))


def strangest(positions: list[int]) -> int:
    """The cause of the first one of those that cost the most, -1 where none costs anything."""
    bits, cause = max((number_of(position) for position in positions), key=lambda n: n[0], default=(0.0, -1))
    return cause if bits else -1


@dataclass
class Obvious:
    """Places every event, then looks at all blocks between the first and the open one."""

    placed: dict[int, list[int]] = field(default_factory=dict)  # positions by block
    unheard: set[int] = field(default_factory=set)
    first: int | None = None
    open: int = -1
    late: int = 0

    def event(self, position: int, second: int) -> None:
        own = second // BLOCK_S if second else -1
        if max(own, self.open) < 0:
            return
        self.late += 0 <= own < self.open
        self.clock(max(own, self.open) * BLOCK_S, begins=True)
        self.placed.setdefault(self.open, []).append(position)

    def clock(self, second: int, *, begins: bool = False) -> None:
        if self.first is None and begins:
            self.first = second // BLOCK_S
            self.unheard.add(self.first)
        if self.first is not None:
            self.open = max(self.open, second // BLOCK_S)

    def interrupt(self, second: int) -> None:
        before = self.open
        self.clock(second)
        self.unheard |= set(range(before, self.open + 1))

    def units(self) -> list[tuple[int, list[int], int]]:
        """Number, positions, and the last position before the block's end."""
        found, empty, last = [], 0, 0
        for number in range(-1 if self.first is None else self.first, self.open):
            events = self.placed.get(number, [])
            last = max([last, *events])
            empty = 0 if events else empty + (number not in self.unheard)
            if number not in self.unheard and empty <= EMPTY_BLOCKS_MAX:
                found.append((number, events, last))
        return found


def told(units: Units | None) -> list[Told]:
    if units is None:
        return []
    rows = range(len(units))
    assert (units.last_time_ns - units.first_time_ns == BLOCK_NS - 1).all()
    return [
        (
            units.keys[n],
            units.ids_of(n).tolist(),
            int(units.events()[n]),
            int(units.first[n]),
            int(units.last[n]),
            int(units.number_causes[n]),
        )
        for n in rows
    ]


def run(work: list[Call], *, cuts: int | None, restore: bool = False) -> tuple[list[Told], int]:
    """What an assembler gives for calls, whose events are cut into calls of so many."""
    assembler, found, position = TimeBlockAssembler(BLOCK_NS), list[Told](), 0
    for kind, seconds in work:
        if restore:
            other = TimeBlockAssembler(BLOCK_NS)
            other.load(assembler.state())
            assert other.state() == assembler.state()
            assembler = other
        if kind == "clock":
            found += told(assembler.move(seconds[0] * SECOND_NS))
        elif kind == "interrupt":
            assembler.interrupt(seconds[0] * SECOND_NS)
        for low in range(0, len(seconds) if kind == "events" else 0, cuts or 1_000):
            part = np.array(seconds[low : low + (cuts or 1_000)], np.int64)
            places = np.arange(position + 1, position + 1 + len(part))
            ids, times = (places % 7).astype(np.int32), part * SECOND_NS
            found += told(assembler.add(ids, numbers_of(places), places, times, now_ns=0))
            position += len(part)
    return found, assembler.late_events


@given(work=calls, cuts=st.integers(1, 5))
@settings(max_examples=400, deadline=None)
def test_units_are_those_of_the_obvious_rule_however_events_come_in_calls(
    work: list[Call], cuts: int
) -> None:
    oracle, position = Obvious(), 0
    for kind, seconds in work:
        for second in seconds:
            if kind == "events":
                position += 1
                oracle.event(position, second)
            elif kind == "clock":
                oracle.clock(second)
            elif oracle.first is not None:
                oracle.interrupt(second)
    found, late = run(work, cuts=None)
    expected = [
        (
            f"block 1970-01-01T00:{number * BLOCK_S // 60:02}:{number * BLOCK_S % 60:02}Z",
            [place % 7 for place in events],
            len(events),
            events[0] if events else last,
            last,
            strangest(events),
        )
        for number, events, last in oracle.units()
    ]
    assert found == expected
    assert late == oracle.late
    assert run(work, cuts=cuts) == (found, late)
    assert run(work, cuts=cuts, restore=True) == (found, late)


def at(assembler: TimeBlockAssembler, seconds: list[int], first: int = 1, now_s: int = 0) -> list[Told]:
    places = np.arange(first, first + len(seconds))
    times = np.array(seconds, np.int64) * SECOND_NS
    ids, numbers = places.astype(np.int32) % 9, numbers_of(places)
    return told(assembler.add(ids, numbers, places, times, now_ns=now_s * SECOND_NS))


def test_a_leap_of_centuries_costs_three_blocks_and_the_rest_is_counted() -> None:
    assembler = TimeBlockAssembler(SECOND_NS)
    places, far = np.array([1, 2]), 9 * 10**9
    times, none = np.array([5, 6]) * SECOND_NS, NumberBits.none(2)
    assert assembler.add(places.astype(np.int32), none, places, times, now_ns=0) is None
    third = (np.array([3], np.int32), NumberBits.none(1), np.array([3]), np.array([far]) * SECOND_NS)
    units = assembler.add(*third, now_ns=6 * SECOND_NS)
    assert units is not None
    assert units.events().tolist() == [1, 0, 0, 0]
    assert assembler.passed_over == far - 7 - EMPTY_BLOCKS_MAX


def test_the_clock_is_waited_for_until_a_silence_is_told_and_again_when_it_is_over() -> None:
    assembler = TimeBlockAssembler(BLOCK_NS)
    assert not assembler.waits_for_clock
    at(assembler, [5, 15])
    waits = []
    for second in range(20, 80, 10):
        assembler.move(second * SECOND_NS)
        waits.append(assembler.waits_for_clock)
    assert waits == [True, True, True, False, False, False]
    assert at(assembler, [75], 3, now_s=75) == []  # the silence has been told, and the rest is passed over
    assert assembler.waits_for_clock
    assert [unit[2] for unit in told(assembler.move(80 * SECOND_NS))] == [1]


def test_a_clock_without_events_is_no_stream_and_the_end_of_input_no_block() -> None:
    assembler = TimeBlockAssembler(BLOCK_NS)
    assert assembler.move(500 * SECOND_NS) is None
    assert at(assembler, [505, 515]) == []
    assembler.flush()
    assert assembler.move(900 * SECOND_NS) is None
    assert len(assembler.pending) == 0


def test_events_without_a_time_take_the_clock() -> None:
    assembler = TimeBlockAssembler(BLOCK_NS)
    at(assembler, [0, 0], now_s=5)
    at(assembler, [0, 0], 3, now_s=12)
    assert [unit[2:] for unit in at(assembler, [0], 5, now_s=21)] == [(2, 3, 4, 4)]


def test_a_block_without_bound_keeps_its_beginning_every_template_and_its_volume() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 4, 50_000).astype(np.int32)
    ids[30_000], ids[40_000:40_003] = 400, (401, 401, 2)
    places = np.arange(1, len(ids) + 1)
    for cuts in ([], [1, 700, 1_024, 1_025, 30_001], list(range(999, 50_000, 999))):
        assembler = TimeBlockAssembler(BLOCK_NS)
        at(assembler, [5])
        for low, high in pairwise([0, *cuts, len(ids)]):
            times = np.full(high - low, 11 * SECOND_NS)
            numbers = NumberBits.none(high - low)
            done = assembler.add(ids[low:high], numbers, places[low:high], times, now_ns=0)
            assert done is None or low == 0
            assert assembler.nbytes < 5_500
        units = assembler.move(20 * SECOND_NS)
        assert units is not None
        assert units.ids.tolist() == [*ids[:BLOCK_EVENTS_MAX].tolist(), 400, 401]
        assert (units.events().tolist(), units.first.tolist(), units.last.tolist()) == (
            [50_000],
            [1],
            [50_000],
        )


@pytest.mark.parametrize("block_ns", [0, SECOND_NS - 1, SECOND_NS + 1, 86_401 * SECOND_NS])
def test_blocks_are_whole_seconds_and_at_most_a_day(block_ns: int) -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        LogSettings(mode="time", block_ns=block_ns)


def test_another_length_is_another_shape_and_sizes_of_windows_are_none() -> None:
    one = LogSettings(mode="time")
    assert one.shape == LogSettings(mode="time", window_size=30, hop_size=10).shape
    assert one.shape != LogSettings(mode="time", block_ns=30 * SECOND_NS).shape
    assert one.blocks_per_window == 1
    assert (one.units_needed, one.units_to_reach_threshold) == (200, 19)
