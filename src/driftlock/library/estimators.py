"""Estimators in the manner of scikit-learn: `RowOutlierDetector` for numbers, `UnitOutlierDetector` for logs.

The only importer of scikit-learn (the extra `driftlock[sklearn]`). Owns the split into what is learned and
what calibrates, and the threshold. Both learn from one part of the data, drawn at random, and rank what they
score among the scores of the other part (split conformal: Vovk, Gammerman and Shafer 2005, ch. 4).

Null hypothesis of `p_values`: the sample is exchangeable with the calibration part. Under it a new sample is
predicted an outlier with a probability of at most `alpha`, whatever the data. Outliers in the training data
make p too large: power is lost, not validity. p is never below 1/(n + 1) for n calibration samples
(`p_floor_`); where that is above `alpha`, nothing is ever predicted an outlier, and `offset_` is minus
infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from driftlock.core.row_coder import REFERENCES_MIN, RowCoder
from driftlock.errors import UsageError
from driftlock.library.inputs import LinesIn
from driftlock.library.unit_model import UnitModel

try:
    from sklearn.base import BaseEstimator, OutlierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as missing:
    raise UsageError(
        "The estimators need scikit-learn.", hint="Install it: pip install 'driftlock[sklearn]'"
    ) from missing

ROWS_MIN = 2 * REFERENCES_MIN

Floats = npt.NDArray[np.float64]


class _Conformal(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """What both have: scores, p-values and predictions from bits."""

    alpha: float
    calibration_share: float
    random_state: Any

    def score_samples(self, X: Any) -> Floats:  # noqa: N803
        """Minus the bits of each sample: higher is more normal. Shape (n_samples,)."""
        return -self._bits(X)

    def decision_function(self, X: Any) -> Floats:  # noqa: N803
        """`score_samples` less `offset_`: negative for outliers. Shape (n_samples,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> npt.NDArray[np.int64]:  # noqa: N803
        """−1 for samples whose p-value is at most `alpha`, else 1. Shape (n_samples,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def p_values(self, X: Any) -> Floats:  # noqa: N803
        """Conformal p-values, never 0; see the module for their null. Shape (n_samples,)."""
        held = self.calibration_bits_
        bits = -self.score_samples(X)
        reached = len(held) - np.searchsorted(held, bits, side="left")
        return np.asarray((1.0 + reached) / (1.0 + len(held)))

    def _bits(self, X: Any) -> Floats:  # noqa: N803
        raise NotImplementedError

    def _split(self, samples: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The samples to learn from and those that calibrate, each in their own order."""
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")
        if not 0.0 < self.calibration_share < 1.0:
            raise ValueError(f"calibration_share must lie between 0 and 1, not {self.calibration_share}")
        order = check_random_state(self.random_state).permutation(samples)
        learned = samples - round(samples * self.calibration_share)
        learned = min(max(learned, REFERENCES_MIN), samples - 1)
        return np.sort(order[:learned]), np.sort(order[learned:])

    def _calibrate(self, bits: Floats) -> None:
        self.calibration_bits_ = np.sort(bits)
        self.p_floor_ = 1.0 / (1 + len(bits))
        # p ≤ alpha if at most `reaching` calibration scores reach it
        reaching = math.floor(self.alpha * (1 + len(bits)) * (1 + 1e-12)) - 1
        self.offset_ = -math.inf if reaching < 0 else -float(self.calibration_bits_[-1 - reaching])


class RowOutlierDetector(_Conformal):
    """Outliers among rows of numbers: bits beside copies of a baseline's rows (see `core.row_coder`).

    Parameters
    ----------
    alpha : float
        The share of ordinary new rows that may be predicted outliers.
    calibration_share : float
        The share of the rows that calibrate; the rest is learned from.
    references_max : int
        The most rows to keep as references; what is over calibrates. Time to score grows with it.
    random_state : int, RandomState or None
        Draws the parts. The default gives the same result for the same data.

    Attributes
    ----------
    coder_ : RowCoder
        References, scales and bandwidth.
    calibration_bits_ : ndarray
        The scores that p-values rank among, sorted.
    offset_ : float
        The score below which rows are outliers.
    p_floor_ : float
        The smallest p-value that is possible.
    n_features_in_ : int
        The number of features.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> model = RowOutlierDetector(alpha=0.01).fit(rng.normal(size=(1000, 2)))
    >>> model.predict([[0.1, -0.2], [0.0, 9.0]])
    array([ 1, -1])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.05,
        calibration_share: float = 0.5,
        references_max: int = 1_024,
        random_state: Any = 0,
    ) -> None:
        self.alpha = alpha
        self.calibration_share = calibration_share
        self.references_max = references_max
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Learns from rows (n_samples, n_features), at least four; `y` is ignored."""
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=ROWS_MIN)
        learned, held = self._split(len(rows))
        if self.references_max < REFERENCES_MIN:
            raise ValueError(f"references_max is at least {REFERENCES_MIN}, not {self.references_max}")
        if len(learned) > self.references_max:
            kept = np.linspace(0, len(learned) - 1, self.references_max).astype(np.int64)
            held = np.setdiff1d(np.arange(len(rows)), learned[kept])
            learned = learned[kept]
        self.coder_ = RowCoder.of(rows[learned])
        self._calibrate(self.coder_.bits(rows[held]))
        return self

    def explain_samples(self, X: Any) -> Floats:  # noqa: N803
        """The bits of each feature given those before it; they sum to minus `score_samples` exactly."""
        check_is_fitted(self)
        return self.coder_.parts(validate_data(self, X, dtype=np.float64, reset=False))

    def _bits(self, X: Any) -> Floats:  # noqa: N803
        check_is_fitted(self)
        return self.coder_.bits(validate_data(self, X, dtype=np.float64, reset=False))


class UnitOutlierDetector(_Conformal):
    """Outliers among units of log lines: sessions, traces, jobs, documents, each a text or a list of lines.

    Scores as the server does (presence, order, count and set of line templates, sizes of numbers), against a
    model that stays as it was fitted. Parameters and attributes are those of `RowOutlierDetector`, without
    references.

    >>> jobs = [[f"job {n} accepted", f"step {n % 7} done", "closed"] for n in range(200)]
    >>> model = UnitOutlierDetector(alpha=0.05).fit(jobs)
    >>> model.predict([jobs[150], ["job 201 accepted", "worker lost"]])
    array([ 1, -1])
    """

    def __init__(self, *, alpha: float = 0.05, calibration_share: float = 0.5, random_state: Any = 0) -> None:
        self.alpha = alpha
        self.calibration_share = calibration_share
        self.random_state = random_state

    def fit(self, X: Iterable[LinesIn], y: Any = None) -> Self:  # noqa: N803
        """Learns from units, at least four; `y` is ignored."""
        units = _units(X)
        if len(units) < ROWS_MIN:
            raise ValueError(f"found {len(units)} units, while at least {ROWS_MIN} are required")
        learned, held = self._split(len(units))
        self.model_ = UnitModel()
        self.model_.learn_baseline([units[row] for row in learned.tolist()])
        self._calibrate(np.array([self.model_.bits(units[row]) for row in held.tolist()]))
        return self

    def _bits(self, X: Iterable[LinesIn]) -> Floats:  # noqa: N803
        check_is_fitted(self)
        return np.array([self.model_.bits(unit) for unit in _units(X)], np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def _units(samples: Iterable[LinesIn]) -> list[LinesIn]:
    if isinstance(samples, str | bytes):
        raise ValueError("one text is one unit: give a list of units")
    return list(samples)
