"""The p-value keeps its promise on simulated stationary series, and the band its coverage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from driftlock.core.series import SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_kernel import TAIL_BLOCK_POINTS

SERIES = 40
POINTS = 14_000
WARM_UP = 128

Floats = npt.NDArray[np.float64]


def autoregressive(rng: np.random.Generator, coefficient: float) -> Floats:
    x = rng.normal(size=(SERIES, POINTS))
    for i in range(1, POINTS):
        x[:, i] += coefficient * x[:, i - 1]
    return x


def season() -> Floats:
    return np.asarray(np.sin(2 * np.pi * np.arange(POINTS) / 288))


KINDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "independent": lambda rng: rng.normal(size=(SERIES, POINTS)),
    "autoregressive .5": lambda rng: autoregressive(rng, 0.5),
    "autoregressive .9": lambda rng: autoregressive(rng, 0.9),
    "heavy tails": lambda rng: rng.standard_t(2, (SERIES, POINTS)),
    "season": lambda rng: 3 * season() + rng.normal(size=(SERIES, POINTS)),
    "counts with season": lambda rng: rng.poisson(3 * (1 + 0.8 * season()), (SERIES, POINTS)).astype(float),
    "bursts": lambda rng: (rng.random((SERIES, POINTS)) < 0.03) * np.exp(rng.normal(size=(SERIES, POINTS))),
}


@pytest.fixture(scope="module", params=KINDS)
def verdicts(request: pytest.FixtureRequest) -> SeriesVerdicts:
    values = KINDS[request.param](np.random.default_rng(11))
    bank = SeriesBank(SeriesSettings(warm_up_points=WARM_UP))
    series = np.repeat(np.arange(SERIES, dtype=np.uint64), POINTS)
    times = np.tile(np.arange(POINTS) * 300 * 10**9, SERIES)
    return bank.observe(series, times, values.ravel(), np.zeros(SERIES * POINTS, np.bool_))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_points_reject_at_most_at_the_nominal_rate(verdicts: SeriesVerdicts, alpha: float) -> None:
    """Of points that could reject at all, at most 1.2 α do."""
    p = verdicts.p_value.reshape(SERIES, POINTS)[:, WARM_UP + round(1 / alpha) :]
    assert (p <= alpha).mean() <= 1.2 * alpha


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_blocks_reject_at_most_at_the_nominal_rate(verdicts: SeriesVerdicts, alpha: float) -> None:
    """Of blocks that could reject at all, at most 1.2 α do, up to three standard errors."""
    p = verdicts.block_p_value.reshape(SERIES, POINTS)[:, WARM_UP:]
    blocks = p.shape[1] // TAIL_BLOCK_POINTS
    smallest = p[:, : blocks * TAIL_BLOCK_POINTS].reshape(SERIES, blocks, TAIL_BLOCK_POINTS).min(axis=2)
    able = smallest[:, round(1 / alpha) - 1 :]
    rate = (able <= alpha).mean()
    assert rate <= 1.2 * alpha + 3 * np.sqrt(alpha * (1 - alpha) / able.size)


def test_alarms_are_rare(verdicts: SeriesVerdicts) -> None:
    assert verdicts.alarm.mean() < 0.001


def test_the_band_keeps_its_coverage(verdicts: SeriesVerdicts) -> None:
    inside = (verdicts.value >= verdicts.low) & (verdicts.value <= verdicts.high)
    assert inside.reshape(SERIES, POINTS)[:, 500:].mean() == pytest.approx(0.95, abs=0.01)


def test_a_band_that_is_told_keeps_what_was_checked(verdicts: SeriesVerdicts) -> None:
    """Of the points whose band is told at most 8 % lie outside; most bands of stationary series are told."""
    inside = (verdicts.value >= verdicts.low) & (verdicts.value <= verdicts.high)
    assert inside[verdicts.band_held].mean() >= 0.92
    assert verdicts.band_held.reshape(SERIES, POINTS)[:, 500:].mean() > 0.9
