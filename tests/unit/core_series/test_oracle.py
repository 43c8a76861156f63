"""The compiled coder equals the slow oracle, to the last bit, on any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.series import SeriesBank, SeriesSettings
from unit.core_series.oracle import OracleSeries

COLUMNS = ("score", "anomaly_score", "p_value", "block_p_value", "surprise_bits")
MINUTE_NS = 60 * 10**9


def compare(times: list[int], values: list[float], cumulative: list[bool], *, warm_up: int = 32) -> None:
    bank = SeriesBank(SeriesSettings(warm_up_points=warm_up))
    verdicts = bank.observe(
        np.full(len(values), 9, np.uint64), np.array(times), np.array(values), np.array(cumulative)
    )
    oracle = OracleSeries(warm_up)
    in_episode = False
    for i, (time, value, is_counter) in enumerate(zip(times, values, cumulative, strict=True)):
        if verdicts.episode[i]:
            in_episode = bool(verdicts.episode[i] > 0)
        point = oracle.observe(time, value, is_counter, in_episode=in_episode)
        assert verdicts.status[i] == point.status, i
        for column in (*COLUMNS, "expected", "low", "high"):
            got, want = float(getattr(verdicts, column)[i]), getattr(point, column)
            assert got == pytest.approx(want, rel=1e-12, abs=1e-12, nan_ok=True), (i, column)
        assert verdicts.parts[i].tolist() == pytest.approx(point.parts, rel=1e-12, abs=1e-12), i
        assert verdicts.calibration_size[i] == point.calibration_size
        assert verdicts.band_held[i] == point.band_held


levels = st.sampled_from([0.0, 1.0, 1.0, 1.0, 2.0, 2.5, -3.0, 40.0])
wild = st.floats(allow_nan=True, allow_infinity=True, width=64)
gentle = st.floats(-1e3, 1e3)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.one_of(levels, levels, gentle, wild), min_size=1, max_size=400),
    step=st.sampled_from([1, MINUTE_NS, 17 * MINUTE_NS, -MINUTE_NS]),
    counter=st.booleans(),
)
def test_equals_the_oracle(values: list[float], step: int, counter: bool) -> None:
    times = [1_700_000_000_000_000_000 + i * step for i in range(len(values))]
    compare(times, values, [counter] * len(values))


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_oracle_for_long(seed: int) -> None:
    """Long enough for full dictionaries, evictions, tails and episodes."""
    rng = np.random.default_rng(seed)
    n = 4_000
    day = np.sin(2 * np.pi * np.arange(n) / 288)
    kinds = [
        rng.normal(size=n),
        rng.standard_t(2, n),
        5 * day + rng.normal(size=n),
        rng.poisson(3 * (1.1 + day)).astype(float),
        (rng.random(n) < 0.03) * np.exp(2 * rng.normal(size=n)),
        np.cumsum(rng.normal(size=n)),
    ]
    values = kinds[seed]
    values[2_500:2_510] *= 5
    times = [i * 5 * MINUTE_NS for i in range(n)]
    compare(times, [float(v) for v in values], [False] * n, warm_up=128)


def test_falling_scores_fill_the_kept_peaks() -> None:
    """Ever smaller jumps make the list of peaks overflow; both sides then suppress alike."""
    values = [float(i % 3) for i in range(300)]
    for k in range(60):
        values += [1000.0 * 0.8**k, float(k % 3)]
    compare([i * MINUTE_NS for i in range(len(values))], values, [False] * len(values))


def test_equals_the_oracle_over_weeks() -> None:
    """The hour of the week joins the predictors after a week, and becomes the season of the departure."""
    n = 24 * 7 * 6
    rng = np.random.default_rng(4)
    hours = np.arange(n)
    weekend = (hours // 24) % 7 >= 5
    values = np.where(weekend, 3.0, 10.0) + np.sin(2 * np.pi * hours / 24) + rng.normal(size=n)
    compare([int(h) * 60 * MINUTE_NS for h in hours], [float(v) for v in values], [False] * n, warm_up=128)
