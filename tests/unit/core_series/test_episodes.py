"""Episodes of series: one alarm each, by the definition of their columns."""

from __future__ import annotations

import numpy as np
import pytest

from driftlock.core.logarithm import log2_near
from driftlock.core.series import SCORED, SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_kernel import tail_bin
from driftlock.core.series_rows import RECURRENCE, SEASON
from driftlock.core.series_tuning import (
    EPISODE_CALM_POINTS,
    EPISODE_OWN_MAX,
    STRIKING_BITS,
    YOUTH_POINTS,
    YOUTH_WEIGHT,
)

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
    totals = v.parts[:, :RECURRENCE].sum(axis=1)
    bins = np.array([tail_bin(bits) for bits in totals])

    def p_among_others(i: int, bits: float, own: int) -> float:
        earlier = bins[:i][v.status[:i] == SCORED]
        reaching = int((earlier >= max(tail_bin(bits) - 1, 0)).sum()) - own
        return (1.0 + max(reaching, 0.0)) / (1.0 + max(len(earlier) - own, 0))

    for i in range(len(v)):
        threshold = SETTINGS.p_value_threshold
        judged = bool(v.status[i] == SCORED and v.score[i] >= SETTINGS.alarm_bits)
        own = min(units, EPISODE_OWN_MAX)
        present = v.score[i] - v.parts[i, SEASON] >= SETTINGS.alarm_bits
        stays = judged and present and min(v.p_value[i], p_among_others(i, totals[i], own)) <= threshold
        alone = totals[i] - v.parts[i, SEASON]
        goes_on = stays and (not v.lingers[i] or p_among_others(i, alone, own) <= threshold)
        record = v.p_value[i] * (1.0 + v.calibration_size[i]) <= 1.0
        young = (
            max(v.score[i] - YOUTH_WEIGHT * log2_near(1.0 + YOUTH_POINTS / i), 0.25 * v.score[i]) if i else 0
        )
        rare = record or v.block_p_value[i] <= SETTINGS.p_value_threshold or young >= STRIKING_BITS
        strange.append(bool(judged and v.p_value[i] <= threshold and v.anomaly_score[i] > 0 and rare))
        alarm.append(strange[-1] and not units)
        told = 0
        if strange[-1] or (units and goes_on):
            units, calm = units + 1, 0
            told = units
        elif units and stays:
            calm = 0
        elif units:
            calm += 1
            if calm == EPISODE_CALM_POINTS:
                told, units, calm = -units, 0, 0
        episode.append(told)
    return strange, alarm, episode


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_those_of_the_definition(seed: int) -> None:
    v = observed(SeriesBank(SETTINGS), values(seed, 9_000))
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


@pytest.mark.parametrize(("size", "most"), [(8.0, 1), (1_000.0, 4)])
def test_one_spike_is_an_episode_of_one_point_and_of_what_it_shakes(size: float, most: int) -> None:
    """The way back is strange too; what strayed from the season is smoothed and lingers, but is no event."""
    for seed in range(3):
        value = np.random.default_rng(seed).normal(size=8_100)
        value[8_000] += size
        v = observed(SeriesBank(SETTINGS), value)
        assert v.episode[7_990:].max() <= most
        assert v.alarm[7_990:].sum() == 1


@pytest.mark.parametrize("size", [8.0, 1_000.0])
def test_an_outage_does_not_make_its_hour_of_the_next_day_strange(size: float) -> None:
    alarms = 0
    for seed in range(6):
        value = np.random.default_rng(seed).normal(size=8_000 + 1_600)
        value[8_000:8_030] += size
        alarm = observed(SeriesBank(SETTINGS), value).alarm
        assert alarm[8_000:8_030].sum() == 1
        alarms += int(alarm[8_000 + 1_420 : 8_000 + 1_500].sum())
    assert alarms <= 1


def test_a_perfect_ramp_is_told_once_in_its_first_days() -> None:
    """It is new at each point, and its day never was as the day before."""
    v = observed(SeriesBank(SETTINGS), np.arange(4_000) * 0.5)
    assert v.alarm.sum() <= 2
