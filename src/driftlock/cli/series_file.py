"""Telling a CSV series (`timestamp,value`) from a log, and scoring it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import UNREADABLE, LogFile
from driftlock.core.series import SeriesBank, SeriesSettings, score_series
from driftlock.core.series_time import times_in_ns
from driftlock.core.verdict import Verdict
from driftlock.errors import InputError
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


def series_findings(name: str) -> list[Verdict]:
    """The alarms of a series file as verdicts; positions are its rows, from 1."""
    timestamps, values = read_series(Path(name))
    time_ns = times_in_ns(timestamps)
    bank = SeriesBank(SeriesSettings())
    series = np.zeros(len(values), np.uint64)
    verdicts = bank.observe(series, time_ns, values, np.zeros(len(values), np.bool_))
    found = []
    for row in np.flatnonzero(verdicts.alarm).tolist():
        sentence, detail = bank.explain(0, verdicts, row, name=Path(name).name, value=float(values[row]))
        score = float(verdicts.anomaly_score[row])
        found.append(
            Verdict(
                key=timestamps[row],
                first=row + 1,
                last=row + 1,
                first_time_ns=int(time_ns[row]),
                last_time_ns=int(time_ns[row]),
                events=1,
                score=float(verdicts.score[row]),
                p_value=float(verdicts.p_value[row]),
                surprise_bits=float(verdicts.surprise_bits[row]),
                calibration_size=bank.warm_up(0).calibration_size,
                alarm=True,
                severity="critical" if score >= 0.9 else "high" if score >= 0.7 else "medium",
                explanation=sentence,
                detail=detail,
            )
        )
    return found
