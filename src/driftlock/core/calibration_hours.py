"""The calibration set that a unit is ranked in: that of its hour of the day, or the stream's last scores.

Owns one rolling set of the whole stream and, for streams whose events have times, one for each UTC hour of
the day. Ranking within strata is Mondrian conformal prediction: valid within each hour if units of that hour
are exchangeable, whatever the day does to costs (Vovk 2012, "Conditional validity of inductive conformal
predictors"). Which set is used depends on earlier units and on the unit's own time, never on its score.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from driftlock.core.calibration import Calibration, count_at_least, slack_of
from driftlock.core.packing import pack_array, unpack_array

HOURS = 24
NO_HOUR = -1
HOUR_SCORES_MAX = 256
HOUR_SCORES_MIN = 100
HOUR_DAYS_MIN = 3
"""An hour is used once it has scores of so many days: nothing repeats daily on the first."""
_START = 16
_GROWTH = 4
_HOUR_NS = 3_600_000_000_000

# columns of `CalibrationByHour.tallies`: scores held, where the next goes, days counted, the day last
# counted, scores ever added
HELD, NEXT, DAYS, LAST_DAY, ADDED = 0, 1, 2, 3, 4
COLUMNS = 5

Int64s = npt.NDArray[np.int64]


class Rank(NamedTuple):
    """How many of the scores that a unit is ranked among reach its own, and whether they are its hour's."""

    reached: int
    size: int
    of_hour: bool

    @property
    def p_value(self) -> float:
        """The conformal p-value."""
        return (1 + self.reached) / (1 + self.size)


def hours_of(times_ns: Int64s) -> Int64s:
    """Hours since 1970 of each time, UTC; `NO_HOUR` where the time is not known (0, or before)."""
    return np.where(times_ns > 0, times_ns // _HOUR_NS, NO_HOUR)


def hour_of(time_ns: int) -> int:
    """The same for one time."""
    return time_ns // _HOUR_NS if time_ns > 0 else NO_HOUR


class CalibrationByHour:
    """The last scores of a stream, as a whole (`whole`) and by hour of the day.

    `hour` is hours since 1970, or `NO_HOUR`. An hour's set is used once it has `least` scores, from 3 days:
    100, or 2/threshold where that is more, so that its floor 1/(1 + n) stays under the threshold. Where
    2/threshold is beyond what it can hold, it is never used and never filled.
    """

    def __init__(self, size_max: int, *, threshold: float) -> None:
        self.whole = Calibration(size_max)
        self.least = max(HOUR_SCORES_MIN, math.ceil(2.0 / threshold))
        self.hour_max = min(HOUR_SCORES_MAX, size_max) if self.least <= min(HOUR_SCORES_MAX, size_max) else 0
        self.scores = np.zeros((HOURS, 0), np.float32)
        self.tallies = np.zeros((HOURS, COLUMNS), np.int64)

    def rank(self, score: float, hour: int) -> Rank:
        """The rank of a score among those of its hour if they suffice, else among the stream's last ones."""
        if self.uses(hour):
            row, held = hour % HOURS, self._held(hour)
            slack = slack_of(int(self.tallies[row, ADDED]), held)
            reached = count_at_least(self.scores[row], held, score - slack)
            return Rank(int(reached), held, True)
        return Rank(self.whole.at_least(score), self.whole.size, False)

    def uses(self, hour: int) -> bool:
        """Whether a unit of this hour is ranked among its hour's scores."""
        if hour == NO_HOUR or not self.hour_max:
            return False
        return self._held(hour) >= self.least and int(self.tallies[hour % HOURS, DAYS]) >= HOUR_DAYS_MIN

    def size(self, hour: int) -> int:
        """How many scores a unit of this hour is ranked among."""
        return self._held(hour) if self.uses(hour) else self.whole.size

    def quantile(self, share: float, hour: int) -> float:
        """The score that a `share` of those does not exceed; 0 if there are none."""
        if not self.uses(hour):
            return self.whole.quantile(share)
        held = self._held(hour)
        return float(np.sort(self.scores[hour % HOURS, :held])[min(int(share * held), held - 1)])

    def add(self, score: float, hour: int) -> None:
        """Adds a score; where a set is full its oldest gives way."""
        self.whole.add(score)
        if hour == NO_HOUR or not self.hour_max:
            return
        own = self.tallies[hour % HOURS]
        if own[HELD] == self.scores.shape[1] < self.hour_max:
            self._grow()
        self.scores[hour % HOURS, own[NEXT]] = score
        own[NEXT] = (own[NEXT] + 1) % self.hour_max
        own[HELD] = min(own[HELD] + 1, self.hour_max)
        own[ADDED] += 1
        day = hour // HOURS + 1  # 0 is no day
        if own[LAST_DAY] != day:
            own[DAYS] = min(own[DAYS] + 1, HOUR_DAYS_MIN)
            own[LAST_DAY] = day

    def _grow(self) -> None:
        # rows that are not full yet begin at 0, and no row is full before it has `hour_max` places
        wider = np.zeros((HOURS, min(max(_START, _GROWTH * self.scores.shape[1]), self.hour_max)), np.float32)
        wider[:, : self.scores.shape[1]] = self.scores
        self.scores = wider

    def _held(self, hour: int) -> int:
        return int(self.tallies[hour % HOURS, HELD])

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "whole": self.whole.state(),
            "hours": pack_array(self.scores),
            "tallies": pack_array(self.tallies),
            "hour_max": self.hour_max,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`; hours kept under another bound on their scores begin anew."""
        self.whole.load(state["whole"])
        if state["hour_max"] == self.hour_max:
            self.scores, self.tallies = unpack_array(state["hours"]), unpack_array(state["tallies"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.whole.nbytes + self.scores.nbytes + self.tallies.nbytes
