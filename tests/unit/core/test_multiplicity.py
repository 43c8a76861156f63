"""Rules for many tests: equal to their definitions, their rates by simulation, and what floors cost them."""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.core.multiplicity import (
    ELond,
    Tally,
    benjamini_hochberg,
    benjamini_yekutieli,
    e_benjamini_hochberg,
    e_value,
    q_values,
)

LEVEL = 0.1
FLOOR = 1 / 2001


def step_up(p_values: list[float], level: float) -> list[bool]:
    """Benjamini and Hochberg's rule as they wrote it."""
    n = len(p_values)
    k = max((k for k in range(1, n + 1) if sorted(p_values)[k - 1] * n / k <= level), default=0)
    return [k > 0 and p <= sorted(p_values)[k - 1] for p in p_values]


@given(st.lists(st.integers(1, 200).map(lambda n: n / 200), min_size=1, max_size=30))
def test_q_values_give_the_step_up_rule(p_values: list[float]) -> None:
    p = np.array(p_values)
    assert benjamini_hochberg(p, LEVEL).tolist() == step_up(p_values, LEVEL)
    assert (q_values(p) >= p * (1 - 1e-12)).all()
    assert (q_values(p, any_dependence=True) >= q_values(p)).all()
    assert e_benjamini_hochberg(1 / p, LEVEL).tolist() == step_up((1 / (1 / p)).tolist(), LEVEL)


@pytest.mark.parametrize("dependent", [False, True])
def test_the_false_discovery_rate_holds(dependent: bool) -> None:
    rates: dict[str, list[float]] = {"bh": [], "by": [], "ebh": [], "elond": []}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        shared = rng.normal() if dependent else 0.0
        z = rng.normal(size=100) * (0.6 if dependent else 1.0) + 0.8 * shared
        z[:20] += 3.5
        p = np.array([0.5 * erfc(float(v)) for v in z / 2**0.5])
        e = np.array([e_value(v) for v in p])
        rule = ELond(LEVEL)
        found = {
            "bh": benjamini_hochberg(p, LEVEL),
            "by": benjamini_yekutieli(p, LEVEL),
            "ebh": e_benjamini_hochberg(e, LEVEL),
            "elond": np.array([rule.test(float(v)) for v in e]),
        }
        for name, rejected in found.items():
            rates[name].append(rejected[20:].sum() / max(rejected.sum(), 1))
    for name, shares in rates.items():
        assert np.mean(shares) <= LEVEL + 3.1 * np.std(shares) / len(shares) ** 0.5, name


def test_the_floor_of_conformal_p_values_leaves_such_rules_without_power() -> None:
    """Why none of them gates alarms."""
    for tests, least in ((100, 1), (101, 2), (20_000, 200)):
        p = np.full(tests, 0.9)
        p[:least] = FLOOR
        assert benjamini_hochberg(p, 0.05)[:least].all()
        p[least - 1] = 0.9
        assert not benjamini_hochberg(p, 0.05).any()
    rule = ELond(0.05)
    rule.test(0.0)
    assert not any(rule.test(e_value(FLOOR, exponent=0.1)) for _ in range(1_000))


@given(
    st.lists(st.integers(1, 2_001).map(lambda n: n / 2_001), max_size=60),
    st.integers(1, 2_001).map(lambda n: n / 2_001),
)
def test_a_tally_gives_q_values_within_a_half_octave(past: list[float], p: float) -> None:
    tally = Tally()
    for each in past:
        tally.add(each)
    exact = q_values(np.array([*past, p]))[-1]
    rounded = 2.0 ** (-0.5 * np.minimum(np.floor(-2.0 * np.log2(np.array([*past, p])) + 1e-12), 63))
    assert tally.q_value(p) == pytest.approx(q_values(rounded)[-1], rel=1e-9)
    assert exact * (1 - 1e-9) <= tally.q_value(p) <= 1.0


def test_tallies_merge() -> None:
    one, two = Tally(), Tally()
    for p in (1.0, 0.3, 1e-12, 0.0004):
        one.add(p)
        two.add(p)
    one.merge(two)
    assert sum(one.counts) == 8
    assert one.q_value(0.0004) < 0.01
