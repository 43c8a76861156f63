"""A weekly season is learned when there is one: weekends are then expected, and weekdays on them are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.core.series import SeriesBank, SeriesSettings, SeriesVerdicts

DAY = 96  # points, one in 15 minutes
WEEK = 7 * DAY
WEEKS = 8
LEARNED = slice(3 * WEEK, None)


def observed(level: npt.NDArray[np.float64], *, day_ns: int = 86_400 * 10**9) -> SeriesVerdicts:
    rng = np.random.default_rng(8)
    n = len(level)
    values = level + np.sin(2 * np.pi * np.arange(n) / DAY) + 0.5 * rng.normal(size=n)
    times = np.arange(n) * (day_ns // DAY)
    return SeriesBank(SeriesSettings()).observe(np.ones(n, np.uint64), times, values, np.zeros(n, np.bool_))


def weekly(low_days: int) -> npt.NDArray[np.float64]:
    """Seven-day weeks whose last days are low; the season is a week only when the low days are."""
    day = np.arange(WEEKS * WEEK) // DAY
    return np.where(day % 7 >= 7 - low_days, 3.0, 10.0)


def test_a_weekend_costs_no_more_than_a_weekday_once_learned() -> None:
    """The same values on a clock of shorter days have no weekly season to learn, and cost more."""
    known = observed(weekly(2))
    unknown = observed(weekly(2), day_ns=86_400 * 10**9 * 5 // 7 // DAY * DAY)
    known_error = np.abs(known.value - known.expected)[LEARNED]
    unknown_error = np.abs(unknown.value - unknown.expected)[LEARNED]
    turns = np.arange(WEEKS * WEEK)[LEARNED] % DAY < 4  # the first hour of each day
    assert known_error[turns].mean() < 0.75 * unknown_error[turns].mean()
    assert known.alarm[LEARNED].sum() <= unknown.alarm[LEARNED].sum()
    assert known.alarm[LEARNED].sum() <= 1


def test_a_weekend_that_does_not_come_is_found() -> None:
    level = weekly(2)
    level[-2 * DAY :] = 10.0
    verdicts = observed(level)
    assert verdicts.score[-2 * DAY :].max() >= 4.0
    assert verdicts.score[-2 * DAY :].max() > verdicts.score[LEARNED][: -2 * DAY].max()
