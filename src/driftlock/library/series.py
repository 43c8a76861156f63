"""`SeriesDetector`: the server's detection of numeric series, in a Python program, without a server.

Owns the way from values, times and names to `core.series`, names by id, and snapshots. Decides nothing about
anomalies. How rows are cut into calls or mixed between series changes no verdict.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.episode import Episode
from driftlock.core.packing import pack, seal, unpack, unseal
from driftlock.core.series import REFUSED, SCORED, SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_episodes import SeriesEpisodes
from driftlock.core.series_text import point_verdict
from driftlock.core.verdict import Verdict, WarmUp
from driftlock.errors import InputError, UsageError
from driftlock.library.alone import alone
from driftlock.library.inputs import TimesIn, as_bytes, row_times

SNAPSHOT_FORMAT = 2
NAME_CHARS_MAX = 256
_MAGIC = b"DLNUMBER"

Names = str | Sequence[str]


class SeriesDetector:
    """Finds unusual points in one numeric series or in thousands, scoring each point before learning it.

    A series is learned for `warm_up_points` points before anything is scored. `p_value_threshold` is the
    greatest p-value of an alarm and `alarm_bits` the least score; `series_max` bounds the series that are
    held (about 5 KB each), points of further ones are counted in `refused_points` and left out. Raises
    UsageError for settings out of range.

    Not thread-safe: a call while another thread's is not finished raises ConcurrentUseError.

    >>> detector = SeriesDetector()
    >>> minute_ns = 60_000_000_000
    >>> values = [20.0 + n * 7 % 5 for n in range(600)]
    >>> values[500] = 90.0
    >>> found = detector.observe(values, [n * minute_ns for n in range(600)], series="cpu")
    >>> [verdict.first for verdict in found if verdict.alarm]
    [501]
    """

    def __init__(
        self,
        *,
        p_value_threshold: float = 0.01,
        alarm_bits: float = 4.0,
        warm_up_points: int = 128,
        series_max: int = 100_000,
    ) -> None:
        settings = SeriesSettings(
            p_value_threshold=p_value_threshold,
            alarm_bits=alarm_bits,
            warm_up_points=warm_up_points,
            series_max=series_max,
        )
        self._begin(settings, SeriesBank(settings), 0, 0)

    def _begin(self, settings: SeriesSettings, bank: SeriesBank, points: int, refused: int) -> None:
        self._settings = settings
        self._bank = bank
        self._episodes = SeriesEpisodes()
        self._points = points
        self._busy = threading.Lock()
        self.refused_points = refused
        """Points of series that found no room."""

    @alone
    def observe(
        self,
        values: npt.ArrayLike,
        times: TimesIn,
        *,
        series: Names = "",
        cumulative: bool = False,
    ) -> list[Verdict]:
        """Takes points in order; returns a verdict for each that was scored, alarm or not.

        `values` are numbers, `times` one for each: nanoseconds since 1970, ISO 8601, aware datetimes or
        datetime64. `series` names the series of all points or of each. `cumulative` tells that values are
        readings of a counter, of which the rate a second is judged. Points that are learned only (warm-up) or
        not finite have no verdict. `key` of a verdict is the series' name; `first` and `last` the point's
        number from 1, in the order of all that this detector was given; only alarms are explained.
        """
        columns, episodes = self._score(values, times, series, cumulative)
        value = _numbers(values)
        time_ns = row_times(times, len(value))
        number = self._points - len(value) + 1
        return [
            point_verdict(
                columns,
                row,
                key=_shown(series if isinstance(series, str) else series[row]),
                name=_shown(series if isinstance(series, str) else series[row]) or "the series",
                position=number + row,
                time_ns=int(time_ns[row]),
                reading=float(value[row]),
                alarm=bool(columns.alarm[row]),
                episode=episodes.get(row),
            )
            for row in np.flatnonzero(columns.status == SCORED).tolist()
        ]

    @alone
    def score(
        self,
        values: npt.ArrayLike,
        times: TimesIn,
        *,
        series: Names = "",
        cumulative: bool = False,
    ) -> SeriesVerdicts:
        """Takes points as `observe` does; returns columns, one row a point, which is faster for many.

        Raises InputError where values, times and names do not match; nothing is learned then.
        """
        return self._score(values, times, series, cumulative)[0]

    def _score(
        self, values: npt.ArrayLike, times: TimesIn, series: Names, cumulative: bool
    ) -> tuple[SeriesVerdicts, dict[int, Episode]]:
        """The columns, and the episodes that rows belong to."""
        value = _numbers(values)
        time_ns = row_times(times, len(value))
        ids = _ids(series, len(value))
        columns = self._bank.observe(ids, time_ns, value, np.full(len(value), cumulative))
        number = self._points + 1
        self._points += len(value)
        self.refused_points += int((columns.status == REFUSED).sum())
        episodes = {
            row: self._episodes.follow(
                int(ids[row]),
                columns,
                row,
                key=_shown(series if isinstance(series, str) else series[row]),
                event=number + row,
                time_ns=int(time_ns[row]),
                alarm=bool(columns.alarm[row]),
            )
            for row in np.flatnonzero(columns.episode).tolist()
        }
        return columns, {row: episode for row, episode in episodes.items() if episode is not None}

    def warm_up(self, series: str = "") -> WarmUp:
        """How far a series is from its first possible alarm, in points; an unknown one has seen none."""
        return self._bank.warm_up(series_id(series))

    @property
    def settings(self) -> SeriesSettings:
        """The settings in force."""
        return self._settings

    @property
    def points_seen(self) -> int:
        """Points taken so far, of all series."""
        return self._points

    @property
    def state_bytes(self) -> int:
        """Bytes held."""
        return self._bank.state_bytes

    def __len__(self) -> int:
        return len(self._bank)

    @alone
    def snapshot(self) -> bytes:
        """The whole state, settings too. `restore` continues from it with the same verdicts, bit for bit."""
        state = pack(
            {
                "format": SNAPSHOT_FORMAT,
                "settings": asdict(self._settings),
                "points": self._points,
                "refused": self.refused_points,
                "bank": self._bank.snapshot(),
                "episodes": self._episodes.state(),
            }
        )
        return _MAGIC + seal(state)

    @classmethod
    def restore(cls, data: bytes) -> SeriesDetector:
        """The detector that `snapshot` described. Raises InputError for anything else."""
        state = _unpacked(data)
        try:
            settings = SeriesSettings(**state["settings"])
            bank = SeriesBank.restore(settings, state["bank"])
        except (TypeError, KeyError, UsageError) as error:
            raise InputError("the snapshot is damaged, or of another version of Driftlock") from error
        detector = cls.__new__(cls)
        detector._begin(settings, bank, state["points"], state["refused"])
        detector._episodes.load(state["episodes"])
        return detector

    def __reduce__(self) -> tuple[Callable[[bytes], SeriesDetector], tuple[bytes]]:
        return type(self).restore, (self.snapshot(),)


def series_id(name: str) -> int:
    """The 64-bit id of a series' name: BLAKE2b, so that it is the same everywhere; 0 for no name."""
    if not name:
        return 0
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=b"driftlock-name")
    return int.from_bytes(digest.digest(), "little") or 1


