"""Telling a CSV series (`timestamp,value`) from a log, and scoring it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import LogFile
from driftlock.core.series import score_series
from driftlock.signals.textlog import read_series

HEADER = b"timestamp,value"


def is_series(name: str) -> bool:
    """Whether a file is a CSV with the columns `timestamp,value`; standard input never is."""
    if name == "-":
        return False
    with LogFile(name) as file:
        begin = file.unpacked.read(64)
    return begin.lstrip(b"\xef\xbb\xbf").lower().replace(b'"', b"").startswith(HEADER)


def scored_series(name: str) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Timestamps, values and anomaly scores of a series file."""
    timestamps, values = read_series(Path(name))
    return timestamps, values, score_series(timestamps, values)
