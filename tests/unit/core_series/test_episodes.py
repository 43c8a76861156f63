"""Episodes of series: one alarm each, by the definition of their columns."""

from __future__ import annotations

import numpy as np
import pytest

from driftlock.core.series import SCORED, SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_tuning import EPISODE_CALM_POINTS, EPISODE_OWN_MAX, STRIKING_BITS

SETTINGS = SeriesSettings()


def values(seed: int, points: int = 6_000) -> np.ndarray:
    """Noise with ramps, steps and spikes of many sizes."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=points)
    for start in rng.integers(400, points - 100, 25):
        length, size = int(rng.integers(1, 60)), rng.exponential(15)
        shape = rng.choice(3)
        found[start : start + length] += size * (np.arange(length) if shape == 0 else 1)
    return found


def observed(bank: SeriesBank, value: np.ndarray) -> SeriesVerdicts:
    n = len(value)
    return bank.observe(np.ones(n, np.uint64), np.arange(n) * 60 * 10**9, value, np.zeros(n, np.bool_))


def expected(v: SeriesVerdicts) -> tuple[list[bool], list[bool], list[int]]:
    """Strange points, alarms and episodes, a point at a time from the other columns."""
    units = calm = 0
    strange, alarm, episode = [], [], []
    for i in range(len(v)):
        threshold, size = SETTINGS.p_value_threshold, int(v.calibration_size[i])
        judged = bool(v.status[i] == SCORED and v.score[i] >= SETTINGS.alarm_bits)
        own = min(units, EPISODE_OWN_MAX)
        others = v.p_value[i] * (1.0 + size) - 1.0 - own  # that reach it, its own left out
        among_others = (1.0 + max(others, 0.0)) / (1.0 + max(size - own, 0))
        present = v.score[i] - v.parts[i, 1] >= SETTINGS.alarm_bits
        goes_on = judged and present and min(v.p_value[i], among_others) <= threshold
        record = v.p_value[i] * (1.0 + v.calibration_size[i]) <= 1.0
        rare = record or v.block_p_value[i] <= SETTINGS.p_value_threshold or v.score[i] >= STRIKING_BITS
        strange.append(bool(judged and v.p_value[i] <= threshold and v.anomaly_score[i] > 0 and rare))
        alarm.append(strange[-1] and not units)
        told = 0
        if strange[-1] or (units and goes_on):
            units, calm = units + 1, 0
            told = units
        elif units:
            calm += 1
            if calm == EPISODE_CALM_POINTS:
                told, units, calm = -units, 0, 0
        episode.append(told)
    return strange, alarm, episode


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_those_of_the_definition(seed: int) -> None:
    v = observed(SeriesBank(SETTINGS), values(seed))
    strange, alarm, episode = expected(v)
    assert v.strange.tolist() == strange
    assert v.alarm.tolist() == alarm
    assert v.episode.tolist() == episode
    assert 2 <= sum(alarm) < sum(strange), "some peaks are the growth of an episode"


def test_an_episode_goes_on_over_calls_and_restarts() -> None:
    value = values(1)
    whole = observed(SeriesBank(SETTINGS), value)
    bank, parts = SeriesBank(SETTINGS), []
    for low in range(0, len(value), 7):
        n = len(value[low : low + 7])
        times = (low + np.arange(n)) * 60 * 10**9
        parts.append(bank.observe(np.ones(n, np.uint64), times, value[low : low + 7], np.zeros(n, np.bool_)))
        bank = SeriesBank.restore(SETTINGS, bank.snapshot())
    assert np.concatenate([p.episode for p in parts]).tolist() == whole.episode.tolist()
    assert np.concatenate([p.alarm for p in parts]).tolist() == whole.alarm.tolist()


def test_a_perfect_ramp_is_told_once_in_its_first_days() -> None:
    """It is new at each point, and its day never was as the day before."""
    v = observed(SeriesBank(SETTINGS), np.arange(4_000) * 0.5)
    assert v.alarm.sum() <= 2
