"""Numeric series by the thousand: points in, verdicts out, one owner.

Owns the bank of series: admission, growth, verdict columns, snapshots. The coder itself is
`series_kernel`, the loop over rows `series_rows`, the layout of a state `series_state`, the words
`series_text`. Knows nothing of metrics, names or transport.

The p-value of a point is the conformal rank of its score among the series' own earlier scored points,
(1 + those that reached as much) / (1 + all), so never 0 and valid without a model: Vovk, Gammerman and
Shafer, "Algorithmic learning in a random world" (2005), ch. 2. Its null: the score has the same marginal
distribution as theirs. That is stationarity, not independence: exceedances may cluster, and their share in
the long run is still at most α.

The block p-value ranks the point among maxima of 64 consecutive points. Its null is that those maxima are
exchangeable, the present block's among them: then a block holds a point at or below α with a probability of
at most α, however points within a block depend on each other. It lets a score alarm that was reached before,
though seldom; a record needs the first p-value only, so that a jump soon after warm-up is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from driftlock.core import series_rows as kernels
from driftlock.core.packing import seal, unseal
from driftlock.core.series_state import LAYOUT, STATE
from driftlock.core.series_text import explain_point
from driftlock.core.series_time import times_in_ns
from driftlock.core.verdict import WarmUp
from driftlock.errors import UsageError

SERIES_LIMIT = 10_000_000
_FIRST_ROWS = 64
_MAGIC = b"DLSERIES"

SCORED = kernels.SCORED
WARMING = kernels.WARMING
NO_INCREMENT = kernels.NO_INCREMENT
NOT_FINITE = kernels.NOT_FINITE
REFUSED = kernels.REFUSED


@dataclass(frozen=True, slots=True)
class SeriesSettings:
    """What an operator may choose about numeric series.

    `p_value_threshold` is the greatest p-value of an alarm and `alarm_bits` the least score;
    `warm_up_points` are learned before anything is scored; the p-value reaches α only after another
    (1/α − 1) points (`SeriesBank.warm_up` tells), so a greater α alarms sooner; `series_max` bounds the bank
    (about 5 KB each).
    """

    p_value_threshold: float = 0.01
    alarm_bits: float = 4.0
    warm_up_points: int = 128
    series_max: int = 100_000

    def __post_init__(self) -> None:
        if not 0.0 < self.p_value_threshold < 1.0:
            raise UsageError(f"p_value_threshold must lie between 0 and 1, not {self.p_value_threshold}")
        if not (math.isfinite(self.alarm_bits) and self.alarm_bits >= 0.0):
            raise UsageError(f"alarm_bits must be a number of bits, 0 or more, not {self.alarm_bits}")
        if not 32 <= self.warm_up_points <= 1_000_000:
            raise UsageError(f"warm_up_points must lie between 32 and 1000000, not {self.warm_up_points}")
        if not 1 <= self.series_max <= SERIES_LIMIT:
            raise UsageError(f"series_max must lie between 1 and {SERIES_LIMIT}, not {self.series_max}")


@dataclass(frozen=True, slots=True)
class SeriesVerdicts:
    """Parallel columns, one row for each point handed in.

    `status` tells what became of the point: SCORED, WARMING (learned, not judged), NO_INCREMENT (a counter's
    first reading, or time that does not advance), NOT_FINITE (ignored) or REFUSED (no room for the series).
    Only scored points have a `score` (bits, 0 or more), `anomaly_score` (in [0, 1], comparable between
    series, above 0 only where an episode opens or grows; ½ stands for 16 bits of the score less
    1.5 log2(1 + 1000/n) after n points, for what few points have not shown is little news), `p_value` (else
    1) and `alarm`. `surprise_bits` is what the point costs above the series' mean point. `expected`, `low`
    and `high` are the prediction and a band that 95 % of points keep in the long run, in the unit of
    `value`, which is the reading or, for a counter, its rate a second; NaN where nothing was predicted.
    `band_held`: the band was checked on at least 256 points before this one, and missed at most 8 % of the
    last 512 to 1,024 of them; an explanation gives it only then. `parts` (k, 6) sum to the score: code,
    season (the usual level too), value, short shape, long shape, recurrence. `calibration_size` counts the
    points behind the p-value.

    `p_value` is the conformal rank of the point's score among the series' earlier scored points, where scores
    up to a quarter of a bit lower count as reached. Its null: the score has the same marginal distribution as
    theirs (the series is stationary). Points need not be independent: exceedances may cluster, their share in
    the long run is still at most α. `block_p_value` ranks it among maxima of blocks of 64 points.

    A point is `strange` that reaches p ≤ α and the least score of an alarm, exceeds all scores of the last
    5 % of points (64 to 210), and is a record (no earlier point reached as much), has a block p ≤ α, or 12
    bits and more, for the score counts how often the like recurred already. It is an `alarm` unless an
    episode is open, which then grows. It grows also with points that reach p ≤ α among those that are not
    the episode's own and the least score of an alarm without the part of the season; not with those that
    reach p ≤ α by that part alone while it `lingers` (it is smoothed, and the point does not add to it), but
    these keep it open. It is over after 12 others in a row. `episode` counts its points so far, this one too;
    negative on the point that ends it, 0 on all others.
    """

    status: npt.NDArray[np.uint8]
    score: npt.NDArray[np.float64]
    anomaly_score: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    block_p_value: npt.NDArray[np.float64]
    surprise_bits: npt.NDArray[np.float64]
    strange: npt.NDArray[np.bool_]
    alarm: npt.NDArray[np.bool_]
    lingers: npt.NDArray[np.bool_]
    episode: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    band_held: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.float64]
    calibration_size: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.status)


class SeriesBank:
    """Thousands of series under 64-bit ids. Not thread-safe: one owner feeds it.

    A verdict depends on the earlier points of its own series and on the settings alone, so it does not
    matter how rows are cut into calls or mixed between series. A full bank refuses new series.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        self._settings = settings
        self._held = 0
        self._state = np.zeros(0, STATE)
        self._dirty = np.zeros(0, np.bool_)
        self._ids = np.zeros(0, np.uint64)
        self._table_id = np.zeros(0, np.uint64)
        self._table_row = np.zeros(0, np.int32)
        self._enlarge_table()

    @property
    def settings(self) -> SeriesSettings:
        """The settings in force."""
        return self._settings

    @property
    def state_bytes(self) -> int:
        """Bytes held: states, and the table that finds them."""
        arrays = (self._state, self._dirty, self._ids, self._table_id, self._table_row)
        return sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return self._held

    def __contains__(self, series: int) -> bool:
        return self._row(series) >= 0

    def places(self, series: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Each series' number in order of its first point ever, −1 for an unknown one; it never changes."""
        rows = np.empty(len(series), np.int64)
        known = (self._table_id, self._table_row, np.ascontiguousarray(series, np.uint64))
        kernels.find_rows(*known, 0, self._held, self._held, rows, self._ids)
        return rows

    def series_at(self, place: int) -> int:
        """The series at one of the `places`."""
        return int(self._state["id"][place])

    def observe(
        self,
        series: npt.NDArray[np.uint64],
        time_ns: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        cumulative: npt.NDArray[np.bool_],
    ) -> SeriesVerdicts:
        """Scores the rows in order, each against its series' past, then learns them.

        `time_ns` since 1970, for the season of the day and counters' rates; `cumulative` marks readings of
        a counter. Raises nothing for any values; see `SeriesVerdicts.status`.
        """
        size = len(series)
        assert len(time_ns) == size
        assert len(value) == size
        assert len(cumulative) == size
        out = np.zeros(size, kernels.OUTPUT)
        rows = self._rows(np.ascontiguousarray(series, np.uint64))
        self._dirty[rows[rows >= 0]] = True
        kernels.observe_rows(
            self._state,
            rows,
            np.ascontiguousarray(time_ns, np.int64),
            np.ascontiguousarray(value, np.float64),
            np.ascontiguousarray(cumulative, np.bool_),
            self._settings.warm_up_points,
            self._settings.alarm_bits,
            self._settings.p_value_threshold,
            out,
        )
        return SeriesVerdicts(**{f.name: out[f.name] for f in fields(SeriesVerdicts)})

    def explain(
        self, series: int, verdicts: SeriesVerdicts, index: int, *, name: str = "", value: float | None = None
    ) -> tuple[str, dict[str, Any]]:
        """One sentence and the structured detail for row `index` of `verdicts`, a point of `series`.

        `name` is what a person calls the series, `value` the reading as it came (a counter's own value).
        """
        return explain_point(verdicts, index, name=name or f"series {series:016x}", reading=value)

    def warm_up(self, series: int) -> WarmUp:
        """How far the series is from its first possible alarm, in points; an unknown one has seen none."""
        row = self._row(series)
        seen = int(self._state["seen"][row]) if row >= 0 else 0
        held = int(self._state["points"][row, 0]) if row >= 0 else 0
        points_needed = math.ceil(1.0 / self._settings.p_value_threshold) - 1
        needed = self._settings.warm_up_points + points_needed
        phase = _phase(seen, self._settings.warm_up_points, held >= points_needed)
        return WarmUp(phase, seen, needed, held, 1.0 / (1.0 + held))

    def dirty(self) -> list[int]:
        """The series that observed a point since the last `clean`, in order of their first point ever."""
        return [int(i) for i in self._state["id"][: self._held][self._dirty[: self._held]]]

    def clean(self) -> None:
        """Forgets which series changed: a checkpoint has them."""
        self._dirty[:] = False

    def snapshot(self) -> bytes:
        """The exact state of all series; `restore` continues from it bit for bit."""
        return _MAGIC + LAYOUT + seal(self._state[: self._held].tobytes())

    @classmethod
    def restore(cls, settings: SeriesSettings, data: bytes) -> SeriesBank:
        """The bank that `snapshot` described. Raises UsageError for state of another layout,
        InputError for damaged state."""
        states = _states(data)
        if len(states) > settings.series_max:
            raise UsageError(
                f"the snapshot holds {len(states)} series, more than series_max = {settings.series_max}"
            )
        bank = cls(settings)
        bank._admit(states)
        return bank

    def dump(self, series: int) -> bytes:
        """One series' exact state, for incremental checkpoints. Raises KeyError for an unknown series."""
        row = self._row(series)
        if row < 0:
            raise KeyError(series)
        return _MAGIC + LAYOUT + seal(self._state[row : row + 1].tobytes())

    def load(self, series: int, data: bytes) -> None:
        """Puts one series into the state that `dump` gave. Raises UsageError when it cannot be that."""
        states = _states(data)
        if len(states) != 1 or int(states["id"][0]) != series:
            raise UsageError(f"the state is not that of series {series:016x}")
        row = self._row(series)
        if row >= 0:
            self._state[row] = states[0]
        elif self._held >= self._settings.series_max:
            raise UsageError(f"no room for series {series:016x}: series_max = {self._settings.series_max}")
        else:
            self._admit(states)

    def _admit(self, states: npt.NDArray[Any]) -> None:
        rows = self._rows(np.ascontiguousarray(states["id"]))
        self._state[rows] = states

    def _row(self, series: int) -> int:
        return int(self._table_row[kernels.place(self._table_id, self._table_row, np.uint64(series))])

    def _rows(self, series: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Each series' row, −1 where there is no room; new series get a fresh state."""
        rows = np.empty(len(series), np.int64)
        before, at = self._held, 0
        while True:
            at, self._held = kernels.find_rows(
                self._table_id,
                self._table_row,
                series,
                at,
                self._held,
                self._settings.series_max,
                rows,
                self._ids,
            )
            if at == len(series):
                break
            self._enlarge_table()
        if self._held > len(self._state):
            size = min(max(self._held, 2 * len(self._state)), self._settings.series_max)
            self._state = _grown(self._state, size)
            self._dirty = _grown(self._dirty, size)
        self._state["id"][before : self._held] = self._ids[before : self._held]
        self._state["raw_last"][before : self._held] = np.nan
        return rows

    def _enlarge_table(self) -> None:
        slots = max(2 * len(self._table_id), 2 * _FIRST_ROWS)
        ids = _grown(self._ids, slots // 2)
        self._table_id = np.zeros(slots, np.uint64)
        self._table_row = np.full(slots, -1, np.int32)
        rows = np.empty(self._held, np.int64)
        known = self._ids[: self._held]
        kernels.find_rows(self._table_id, self._table_row, known, 0, 0, self._held, rows, ids)
        self._ids = ids


def _phase(seen: int, warm_up: int, calibrated: bool) -> Literal["learning", "calibrating", "ready"]:
    if seen < warm_up:
        return "learning"
    return "ready" if calibrated else "calibrating"


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    larger = np.zeros(size, array.dtype)
    larger[: len(array)] = array
    return larger


def _states(data: bytes) -> npt.NDArray[Any]:
    head = len(_MAGIC) + len(LAYOUT)
    if data[:head] != _MAGIC + LAYOUT:
        raise UsageError("the state was written by another version of the series coder")
    return np.frombuffer(unseal(data[head:]), STATE)


def score_series(
    timestamps: Sequence[str] | npt.NDArray[np.int64],
    values: Iterable[float] | npt.NDArray[np.float64],
    *,
    settings: SeriesSettings | None = None,
) -> npt.NDArray[np.float64]:
    """The anomaly score in [0, 1] of each point of one series, given the points before it.

    Comparable between series. `timestamps` are texts (ISO 8601 or numbers since 1970) or nanoseconds.
    Points that are not finite score 0. Raises InputError for a timestamp that is neither.

    >>> level = [20.0 + (i * 7 % 5) for i in range(600)]
    >>> level[500] = 90.0
    >>> scores = score_series([i * 60_000_000_000 for i in range(600)], level)
    >>> int(scores.argmax())
    500
    """
    value = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, np.float64)
    time_ns = times_in_ns(timestamps)
    bank = SeriesBank(settings or SeriesSettings())
    series = np.zeros(len(value), np.uint64)
    verdicts = bank.observe(series, time_ns, value, np.zeros(len(value), np.bool_))
    return verdicts.anomaly_score.copy()
