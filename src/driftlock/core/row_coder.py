"""The row coder: how many bits a row of numbers costs beside copies of the rows of a baseline.

Lempel and Ziv's idea carried to rows: a row is told as a copy of a reference row and its difference from it.
Over all references that is a mixture, which as a density is a kernel estimate (Parzen, Ann. Math. Stat. 33,
1962) with a heavy-tailed product kernel, Student's t of 3 degrees of freedom. The nearest reference is left
out: else a lone anomaly in the baseline would be a cheap copy for the next one, and a reference would be its
own. A row costs 0 bits if it equals all others, and 4 more for each doubling of a large distance in one
feature. Owns no threshold. Features are told one given those before it, so a row's parts add up to its bits;
which feature a shared surprise falls to depends on their order, the sum does not.

Distances are in a feature's own scale, so the unit of measurement does not matter. It cannot see a row that
lies between its neighbours, nor two anomalies that lie close together in the baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import on_grid
from driftlock.core.logarithm import log2

REFERENCES_MIN = 2
BANDWIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
BANDWIDTH_ROWS_MAX = 256
"""References that choose the bandwidth: its cost grows with their square."""
DISTANCE_MAX = 1e15
VALUE_MAX = 1e150
"""Larger values count as this one: distances between them, and their scale, stay finite."""
_IQR_OF_NORMAL = 1.349
_CONSTANT_SCALE = 2.0**-20
"""Of a constant feature's size: what it may differ by and be nearly the same."""
_SCALE_MIN = 1e-300
_MISSING_TAIL = 4.0 / 3.0  # a reference that lacks the value counts as one bandwidth away

Floats = npt.NDArray[np.float64]


@numba.njit(cache=True, error_model="numpy")
def _tail(value: float, reference: float, steepness: float) -> float:
    """What divides the weight of a reference: (1 + u²/3)², u the distance in bandwidths."""
    if math.isnan(reference):
        return _MISSING_TAIL * _MISSING_TAIL
    u = min(abs(value - reference) * steepness, DISTANCE_MAX)
    tail: float = 1.0 + u * u / 3.0
    return tail * tail


@numba.njit(cache=True, error_model="numpy")
def _pass(row: Floats, references: Floats, steepness: Floats, weights: Floats, parts: Floats) -> None:
    """Tells the row's features in turn; `weights` sum to 1 before and after."""
    for j in range(len(row)):
        parts[j] = 0.0
        if math.isnan(row[j]):
            continue
        total = 0.0
        for i in range(len(references)):
            weights[i] /= _tail(row[j], references[i, j], steepness[j])
            total += weights[i]
        for i in range(len(references)):
            weights[i] /= total
        parts[j] = on_grid(-log2(total))


@numba.njit(cache=True, error_model="numpy")
def _rows(rows: Floats, references: Floats, steepness: Floats, parts: Floats) -> None:
    weights = np.empty(len(references))
    for r in range(len(rows)):
        weights[:] = 1.0 / len(references)
        _pass(rows[r], references, steepness, weights, parts[r])
        nearest = np.argmax(weights)
        weights[:] = 1.0 / (len(references) - 1)
        weights[nearest] = 0.0
        _pass(rows[r], references, steepness, weights, parts[r])


@dataclass(frozen=True, slots=True)
class RowCoder:
    """A fitted coder: `references` (m, d), `steepness` (d,) is one through scale times bandwidth."""

    references: Floats
    steepness: Floats
    bandwidth: float

    @classmethod
    def of(cls, references: Floats) -> RowCoder:
        """The coder of at least two reference rows, in the bandwidth that tells them in the fewest bits.

        NaN marks a value that is missing, which tells nothing.
        """
        assert len(references) >= REFERENCES_MIN
        held = _bounded(references)
        scales = np.array([_scale(held[:, j]) for j in range(held.shape[1])])
        chosen = min(BANDWIDTHS, key=lambda bandwidth: _bits_told(held, scales, bandwidth))
        return cls(held, _steepness(scales, chosen), chosen)

    def over(self, references: Floats) -> RowCoder:
        """The same scales and bandwidth over other references; scales of further features are theirs."""
        held = _bounded(references)
        known = len(self.steepness)
        scales = np.array([_scale(held[:, j]) for j in range(known, held.shape[1])])
        steepness = np.concatenate([self.steepness, _steepness(scales, self.bandwidth)])
        return RowCoder(held, steepness, self.bandwidth)

    def parts(self, rows: Floats) -> Floats:
        """The bits of each row's features, (n, d), on the grid: one given those before it, 0 and more.

        The second pass is over all references but the nearest.
        """
        parts = np.empty(rows.shape)
        _rows(_bounded(rows), self.references, self.steepness, parts)
        return parts

    def bits(self, rows: Floats) -> Floats:
        """The bits of each row: the sums of `parts`, exact."""
        return np.asarray(self.parts(rows).sum(axis=1))


def _bounded(rows: Floats) -> Floats:
    return np.ascontiguousarray(np.clip(rows, -VALUE_MAX, VALUE_MAX), np.float64)


def _scale(column: Floats) -> float:
    """A feature's scale, above 0: by its middle half, else by its mean deviation, else by its size."""
    known = np.sort(column[~np.isnan(column)])
    if not len(known):
        return 1.0
    size = len(known)
    middle = float(known[size // 2] / 2 + known[(size - 1) // 2] / 2)
    spread = float(known[size - 1 - size // 4] / 2 - known[size // 4] / 2) / (_IQR_OF_NORMAL / 2)
    if not 0.0 < spread < math.inf:
        spread = float(np.minimum(np.abs(known - middle), 1e300).sum()) / size
    return spread if 0.0 < spread < math.inf else max(abs(middle), 1.0) * _CONSTANT_SCALE


def _steepness(scales: Floats, bandwidth: float) -> Floats:
    return np.asarray(1.0 / np.maximum(scales * bandwidth, _SCALE_MIN))


def _bits_told(references: Floats, scales: Floats, bandwidth: float) -> float:
    """Bits for the references, each told by the others, in units of the scales."""
    rows = references[:BANDWIDTH_ROWS_MAX]
    coder = RowCoder(references, _steepness(scales, bandwidth), bandwidth)
    width: float = rows.shape[1] * float(log2(bandwidth))
    return float(coder.bits(rows).sum()) + len(rows) * width
