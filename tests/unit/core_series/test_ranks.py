"""A point is ranked among points, and an alarm that is no record among blocks too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.core.series import SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_kernel import TAIL_POINTS_MAX

WARM_UP = 128
ALPHA = 0.05


def observe(bank: SeriesBank, values: npt.NDArray[np.float64]) -> SeriesVerdicts:
    n = len(values)
    times = np.arange(n) * 60 * 10**9
    return bank.observe(np.ones(n, np.uint64), times, values, np.zeros(n, np.bool_))


def noise_with_jumps(sizes: dict[int, float], n: int) -> npt.NDArray[np.float64]:
    values = np.random.default_rng(5).normal(size=n)
    for at, size in sizes.items():
        values[at] = size
    return values


def test_the_p_value_is_the_share_of_earlier_points_that_reached_as_much() -> None:
    values = noise_with_jumps({1_000: 30.0}, 1_001)
    v = observe(SeriesBank(SeriesSettings()), values)
    assert v.calibration_size[WARM_UP:].tolist() == list(range(1_001 - WARM_UP))
    assert v.p_value[1_000] == 1 / (1_001 - WARM_UP)


def test_at_its_limit_the_memory_is_halved_and_a_record_stays_possible() -> None:
    values = np.zeros(WARM_UP + TAIL_POINTS_MAX + 2)
    values[-1] = 1.0
    v = observe(SeriesBank(SeriesSettings()), values)
    assert v.calibration_size.max() == TAIL_POINTS_MAX - 1
    assert v.calibration_size[-2:].tolist() == [TAIL_POINTS_MAX // 2, TAIL_POINTS_MAX // 2 + 1]
    assert v.p_value[-2] == 1
    assert v.p_value[-1] == 1 / (TAIL_POINTS_MAX // 2 + 2)
    assert v.alarm[-1]


def test_what_is_no_record_alarms_by_its_rank_among_blocks_and_says_so() -> None:
    bank = SeriesBank(SeriesSettings(p_value_threshold=ALPHA))
    v = observe(bank, noise_with_jumps({1_000: 60.0, 6_000: 8.0}, 6_001))
    assert v.alarm[1_000]
    assert v.alarm[6_000]
    assert v.p_value[6_000] * (1 + v.calibration_size[6_000]) >= 2
    assert v.block_p_value[6_000] <= ALPHA
    sentence, detail = bank.explain(1, v, 6_000)
    assert detail["points_reaching"] >= 1
    assert f"{detail['block_p_value']:.4g} among maxima of 64 points" in sentence
    assert "maxima" not in bank.explain(1, v, 1_000)[0]


def test_what_is_no_record_and_soon_repeated_is_no_alarm() -> None:
    """Two of a kind within 19 blocks: neither rank is small enough for the second."""
    bank = SeriesBank(SeriesSettings(p_value_threshold=ALPHA))
    v = observe(bank, noise_with_jumps({400: 60.0, 800: 60.0}, 801))
    assert v.alarm[400]
    assert v.p_value[800] <= ALPHA
    assert v.anomaly_score[800] > 0
    assert not v.alarm[800]


def test_the_first_alarm_needs_no_more_points_than_its_p_value() -> None:
    needed = SeriesBank(SeriesSettings()).warm_up(1).units_needed
    assert needed == WARM_UP + 99
    early = observe(SeriesBank(SeriesSettings()), noise_with_jumps({needed - 1: 100.0}, needed))
    assert early.p_value[-1] > 0.01
    assert not early.alarm[-1]
    ready = observe(SeriesBank(SeriesSettings()), noise_with_jumps({needed: 100.0}, needed + 1))
    assert ready.p_value[-1] == 0.01
    assert ready.alarm[-1]
