"""Telling a CSV series (`timestamp,value`) from a log, and scoring it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import UNREADABLE, LogFile
from driftlock.core.series import score_series
from driftlock.core.series_text import point_verdict
from driftlock.core.series_time import times_in_ns
from driftlock.core.verdict import Verdict
from driftlock.errors import InputError
from driftlock.library.series import SeriesDetector
from driftlock.signals.textlog import read_series

HEADER = b"timestamp,value"


def is_series(name: str) -> bool:
    """Whether a file is a CSV with the columns `timestamp,value`; standard input and pipes never are."""
    if name == "-":
        return False
    path = Path(name)
    if path.exists() and not path.is_file():  # what is read of a pipe is gone
        return False
    with LogFile(name) as file:
        try:
            begin = file.unpacked.read(64)
        except UNREADABLE as error:
            raise InputError(f"{name} cannot be read: {error}") from error
    return begin.lstrip(b"\xef\xbb\xbf").lower().replace(b'"', b"").startswith(HEADER)


def scored_series(name: str) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Timestamps, values and anomaly scores of a series file."""
    timestamps, values = read_series(Path(name))
    return timestamps, values, score_series(timestamps, values)


def series_findings(name: str, p_value_threshold: float | None = None) -> list[Verdict]:
    """The alarms of a series file as verdicts, by default at the detector's own threshold; positions are its
    rows, from 1."""
    timestamps, values = read_series(Path(name))
    time_ns = times_in_ns(timestamps)
    detector = SeriesDetector()
    if p_value_threshold is not None:
        detector = SeriesDetector(p_value_threshold=p_value_threshold)
    columns = detector.score(values, time_ns)
    return [
        point_verdict(
            columns,
            row,
            key=timestamps[row],
            name=Path(name).name,
            position=row + 1,
            time_ns=int(time_ns[row]),
            reading=float(values[row]),
        )
        for row in np.flatnonzero(columns.alarm).tolist()
    ]
