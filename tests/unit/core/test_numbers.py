"""The number coder against a slow, obvious one, its bounds, and what it finds in a stream."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from core_logs import SECOND_NS, feed, hash_of, line_of, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder import BIT_GRID, UNITS_REMEMBERED_MAX
from driftlock.core.coder_numbers import (
    BITS_MAX,
    LEVEL_BITS,
    LEVELS,
    MARGIN_BITS,
    PLACES,
    ROW_COUNT_MAX,
    ROWS_MAX,
    NumberCoder,
    Strange,
    follow_levels,
    number_bits,
)
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.templates import TemplateTable
from driftlock.core.verdict import Verdict

Event = tuple[int, tuple[int, ...]]  # a template's number, the buckets of its numbers


def packed(buckets: tuple[int, ...]) -> int:
    return sum(bucket << (4 * place) for place, bucket in enumerate(buckets))


class ObviousCoder:
    """Counts in dictionaries, one formula, one event after another."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)

    def event(self, template: int, buckets: tuple[int, ...]) -> tuple[float, Any]:
        found: list[tuple[float, Any]] = []
        for place, bucket in enumerate(buckets):
            counts = self.seen[template, place]
            total = sum(counts.values())
            if total:
                sample = min(total, 1_000)
                apart = {b: abs((5 if b == 1 else b) - (5 if bucket == 1 else bucket)) for b in counts}
                near = sum(n for b, n in counts.items() if b != bucket and apart[b] <= 1)
                away = min(apart[b] for b, n in counts.items() if n)
                seen = (
                    ((counts[bucket] + near / 64) * sample / total + 0.5) / (sample + 1) / max(away, 1) ** 2
                )
                top = max(b for b, n in counts.items() if n)
                below = (5 if top == 1 else top) - (5 if bucket == 1 else bucket)
                chance = seen / 2 + (0.45 / 10 ** min(below, 2) if below >= 0 else 0)
                usual = max(range(1, 16), key=lambda b: counts[b])
                found.append((-math.log2(chance), (place, bucket, usual, counts[bucket] == 0)))
            counts[bucket] += 1
            if sum(counts.values()) >= ROW_COUNT_MAX:
                for each in counts:
                    counts[each] //= 2
        bits, cause = max(found, default=(0.0, None), key=lambda each: each[0])
        return (bits, cause) if bits > 0 else (0.0, None)


def table_of(templates: int) -> tuple[TemplateTable, npt.NDArray[np.int32]]:
    """A table with templates, and the ids by their numbers."""
    table = TemplateTable()
    lines = [line_of(n) for n in range(templates)]
    ends = np.cumsum([len(line) for line in lines])
    starts = ends - [len(line) for line in lines]
    hashes = np.array([hash_of(n) for n in range(templates)], np.uint64)
    ids, _ = table.ids(hashes, np.frombuffer(b"".join(lines), np.uint8), starts, ends, pinned=None)
    return table, ids


WIDTHS = [0, 1, 2, 3, 8]  # how many numbers the templates have, in turn
events = st.lists(
    st.integers(0, 9).flatmap(
        lambda t: st.tuples(
            st.just(t), st.tuples(*[st.integers(1, 15).filter(lambda b: b % 5)] * WIDTHS[t % len(WIDTHS)])
        )
    ),
    max_size=120,
)


@given(events, st.lists(st.integers(0, 120), max_size=4))
@settings(max_examples=150, deadline=None)
def test_it_codes_as_the_obvious_coder_does_however_events_come_in_calls(
    log: list[Event], cuts: list[int]
) -> None:
    table, ids = table_of(10)
    coder, obvious = NumberCoder(table), ObviousCoder()
    numbers = np.array([packed(buckets) for _, buckets in log], np.uint32)
    rows = ids[[template for template, _ in log]] if log else np.zeros(0, np.int32)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    bits: list[float] = []
    causes: list[int] = []
    for low, high in pairwise(bounds):
        found = coder.take(rows[low:high], numbers[low:high])
        bits += found.bits.tolist()
        causes += found.causes.tolist()
    for (template, buckets), told, cause in zip(log, bits, causes, strict=True):
        expected, why = obvious.event(template, buckets)
        assert told == pytest.approx(expected, abs=2 / BIT_GRID)
        assert told * BIT_GRID == int(told * BIT_GRID)
        if why is not None and cause >= 0:  # of two that cost the same, rounding chooses
            strange = Strange.of(cause)
            assert strange.template == ids[template]
            assert (strange.place, strange.bucket, strange.usual, strange.unseen) == why or told < 1.5


