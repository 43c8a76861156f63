"""Scorers in the manner of River: `score_one` before `learn_one`, one sample at a time.

River's anomaly detectors ask for no more than these two methods, so River is not imported. Scores are bits: 0
and more, higher is stranger, without an upper bound. `score_one` learns nothing and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from driftlock.core.row_coder import VALUE_MAX, RowCoder
from driftlock.errors import InputError
from driftlock.library.inputs import LinesIn
from driftlock.library.unit_model import UnitModel

FEATURES_MAX = 1_024
ROWS_BEFORE_SCORE_MIN = 8
WINDOW_ROWS_MAX = 65_536
REFITTED_EVERY_ROWS = 128
"""Beside powers of two below: scales and bandwidth follow the window this often."""


class RowScorer:
    """Bits of a row of numbers, given by name, beside the last `window_size` rows.

    Scores are 0 until eight rows were learned. Features may come and go: one that is missing, or not finite,
    tells nothing; beyond 1,024 names further ones are left out. See `core.row_coder` for the score. Not
    thread-safe.

    >>> scorer = RowScorer()
    >>> for n in range(200):
    ...     row = {"cpu": 20.0 + n * 7 % 5, "load": 1.0 + n * 3 % 4}
    ...     bits = scorer.score_one(row)
    ...     scorer.learn_one(row)
    >>> scorer.score_one({"cpu": 21.0, "load": 90.0}) > 10 + scorer.score_one({"cpu": 21.0, "load": 2.0})
    True
    """

    _supervised = False
    """What River's pipelines ask a step: it learns without labels."""

    def __init__(self, window_size: int = 256) -> None:
        if not ROWS_BEFORE_SCORE_MIN <= window_size <= WINDOW_ROWS_MAX:
            raise ValueError(
                f"window_size is {ROWS_BEFORE_SCORE_MIN} to {WINDOW_ROWS_MAX} rows, not {window_size}"
            )
        self.window_size = window_size
        self._names: list[Any] = []
        self._rows = np.full((window_size, 0), np.nan)
        self._learned = 0
        self._coder: RowCoder | None = None

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """The bits of a row, before it is learned."""
        values = {name: _number(value) for name, value in x.items()}
        if self._coder is None:
            return 0.0
        row = np.array([[values.get(name, math.nan) for name in self._names]])
        return float(self._coder.bits(row[:, : len(self._coder.steepness)])[0])

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Takes a row into the window; the oldest leaves."""
        values = {name: _number(value) for name, value in x.items()}
        self._admit(values)
        at = self._learned % self.window_size
        self._rows[at] = [values.get(name, math.nan) for name in self._names]
        self._learned += 1
        if self._learned < ROWS_BEFORE_SCORE_MIN:
            return
        grown = self._learned <= self.window_size
        power = self._learned & (self._learned - 1) == 0
        if self._coder is None or power or self._learned % REFITTED_EVERY_ROWS == 0:
            self._coder = RowCoder.of(self._rows[: min(self._learned, self.window_size)])
        elif grown or len(self._names) > self._coder.references.shape[1]:
            self._coder = self._coder.over(self._rows[: min(self._learned, self.window_size)])
        else:
            self._coder.references[at] = np.clip(self._rows[at], -VALUE_MAX, VALUE_MAX)

    def _admit(self, values: Mapping[Any, float]) -> None:
        known = set(self._names)
        new = sorted((name for name in values if name not in known), key=lambda n: (type(n).__name__, str(n)))
        new = new[: FEATURES_MAX - len(known)]
        if new:
            self._names += new
            more = np.full((self.window_size, len(new)), np.nan)
            self._rows = np.ascontiguousarray(np.concatenate([self._rows, more], axis=1))


class TextScorer:
    """Bits of a text, as a unit of log lines, given the texts before: a session, a document, one message.

    `x` is a text, of one line or more, or a list of lines. Score and model are those of the server's
    sessions: a text that repeats what is usual costs little, a line or an order never seen costs much. Not
    thread-safe.

    >>> scorer = TextScorer()
    >>> for n in range(200):
    ...     scorer.learn_one(f"GET /item/{n} took {n * 7 % 90} ms")
    >>> scorer.score_one("connection lost") > 5 + scorer.score_one("GET /item/7 took 12 ms")
    True
    """

    _supervised = False
    """As in `RowScorer`."""

    def __init__(self) -> None:
        self._model = UnitModel()

    def score_one(self, x: LinesIn) -> float:
        """The bits of a text, before it is learned."""
        return self._model.bits(x)

    def learn_one(self, x: LinesIn) -> None:
        """Learns a text, unless it is suspicious itself: then only in part, see the model's gate."""
        self._model.learn(x)


def _number(value: Any) -> float:
    """A feature's value; NaN for what is not finite. Raises InputError for what is not a number."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"a feature is a number, not {type(value).__name__}") from error
    except OverflowError as error:
        raise InputError("a feature is beyond what a float64 holds") from error
    return number if math.isfinite(number) else math.nan
