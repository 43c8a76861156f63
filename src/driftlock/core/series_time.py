"""Timestamps of a series as people write them, in nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from driftlock.errors import InputError

_UNITS = ((1e17, 1.0), (1e14, 1e3), (1e11, 1e6))
"""Numbers from 1e17 are nanoseconds, from 1e14 microseconds, from 1e11 milliseconds, below it seconds."""


def times_in_ns(timestamps: Sequence[str] | npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.int64]:
    """Nanoseconds since 1970 of ISO 8601 texts, of numbers as texts, or of nanoseconds themselves.

    Raises InputError that names the first timestamp that is neither a date nor a number.
    """
    if not len(timestamps) or not isinstance(timestamps[0], str):
        return np.asarray(timestamps, np.int64)
    texts = pl.Series("timestamp", list(timestamps), dtype=pl.String)
    numbers = texts.cast(pl.Float64, strict=False)
    if not numbers.null_count() and numbers.is_finite().all():
        return _numbers_in_ns(numbers.to_numpy())
    times = _parsed(texts)
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise InputError(f"row {row + 1}: {texts[row]!r} is not a timestamp", hint="use ISO 8601 in UTC")
    return times.dt.epoch("ns").to_numpy()


def _parsed(texts: pl.Series) -> pl.Series:
    for form in ("%+", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"):
        times = texts.str.to_datetime(form, strict=False, time_zone="UTC", time_unit="ns")
        if not times.null_count():
            return times
    for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        times = texts.str.to_datetime(form, strict=False, time_unit="ns")
        if not times.null_count():
            return times
    return texts.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="ns")


def _numbers_in_ns(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    largest = float(np.abs(numbers).max())
    factor = next((f for least, f in _UNITS if largest >= least), 1e9)
    return np.clip(numbers * factor, -9.2e18, 9.2e18).astype(np.int64)