def test_a_row_that_has_counted_much_is_halved_and_still_as_the_obvious_one() -> None:
    table, ids = table_of(1)
    coder, obvious = NumberCoder(table), ObviousCoder()
    buckets = np.random.default_rng(1).choice([7, 8, 12], 40_000, p=[0.8, 0.199, 0.001])
    found = coder.take(np.repeat(ids, len(buckets)), buckets.astype(np.uint32))
    expected = [obvious.event(0, (bucket,))[0] for bucket in buckets.tolist()]
    np.testing.assert_allclose(found.bits, expected, atol=2 / BIT_GRID)


def test_what_is_larger_than_ever_costs_more_than_what_is_smaller() -> None:
    table, ids = table_of(1)
    coder = NumberCoder(table)
    coder.take(np.repeat(ids, 2_000), np.full(2_000, 8, np.uint32))
    sizes = np.array([9, 10, 12, 7, 6, 1], np.uint32)
    told = coder.take(np.repeat(ids, 6), sizes, learns=False).bits.tolist()
    assert told == pytest.approx([7.0, 14.0, BITS_MAX, 4.2, 7.7, 7.8], abs=0.2)


def test_nothing_is_learned_or_written_to_without_learns() -> None:
    table, ids = table_of(2)
    coder = NumberCoder(table)
    coder.take(ids[:1], np.array([8], np.uint32))
    before = coder.state()
    coder.take(ids, np.array([12, 3], np.uint32), learns=False)
    assert coder.state() == before


