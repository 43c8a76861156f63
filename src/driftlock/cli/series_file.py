"""Telling a CSV series (`timestamp,value`) from a log, and scoring it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import UNREADABLE, LogFile
from driftlock.core.series import SCORED, score_series
from driftlock.core.series_text import point_verdict
from driftlock.core.series_time import times_in_ns
from driftlock.core.verdict import Verdict, WarmUp
from driftlock.errors import InputError
from driftlock.library.series import SeriesDetector
from driftlock.signals.csv_series import CsvSeries, read_series, series_separator

HEADER_BYTES = 64


@dataclass(frozen=True, slots=True)
class SeriesFound:
    """The alarms of a series file, and how much of it was judged; gaps are rows without a number."""

    alarms: list[Verdict]
    points: int
    gaps: int
    judged: int
    p_value_threshold: float
    warm_up: WarmUp


def is_series(name: str) -> bool:
    """Whether a file is a CSV with the columns `timestamp,value`; standard input and pipes never are."""
    return _separator(name) is not None


def scored_series(name: str) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Timestamps, values (NaN in gaps) and anomaly scores of a series file."""
    series, time_ns = _read(name)
    return series.timestamps, series.values, score_series(time_ns, series.values)


def series_findings(name: str, p_value_threshold: float | None = None) -> SeriesFound:
    """The alarms of a series file as verdicts, by default at the detector's own threshold; positions are
    lines of the file."""
    series, time_ns = _read(name)
    detector = SeriesDetector()
    if p_value_threshold is not None:
        detector = SeriesDetector(p_value_threshold=p_value_threshold)
    columns = detector.score(series.values, time_ns)
    alarms = [
        point_verdict(
            columns,
            row,
            key=series.timestamps[row],
            name=Path(name).name,
            position=int(series.lines[row]),
            time_ns=int(time_ns[row]),
            reading=float(series.values[row]),
        )
        for row in np.flatnonzero(columns.alarm).tolist()
    ]
    return SeriesFound(
        alarms,
        len(series.values),
        int(np.isnan(series.values).sum()),
        int((columns.status == SCORED).sum()),
        detector.settings.p_value_threshold,
        detector.warm_up(),
    )


def _read(name: str) -> tuple[CsvSeries, npt.NDArray[np.int64]]:
    """The rows of a file, and their times in nanoseconds."""
    series = read_series(Path(name), _separator(name) or ",")
    try:
        return series, times_in_ns(series.timestamps)
    except InputError as error:
        raise InputError(f"{name}, {error.message}", hint=error.hint) from error


def _separator(name: str) -> str | None:
    """Of the columns; None for what is no series."""
    if name == "-":
        return None
    path = Path(name)
    if path.exists() and not path.is_file():  # what is read of a pipe is gone
        return None
    with LogFile(name) as file:
        try:
            return series_separator(file.unpacked.read(HEADER_BYTES))
        except UNREADABLE as error:
            raise InputError(f"{name} cannot be read: {error}") from error
