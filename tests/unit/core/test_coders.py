"""One contract for every coder over templates, and slow obvious oracles for the fast ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from core_logs import hash_of, line_of
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder import BIT_GRID, CodedUnit, Coder, Part, coded_unit
from driftlock.core.coder_context import SAMPLE as CONTEXT_SAMPLE
from driftlock.core.coder_context import ContextCoder
from driftlock.core.coder_count import BUCKETS, CountCoder, bucket_of, counts_of
from driftlock.core.coder_count import SAMPLE as COUNT_SAMPLE
from driftlock.core.coder_presence import SAMPLE, PresenceCoder
from driftlock.core.coder_set import SetCoder
from driftlock.core.coder_volume import BUCKETS as VOLUME_BUCKETS
from driftlock.core.coder_volume import SAMPLE as VOLUME_SAMPLE
from driftlock.core.coder_volume import VolumeCoder, middle_of, volume_bucket
from driftlock.core.counters import CounterTable, add_item, group_key, item_key, mixed
from driftlock.core.templates import TEMPLATES_MAX, TemplateTable

Make = Callable[[TemplateTable], Coder]
MAKERS: list[Make] = [
    lambda table: PresenceCoder(),
    lambda table: CountCoder(),
    SetCoder,
    lambda table: ContextCoder(table, ends=True),
    lambda table: ContextCoder(table, ends=False),
    lambda table: VolumeCoder(active=True),
]
NAMES = ["presence", "count", "set", "order-ends", "order", "volume"]
each_coder = pytest.mark.parametrize("make", MAKERS, ids=NAMES)
units_of_events = st.lists(st.integers(0, 8), max_size=12)  # blocks of time may have none
unit_lists = st.lists(units_of_events, min_size=1, max_size=12)


def a_table(templates: int = 9) -> TemplateTable:
    table = TemplateTable()
    lines = [line_of(t) for t in range(templates)]
    ends = np.cumsum([len(line) for line in lines]).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    hashes = np.array([hash_of(t) for t in range(templates)], np.uint64)
    table.ids(hashes, np.frombuffer(b"".join(lines), np.uint8), starts, ends, pinned=None)
    return table


def unit_of(templates: Sequence[int]) -> CodedUnit:
    ids = np.array(templates, np.int32) + 1  # id 0 stands for what found no room
    return coded_unit(ids, np.zeros(64, np.int32))


@each_coder
@given(units=unit_lists, other=units_of_events)
@settings(max_examples=30, deadline=None)
def test_codes_are_deterministic_on_the_grid_and_survive_a_snapshot(
    make: Make, units: list[list[int]], other: list[int]
) -> None:
    table = a_table()
    coder, twin = make(table), make(table)
    for unit in units:
        coder.learn(unit_of(unit))
        twin.learn(unit_of(unit))
    probe = unit_of(other)
    before = [probe.ids.copy(), probe.distinct.copy(), probe.counts.copy()]
    part = coder.code(probe)
    assert part == coder.code(probe) == twin.code(probe)
    assert part.bits * BIT_GRID == math.floor(part.bits * BIT_GRID)
    assert 0.0 <= part.bits < 64.0
    restored = make(table)
    restored.load(coder.state())
    assert restored.code(probe) == part
    assert restored.state() == coder.state()
    for held, was in zip((probe.ids, probe.distinct, probe.counts), before, strict=True):
        np.testing.assert_array_equal(held, was)


@each_coder
@given(units=unit_lists, extra=units_of_events)
@settings(max_examples=30, deadline=None)
def test_weight_minus_one_takes_back_what_was_learned(
    make: Make, units: list[list[int]], extra: list[int]
) -> None:
    table = a_table()
    plain, undone = make(table), make(table)
    for unit in units:
        plain.learn(unit_of(unit))
        undone.learn(unit_of(unit))
    undone.learn(unit_of(extra))
    undone.learn(unit_of(extra), -1)
    for probe in [*units, extra]:
        assert undone.code(unit_of(probe)) == plain.code(unit_of(probe))


@each_coder
def test_what_is_learned_often_costs_less_than_what_is_new(make: Make) -> None:
    coder = make(a_table())
    for _ in range(200):
        coder.learn(unit_of([0, 1, 2, 3]))
    assert coder.code(unit_of([0, 1, 2, 3])).bits + 2 < coder.code(unit_of([0, 0, 0, 0, 1, 7, 2])).bits


@each_coder
def test_state_stays_bounded_and_codes_finite_under_endless_news(make: Make) -> None:
    table = a_table(40)
    coder = make(table)
    coder.reserve(table.capacity)
    rng = np.random.default_rng(5)
    for _ in range(3_000):
        coder.learn(unit_of(rng.integers(0, 40, 25).tolist()))
    assert coder.nbytes <= 110_000
    assert 0.0 <= coder.code(unit_of(list(range(20)))).bits < 40.0


def presence_oracle(units: list[list[int]], probe: list[int]) -> float:
    df = Counter(t for unit in units for t in set(unit))
    n = len(units)
    sample = min(n, SAMPLE)
    costs = []
    for template in range(9):
        if template in probe and not df[template]:
            costs.append(math.log2(2 * (SAMPLE + 1)))
        elif template in probe:
            costs.append(math.log2((sample + 1) / (df[template] / n * sample + 0.5)))
        elif df[template]:
            costs.append(math.log2((sample + 1) / ((n - df[template]) / n * sample + 0.5)))
    return max(costs, default=0.0)


def test_the_counts_of_a_bucket_are_those_that_fall_into_it() -> None:
    for bucket in range(BUCKETS):
        least, most = counts_of(bucket)
        held = [count for count in range(2_000) if bucket_of(count) == bucket]
        assert held == list(range(least, 2_000 if most is None else most + 1))


def count_oracle(units: list[list[int]], probe: list[int]) -> float:
    costs = [0.0]
    for template, times in Counter(probe).items():
        seen = Counter(bucket_of(unit.count(template)) for unit in units if template in unit)
        total = sum(seen.values())
        if not total:
            continue
        mode = min(b for b in seen if seen[b] == max(seen.values()))
        here = bucket_of(times)
        if here == mode:
            continue
        beyond = sum(n for b, n in seen.items() if (b >= here if here > mode else b <= here))
        sample = min(total, COUNT_SAMPLE)
        share = beyond / total * sample + 0.5 * 2 ** (-abs(here - mode) / 2)
        costs.append(math.log2((sample + 0.5) / share))
    return max(0.0, max(costs) - math.log2(len(set(probe)) or 1))


def set_oracle(units: list[list[int]], probe: list[int]) -> float:
    sets = Counter(frozenset(unit) for unit in [*units, probe])
    frequency = sets[frozenset(probe)]
    rarer = sum(n for key, n in sets.items() if n <= frequency)
    # the probe counts as one of its own set only: others of its frequency stay as they are
    return math.log2((len(units) + 1) / rarer)


def order_oracle(units: list[list[int]], probe: list[int], *, ends: bool) -> float:
    """Each unit is coded by what each order saved in earlier units, then learned."""
    seen: dict[tuple[int, ...], Counter[int]] = {}
    gains: dict[tuple[int, int, bool], float] = {}
    worst_steps: list[float] = []
    cost = 0.0
    for unit in [*units, probe]:
        sequence = [-1, -1, -1, *unit, *([-2] if ends or not unit else [])]
        saved: dict[tuple[int, int, bool], float] = {}
        bits = [symbol_bits(seen, sequence, at, gains, saved) for at in range(3, len(sequence))]
        cost = sum(bits) / len(bits) + (step_oracle(worst_steps, max(bits)) if unit else 0.0)
        worst_steps.append(max(bits))
        gains |= {key: 0.99 * gains.get(key, 0.0) + gain for key, gain in saved.items()}
        for at in range(3, len(sequence)):
            for order in range(4):
                seen.setdefault(tuple(sequence[at - order : at]), Counter())[sequence[at]] += 1
    return cost


def step_oracle(past: list[float], worst: float) -> float:
    """Half of −log2 of the share of units whose worst step was at most three quarters of a bit cheaper."""
    if not past:
        return 0.0
    share = sum(math.floor(4 * bits) >= math.floor(4 * worst) - 3 for bits in past) / len(past)
    return 0.5 * math.log2(129 / (share * 128 + 0.5))


def symbol_bits(
    seen: dict[tuple[int, ...], Counter[int]],
    sequence: list[int],
    at: int,
    gains: dict[tuple[int, int, bool], float],
    saved: dict[tuple[int, int, bool], float],
) -> float:
    p = 1 / TEMPLATES_MAX
    for order in range(4):
        if not (counts := seen.get(tuple(sequence[at - order : at]))):
            break
        discounted = max(counts[sequence[at]] - 0.5, 0.0)
        escape = max(0.5 * len(counts) / counts.total(), 0.5 / CONTEXT_SAMPLE)
        own = discounted / (counts.total() - 0.5 * len(counts)) * (1 - escape) + escape * p
        if order == 0:
            p = own
            continue
        key = (order, min(math.floor(math.log2(counts.total())), 3), len(counts) > 1)
        weight = 0.005 + 0.99 / (1 + 2 ** -gains.get(key, 0.0))
        saved[key] = saved.get(key, 0.0) + math.log2(own / p)
        p = weight * own + (1 - weight) * p
    return -math.log2(p)


@given(units=unit_lists, probe=units_of_events)
@settings(max_examples=100, deadline=None)
def test_coders_equal_their_slow_oracles(units: list[list[int]], probe: list[int]) -> None:
    table = a_table()
    presence, count, sets = PresenceCoder(), CountCoder(), SetCoder(table)
    orders = {ends: ContextCoder(table, ends=ends) for ends in (False, True)}
    for unit in units:
        for order in orders.values():
            order.follow(order.code_symbols(unit_of(unit)).notes)
        for coder in (presence, count, sets, *orders.values()):
            coder.learn(unit_of(unit))
    near = {"abs": 2e-5}
    assert presence.code(unit_of(probe)).bits == pytest.approx(presence_oracle(units, probe), **near)
    assert count.code(unit_of(probe)).bits == pytest.approx(count_oracle(units, probe), **near)
    assert sets.code(unit_of(probe)).bits == pytest.approx(set_oracle(units, probe), **near)
    for ends, order in orders.items():
        expected = order_oracle(units, probe, ends=ends)
        assert order.code(unit_of(probe)).bits == pytest.approx(expected, **near)


def volume_oracle(volumes: list[int], volume: int) -> float:
    """Twice the smaller of the shares on both sides; what was never seen, by its distance."""
    here, seen = volume_bucket(volume), sorted(volume_bucket(one) for one in volumes)
    tail = min(sum(b <= here for b in seen), sum(b >= here for b in seen))
    away = 0 if tail else min(abs(b - here) for b in seen)
    middle_half = seen[math.ceil(0.75 * len(seen)) - 1] - seen[math.ceil(0.25 * len(seen)) - 1]
    sample = min(len(seen), VOLUME_SAMPLE)
    share = tail * sample / len(seen) + 0.5 * (1 + away / max(middle_half, 1)) ** -3
    return max(math.log2((sample + 0.5) / share) - 1, 0.0)


volumes_of_blocks = st.one_of(st.integers(0, 40), st.integers(0, 10**9))


@given(volumes=st.lists(volumes_of_blocks, min_size=1, max_size=40), volume=volumes_of_blocks)
@settings(max_examples=200, deadline=None)
def test_the_volume_coder_equals_its_slow_oracle(volumes: list[int], volume: int) -> None:
    coder, marks, none = VolumeCoder(active=True), np.zeros(1, np.int32), np.zeros(0, np.int32)
    for one in volumes:
        coder.learn(coded_unit(none, marks, volume=one))
    part = coder.code(coded_unit(none, marks, volume=volume))
    assert part.template == -1
    assert part.bits == pytest.approx(volume_oracle(volumes, volume), abs=2e-5)
    usual = sorted(volumes)[(len(volumes) - 1) // 2]
    assert volume_bucket(coder.usual) == volume_bucket(usual)


def test_volume_buckets_are_exact_low_and_eight_an_octave_high() -> None:
    assert [volume_bucket(n) for n in range(18)] == [*range(17), 16]
    assert [volume_bucket(2**n) for n in range(4, 63)] == [8 * (n - 2) for n in range(4, 63)]
    assert volume_bucket(2**63 - 1) < VOLUME_BUCKETS
    assert all(volume_bucket(middle_of(b)) == b for b in range(VOLUME_BUCKETS - 24))


def test_nothing_and_ever_more_cost_ever_more() -> None:
    coder, marks, none = VolumeCoder(active=True), np.zeros(1, np.int32), np.zeros(0, np.int32)
    for one in np.random.default_rng(1).poisson(600, 20_000).tolist():  # more than are remembered
        coder.learn(coded_unit(none, marks, volume=one))
    bits = [coder.code(coded_unit(none, marks, volume=v)).bits for v in (600, 900, 1_200, 12_000, 300, 60, 0)]
    assert bits[0] == 0.0
    assert 9 < bits[1] < bits[2] < bits[3]
    assert 9 < bits[4] < bits[5] < bits[6] < 30
    assert 8_000 < coder.histogram.sum() < 16_384


@pytest.mark.parametrize("templates", [9, 40])
def test_the_order_of_a_stream_without_order_does_not_cost_more_with_age(templates: int) -> None:
    """Chance successions fill the longer contexts; they prove nothing, so they are not heeded."""
    coder, rng = ContextCoder(a_table(templates), ends=False), np.random.default_rng(4)
    bits = []
    for _ in range(1_500):
        unit = unit_of(rng.integers(0, templates, 25).tolist())
        coded = coder.code_symbols(unit)
        bits.append(coded.bits)
        coder.follow(coded.notes)
        coder.learn(unit)
    assert np.mean(bits[1_200:]) <= np.mean(bits[100:400]) + 0.05
    assert np.mean(bits[1_200:]) <= math.log2(templates) + 0.15


def test_parts_name_their_cause() -> None:
    presence, count = PresenceCoder(), CountCoder()
    for _ in range(100):
        presence.learn(unit_of([0, 1, 2]))
        count.learn(unit_of([0, 1, 2]))
    assert presence.code(unit_of([0, 1, 2, 5])).template == 6
    assert presence.code(unit_of([0, 2])).template == 2
    assert count.code(unit_of([0, 1, 2, 2, 2, 2, 2, 2])).template == 3


def test_a_unit_without_events_lacks_what_is_usual_and_is_as_likely_as_such_units_are() -> None:
    table = a_table()
    presence, order = PresenceCoder(), ContextCoder(table, ends=False)
    assert presence.code(unit_of([])) == Part(0.0, -1)
    for n in range(400):
        unit = unit_of([] if n % 8 == 0 else [0, 1, 2])
        order.follow(order.code_symbols(unit).notes)
        order.learn(unit)
        presence.learn(unit)
    lacking = presence.code(unit_of([]))
    assert (lacking.template, round(lacking.bits, 1)) == (1, 3.0)
    coded = order.code_symbols(unit_of([]))
    assert coded.total_bits == pytest.approx(3.0, abs=0.1)
    assert (coded.bits, coded.shares.tolist()) == (coded.total_bits, [coded.total_bits])


def test_a_new_template_costs_the_same_in_a_young_and_in_an_old_stream() -> None:
    coder, costs = PresenceCoder(), []
    for n in range(1, 3_001):
        coder.learn(unit_of([0, 1]))
        if n in (40, 400, 3_000):
            costs.append(coder.code(unit_of([0, 1, 5])).bits)
    assert len(set(costs)) == 1


def test_count_buckets_are_exact_low_and_half_octaves_high() -> None:
    assert [bucket_of(n) for n in range(1, 12)] == list(range(1, 12))
    assert [bucket_of(n) for n in (12, 15, 16, 23, 24, 31, 32, 47, 48)] == [
        12,
        12,
        13,
        13,
        14,
        14,
        15,
        15,
        16,
    ]
    assert bucket_of(10**9) == BUCKETS - 1
    assert all(bucket_of(n) <= bucket_of(n + 1) <= bucket_of(n) + 1 for n in range(1, 3_000))


def group_hash(group: int) -> np.uint64:
    return np.uint64(mixed(np.uint64(group), np.uint64(77)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=400))
@settings(max_examples=30, deadline=None)
def test_counter_groups_hold_the_sum_and_the_number_of_their_items(pairs: list[tuple[int, int]]) -> None:
    table = CounterTable(2_048)
    expected: dict[int, Counter[int]] = {}
    for group, item in pairs:
        table.reserve(2)
        item_hash = np.uint64(mixed(np.uint64(group), np.uint64(1_000 + item)))
        key, place = np.uint32(item_key(item_hash, item % 2 == 0)), np.uint32(group_key(group_hash(group)))
        table.took(int(add_item(table.keys, table.counts, table.links, key, place, 1)))
        expected.setdefault(group, Counter())[item] += 1
    for group, items in expected.items():
        at = int(np.flatnonzero(table.keys == group_key(group_hash(group)))[0])
        assert table.counts[at] == items.total()
        assert table.links[at] == len(items)
