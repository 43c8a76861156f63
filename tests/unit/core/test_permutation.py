"""The permutation test: a valid p-value from few compressions, the same on every run; and merged p-values."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from core_logs import feed, line_of, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core import permutation
from driftlock.core.coder_zstd import ZstdCoder, ncd_of
from driftlock.core.combination import of_verdict, twice_the_mean, weighted_bonferroni
from driftlock.core.log_baseline import Baseline
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.permutation import (
    EXCEEDANCES,
    PERMUTATIONS_MAX,
    Draws,
    permutation_test,
    seed_of,
    sequential,
    shuffled,
)


def text_of(rng: np.random.Generator, *, odd: int = 0, events: int = 25) -> bytes:
    templates = zipf(rng, events, 30)
    templates[rng.choice(events, odd, replace=False)] = 60 + rng.integers(0, 30, odd)
    return b"\n".join(line_of(int(t)) for t in templates)


def test_draws_are_uniform_and_a_function_of_the_seed() -> None:
    draws, twin = Draws("seed"), Draws("seed")
    drawn = [draws.below(7) for _ in range(7_000)]
    assert drawn == [twin.below(7) for _ in range(7_000)]
    assert drawn[:10] != [Draws("other").below(7) for _ in range(10)]
    # chi-squared with 6 degrees of freedom exceeds 22.5 with probability .001
    assert sum((n - 1_000) ** 2 / 1_000 for n in Counter(drawn).values()) < 22.5
    assert [Draws("seed").below(7) for _ in range(3)] == [drawn[0]] * 3


def test_every_order_is_equally_likely_and_read_lazily() -> None:
    draws = Draws("orders")
    seen = Counter(tuple(shuffled(3, draws)) for _ in range(6_000))
    assert len(seen) == 6
    assert sum((n - 1_000) ** 2 / 1_000 for n in seen.values()) < 20.5  # p = .001 at 5 degrees of freedom
    assert next(shuffled(1_000_000, Draws("far"))) == next(shuffled(1_000_000, Draws("far")))


def test_the_rule_stops_early_and_its_p_is_what_besag_and_clifford_say() -> None:
    always = sequential(lambda order: 1.0, 0.5, 10, seed="a")
    never = sequential(lambda order: 0.0, 0.5, 10, seed="a")
    assert always == (EXCEEDANCES, EXCEEDANCES)
    assert never == (PERMUTATIONS_MAX, 0)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25, 0.5])
def test_p_is_valid_for_any_statistic(alpha: float) -> None:
    """The statistic is the value of the first unit of the order; its rank among all is uniform."""
    found = []
    for trial in range(3_000):
        values = np.random.default_rng(trial).random(40)
        drawn, reached = sequential(
            lambda order, v=values: float(v[next(order)]), float(values[0]), 40, seed=str(trial)
        )
        found.append(reached / drawn if reached == EXCEEDANCES else (1 + reached) / (1 + drawn))
    assert min(found) > 0.0
    spread = 3.1 * (alpha * (1 - alpha) / len(found)) ** 0.5
    assert np.mean([p <= alpha for p in found]) <= alpha + spread


@pytest.mark.parametrize("units", [1, 2])
def test_windows_like_the_baseline_are_seldom_called_strange(units: int) -> None:
    found = []
    for trial in range(200):
        rng = np.random.default_rng(trial)
        baseline = [text_of(rng) for _ in range(60)]
        found.append(
            permutation_test([text_of(rng) for _ in range(units)], baseline, seed=str(trial)).p_value
        )
    p = np.array(found)
    assert (p <= 0.05).mean() <= 0.05 + 3.1 * (0.05 * 0.95 / 200) ** 0.5
    assert (p <= 0.2).mean() <= 0.2 + 3.1 * (0.2 * 0.8 / 200) ** 0.5
    assert p.max() <= 1.0


def test_wholly_strange_windows_are_found_and_thinly_strange_ones_mostly_not() -> None:
    """The measured weakness: why this p-value silences no alarm."""
    found = {}
    for odd in (3, 25):
        p = []
        for trial in range(40):
            rng = np.random.default_rng(trial)
            baseline = [text_of(rng) for _ in range(100)]
            p.append(permutation_test([text_of(rng, odd=odd)], baseline, seed=str(trial)).p_value)
        found[odd] = np.mean(np.array(p) <= 0.05)
    assert found[25] >= 0.9
    assert found[3] <= 0.4


def test_lines_stay_with_their_unit() -> None:
    """A log of sequential ids, normal by definition: by lines, every unit would be strange."""
    units = [b"\n".join(b"step %06d done" % (25 * u + i) for i in range(25)) for u in range(80)]
    found = [permutation_test([units[u]], units[:u] + units[u + 1 :], seed=str(u)).p_value for u in range(40)]
    assert np.mean(np.array(found) <= 0.05) <= 0.15


def oracle(window: list[bytes], baseline: list[bytes], seed: str) -> float:
    """The observed statistic, said slowly."""
    step = max(permutation.WINDOW_BYTES_MAX // len(window), permutation.UNIT_BYTES_MIN)
    text = b"\n".join(unit[:step] for unit in window)
    rest = list(shuffled(len(baseline), Draws(seed + " reference")))
    coder, values = ZstdCoder(), []
    for _ in range(permutation.REFERENCES):
        reference = b""
        while rest and len(reference) < len(text):
            unit = baseline[rest.pop(0)][:step]
            reference = reference + b"\n" + unit if reference else unit
        x, y = reference[: len(text)], text[: len(reference)]
        if x:
            values.append(ncd_of(coder.size(x), coder.size(y), coder.size(x + y)))
    return sum(values) / len(values)


@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=3),
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=12),
)
@settings(max_examples=30, deadline=None)
def test_any_texts_give_a_p_value_and_inputs_are_left_alone(
    window: list[bytes], baseline: list[bytes]
) -> None:
    before = (list(window), list(baseline))
    made = permutation_test(window, baseline, seed="s")
    assert (window, baseline) == before
    assert made == permutation_test(window, baseline, seed="s")
    assert 1 / (1 + PERMUTATIONS_MAX) <= made.p_value <= 1.0
    assert made.statistic == oracle(window, baseline, "s")
    assert made.units == len(window) + len(baseline)


def test_large_inputs_are_bounded() -> None:
    rng = np.random.default_rng(0)
    made = permutation_test([text_of(rng, events=2_000)] * 40, [text_of(rng)] * 4_096, seed="s")
    assert made.units == 40 + permutation.POOL_UNITS_MAX


def test_an_alarm_tells_the_test_so_that_anyone_can_repeat_it() -> None:
    rng = np.random.default_rng(8)
    stream = LogStream(LogSettings(window_size=25))
    feed(stream, zipf(rng, 5_000, 12))
    odd = [49] * 25
    (alarm,) = (v for v in feed(stream, odd, first=5_000) if v.alarm)
    told = json.loads(json.dumps(alarm.detail["significance"]))
    baseline = Baseline.decode(stream.baseline_bytes())
    again = permutation_test(
        [b"\n".join(line_of(t) for t in odd)],
        [baseline.text(unit) for unit in range(len(baseline.units))],
        seed=seed_of(alarm.baseline_ref, alarm.first, alarm.last),
    )
    assert told["p_conformal"] == alarm.p_value
    assert told["p_permutation"] == again.p_value
    assert told["permutation"] == json.loads(json.dumps(permutation.told(again)))
    assert told["p_combined"] == of_verdict(alarm.p_value, again.p_value)


p_value = st.floats(1e-6, 1.0)


@given(p_value, p_value)
def test_for_two_p_values_bonferroni_is_the_best_of_the_family(p: float, q: float) -> None:
    bonferroni = weighted_bonferroni([p, q], [0.5, 0.5])
    harmonic = min(1.0, 4 * p * q / (p + q))
    assert bonferroni <= harmonic * (1 + 1e-12)
    assert harmonic <= twice_the_mean([p, q]) * (1 + 1e-12)
    assert p / 0.9 >= of_verdict(p, q) >= min(p, q)


@pytest.mark.parametrize("kind", ["equal", "opposite", "independent", "adverse"])
def test_merged_p_values_are_valid_under_any_dependence(kind: str) -> None:
    rng = np.random.default_rng(5)
    p = rng.random(100_000)
    alpha = 0.05
    other = {
        "equal": p,
        "opposite": 1 - p,
        "independent": rng.random(len(p)),
        # a permutation of the interval that makes one of both small as often as can be
        "adverse": (p + alpha) % 1.0,
    }[kind]
    pairs = list(zip(p.tolist(), other.tolist(), strict=True))
    for merge in (of_verdict, lambda a, b: twice_the_mean([a, b])):
        realised = np.mean([merge(a, b) <= alpha for a, b in pairs])
        assert realised <= alpha + 3.1 * (alpha / len(p)) ** 0.5