def test_rows_are_bounded_and_given_back() -> None:
    table, ids = table_of(200)
    coder = NumberCoder(table)
    many = np.full(len(ids), packed((7,) * PLACES), np.uint32)
    odd = np.full(len(ids), packed((13,) * PLACES), np.uint32)
    coder.take(ids, many)
    found = coder.take(ids, odd, learns=False).bits
    assert np.count_nonzero(found) == -(-ROWS_MAX // PLACES), "the first ones have rows, the others none"
    assert coder.nbytes < 16 * 1024
    coder.forget(ids[:10].tolist())
    coder.take(ids[150:160], many[:10])
    found = coder.take(ids, odd, learns=False).bits
    assert np.flatnonzero(found).tolist() == [*range(10, 32), *range(150, 160)]


def test_its_state_restores_exactly() -> None:
    table, ids = table_of(30)
    coder, twin = NumberCoder(table), NumberCoder(table)
    rng = np.random.default_rng(3)
    for _ in range(3):
        coder.take(rng.choice(ids, 500), rng.integers(1, 4_000, 500).astype(np.uint32))
        follow_levels(coder.levels, 3.5)
    coder.forget(ids[4:9].tolist())
    twin.load(coder.state())
    log, numbers = rng.choice(ids, 500), rng.integers(1, 4_000, 500).astype(np.uint32)
    for mine, theirs in zip(coder.take(log, numbers), twin.take(log, numbers), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert twin.state() == coder.state()


@given(st.lists(st.floats(0, BITS_MAX), min_size=1, max_size=300), st.floats(0.01, BITS_MAX))
@settings(max_examples=100, deadline=None)
def test_a_units_part_is_what_it_has_beyond_a_margin_over_all_but_one_in_32_units(
    before: list[float], bits: float
) -> None:
    levels = np.zeros(LEVELS, np.int32)
    for each in before:
        follow_levels(levels, each)
    upper = sorted((math.floor(each / LEVEL_BITS) + 1) * LEVEL_BITS for each in before)
    usual = upper[len(upper) - 1 - len(upper) // 32]
    assert number_bits(levels, bits) == max(bits - usual - MARGIN_BITS, 0.0)
    assert number_bits(levels, 0.0) == 0.0


def test_levels_are_halved_so_that_the_past_fades() -> None:
    levels = np.zeros(LEVELS, np.int32)
    for _ in range(UNITS_REMEMBERED_MAX + 10):
        follow_levels(levels, 2.0)
    assert levels.sum() < UNITS_REMEMBERED_MAX


def requests(events: int, *, seed: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Lines of which each has one number of two digits, sometimes of three, and some an id of any size."""
    rng = np.random.default_rng(seed)
    log = zipf(rng, events, 12)
    took = rng.choice([7, 8], events, p=[0.97, 0.03])
    return log, np.where(log == 5, rng.integers(6, 13, events), took).astype(np.uint32)


def judged(mode: Any, seed: int, *, told: bool = True) -> tuple[str, list[Verdict]]:
    """The line whose number is a thousand times as large as usual in unit 480, and the verdicts."""
    log, numbers = requests(25 * 490, seed=seed)
    at = 25 * 480 + int(np.argmax(log[25 * 480 :] != 5))
    numbers[at] = 11
    stream = LogStream(LogSettings(mode=mode, window_size=25))
    verdicts = feed(
        stream,
        log,
        numbers=numbers if told else None,
        sessions=[b"%d" % (n // 25) for n in range(len(log))] if mode == "session" else None,
        cuts=range(25, len(log), 25),
        step_ns=2 * SECOND_NS,
    )
    return line_of(int(log[at])).decode(), verdicts + stream.flush()


@pytest.mark.parametrize("mode", ["block", "session"])
def test_a_number_of_a_size_never_seen_is_found_and_named(mode: Any) -> None:
    name = "block 480" if mode == "block" else "480"
    found = 0
    for seed in range(5):
        line, verdicts = judged(mode, seed)
        verdict = next(each for each in verdicts if each.key == name)
        assert verdict.p_value <= 0.05
        found += verdict.alarm
        if verdict.alarm:
            assert_tells_of_the_number(verdict, line)
    assert found >= 4
    _, without = judged(mode, 2, told=False)
    assert not any(verdict.alarm for verdict in without if verdict.key == name)


def assert_tells_of_the_number(told: Verdict, line: str) -> None:
    why = f"the first number in “{line}” is 100,000 to 999,999 as never before, where 10 to 99 is usual."
    assert told.explanation.endswith(why)
    assert told.detail is not None
    number = told.detail["number"]
    assert (number["line"], number["place"], number["seen_before"]) == (line, 1, False)
    assert number["bits"] == told.detail["parts"]["number"] > 4
    bits = sum(each["bits"] for each in told.detail["lines"]) + told.detail["other_lines"]["bits"]
    bits += sum(each["bits"] for each in told.detail["whole_unit"]) + told.detail["earlier_blocks"]["bits"]
    assert bits == told.detail["score_bits"] == told.score


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_numbers_of_any_size_do_not_break_the_promise(seed: int) -> None:
    """Stationary lines whose numbers have heavy tails: p ≤ α in at most 1.2 α of the windows."""
    rng = np.random.default_rng(seed)
    log = zipf(rng, 25 * 4_000, 30)
    decades = rng.standard_t(2, len(log)) + log % 4
    numbers = np.clip(np.floor(decades) + 6, 2, 15).astype(np.uint32)
    stream = LogStream(LogSettings(window_size=25), tells=False)
    p_values = np.array([verdict.p_value for verdict in feed(stream, log, numbers=numbers)])
    for alpha in (0.05, 0.01):
        assert np.mean(p_values <= alpha) <= 1.2 * alpha
