"""Telling a CSV series (`timestamp,value`) from a log, and scoring it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import PIECE_BYTES, UNREADABLE, LogFile
from driftlock.core.episode import Episode
from driftlock.core.series import SCORED, SeriesVerdicts, score_series
from driftlock.core.series_episodes import SeriesEpisodes
from driftlock.core.series_text import point_verdict
from driftlock.core.series_time import times_in_ns
from driftlock.core.verdict import Verdict, WarmUp
from driftlock.errors import InputError
from driftlock.library.series import SeriesDetector
from driftlock.signals.csv_series import CsvSeries, read_series, series_separator

HEADER_BYTES = 64


@dataclass(frozen=True, slots=True)
class Series:
    """A series with the name of its file, and its times."""

    name: str
    rows: CsvSeries
    time_ns: npt.NDArray[np.int64]

    def scores(self) -> npt.NDArray[np.float64]:
        """The anomaly score of each row."""
        return score_series(self.time_ns, self.rows.values)


@dataclass(frozen=True, slots=True)
class SeriesFound:
    """The alarms of a series file, and how much of it was judged; gaps are rows without a number."""

    alarms: list[Verdict]
    points: int
    gaps: int
    judged: int
    p_value_threshold: float
    warm_up: WarmUp


def series_of(file: LogFile) -> Series | None:
    """The series in a file or pipe that begins with `timestamp,value`; None for others, still unread."""
    separator = series_separator(file.begin(HEADER_BYTES))
    if separator is None:
        return None
    parts = []
    try:
        while piece := file.read(PIECE_BYTES):
            parts.append(piece)
    except UNREADABLE as error:
        raise InputError(f"{file.name} cannot be read: {error}") from error
    rows = read_series(file.name, b"".join(parts), separator)
    try:
        return Series(file.name, rows, times_in_ns(rows.timestamps))
    except InputError as error:
        raise InputError(f"{file.name}, {error.message}", hint=error.hint) from error


def series_findings(series: Series, p_value_threshold: float | None = None) -> SeriesFound:
    """The alarms of a series as verdicts, by default at the detector's own threshold; positions are
    lines of the file."""
    rows, time_ns = series.rows, series.time_ns
    detector = SeriesDetector()
    if p_value_threshold is not None:
        detector = SeriesDetector(p_value_threshold=p_value_threshold)
    columns = detector.score(rows.values, time_ns)
    episodes = _episodes(series, columns)
    alarms = [
        point_verdict(
            columns,
            row,
            key=rows.timestamps[row],
            name="The series" if series.name == "-" else Path(series.name).name,
            position=int(rows.lines[row]),
            time_ns=int(time_ns[row]),
            reading=float(rows.values[row]),
            alarm=True,
            episode=episodes[int(rows.lines[row])],
        )
        for row in np.flatnonzero(columns.alarm).tolist()
    ]
    return SeriesFound(
        alarms,
        len(rows.values),
        int(np.isnan(rows.values).sum()),
        int((columns.status == SCORED).sum()),
        detector.settings.p_value_threshold,
        detector.warm_up(),
    )


def _episodes(series: Series, columns: SeriesVerdicts) -> dict[int, Episode]:
    """What each alarm's episode has become at the end of the file, by the alarm's line."""
    followed, latest = SeriesEpisodes(), dict[int, Episode]()
    for row in np.flatnonzero(columns.episode).tolist():
        episode = followed.follow(
            0,
            columns,
            row,
            key=series.rows.timestamps[row],
            event=int(series.rows.lines[row]),
            time_ns=int(series.time_ns[row]),
            alarm=bool(columns.alarm[row]),
        )
        if episode is not None:
            latest[episode.first] = episode
    return latest