def _ids(series: Names, rows: int) -> npt.NDArray[np.uint64]:
    if isinstance(series, str):
        return np.full(rows, series_id(series), np.uint64)
    if not isinstance(series, Sequence | np.ndarray):
        raise InputError(f"series is a name or one name a value, not {type(series).__name__}")
    if len(series) != rows:
        raise InputError(f"there are {len(series)} names for {rows} values")
    if wrong := [name for name in series if not isinstance(name, str)]:
        raise InputError(f"the name of a series is a text, not {type(wrong[0]).__name__}")
    known = {name: series_id(name) for name in dict.fromkeys(series)}
    return np.array([known[name] for name in series], np.uint64)


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A copy as float64, NaN where masked: a kernel of its own is compiled for arrays that are read-only."""
    try:
        found = np.array(values, np.float64)
        if isinstance(values, np.ma.MaskedArray):
            found[np.ma.getmaskarray(values)] = np.nan
    except (TypeError, ValueError) as error:
        raise InputError(f"values are not numbers: {error}") from error
    if found.ndim > 1:
        raise InputError(f"values have {found.ndim} dimensions, not one")
    return found.reshape(-1)


def _shown(name: str) -> str:
    return name if len(name) <= NAME_CHARS_MAX else name[: NAME_CHARS_MAX - 1] + "…"


def _unpacked(snapshot: bytes) -> dict[str, Any]:
    data = as_bytes(snapshot)
    if not data.startswith(_MAGIC):
        raise InputError("this is not a snapshot of a SeriesDetector")
    try:
        state: Any = unpack(unseal(data[len(_MAGIC) :]))
    except msgspec.DecodeError as error:
        raise InputError("the snapshot is damaged") from error
    if not isinstance(state, dict):
        raise InputError("the snapshot is damaged")
    if state.get("format") != SNAPSHOT_FORMAT:
        raise InputError("the snapshot was made by another version of Driftlock")
    return state
