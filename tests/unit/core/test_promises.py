"""Promises that the documentation makes in numbers: when the first verdict comes, and how low p can be then.

False alarms and power are in `test_validity.py`; `benchmarks/detection_promises.py` measures them at length.
"""

from __future__ import annotations

import numpy as np
import pytest
from core_logs import SECOND_NS, feed, flat, job, zipf

from driftlock.core.log_stream import LogSettings, LogStream

UNITS_MAX = 200


@pytest.mark.parametrize("window", [25, 50, 100])
def test_the_first_verdict_on_blocks_comes_within_200_units(window: int) -> None:
    settings = LogSettings(window_size=window)
    stream = LogStream(settings)
    log = zipf(np.random.default_rng(1), UNITS_MAX * settings.hop_size, 30)
    units = 0
    while not (verdicts := feed(stream, log[units * 25 : units * 25 + 25], first=units * 25)):
        assert not verdicts
        units += 1
    assert units + 1 <= UNITS_MAX
    told = stream.warm_up
    # the scores behind the first verdict, itself not among them, bound its p-value and are told
    assert verdicts[0].calibration_size == told.calibration_size - 1
    assert verdicts[0].p_value >= 1 / (1 + verdicts[0].calibration_size)
    assert told.earliest_p == 1 / (1 + told.calibration_size)


def test_the_first_verdict_on_sessions_comes_within_200_units() -> None:
    stream = LogStream(LogSettings(mode="session"))
    rng = np.random.default_rng(2)
    units = [job(rng) for _ in range(UNITS_MAX + 1)]
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
    feed(stream, flat(units), sessions=keys, cuts=cuts, step_ns=40 * SECOND_NS)
    verdicts = stream.flush()
    assert verdicts
    assert stream.warm_up.units_seen == UNITS_MAX + 1
    assert stream.warm_up.phase == "ready"


def test_no_p_value_is_below_its_floor_whatever_is_sent() -> None:
    stream = LogStream(LogSettings())
    feed(stream, zipf(np.random.default_rng(3), 41 * 25, 30))
    size = stream.warm_up.calibration_size
    verdicts = feed(stream, np.arange(60, 110))
    assert [verdict.calibration_size for verdict in verdicts] == [size, size + 1]
    assert verdicts[1].p_value == 1 / (2 + size)
