"""The row coder equals a slow, obvious one, and what it promises of its bits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driftlock.core.coder import BIT_GRID
from driftlock.core.row_coder import BANDWIDTHS, RowCoder

CELLS = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 1e300, -1e300, 1.7e308, -1.7e308, math.nan])
)


def naive_bits(coder: RowCoder, row: npt.NDArray[np.float64]) -> float:
    """−log2 of the mean, over all references but the nearest, of the product of the features' kernels."""
    logs = []
    for reference in coder.references:
        bits = 0.0
        for j, value in enumerate(row):
            if math.isnan(value):
                continue
            told = min(max(float(value), -1e150), 1e150)
            u = min(abs(told - float(reference[j])) * float(coder.steepness[j]), 1e15)
            bits += 2 * math.log2(4 / 3 if math.isnan(reference[j]) else 1 + u * u / 3)
        logs.append(bits)
    logs.remove(min(logs))
    least = min(logs)
    return least - math.log2(sum(2 ** (least - bits) for bits in logs) / len(logs))


@given(arrays(np.float64, (6, 3), elements=CELLS), arrays(np.float64, (4, 3), elements=CELLS))
@settings(max_examples=200, deadline=None)
def test_equals_the_slow_one(references: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> None:
    coder = RowCoder.of(references)
    expected = [naive_bits(coder, row) for row in rows]
    assert coder.bits(rows).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-5)


@given(arrays(np.float64, (8, 3), elements=CELLS))
@settings(max_examples=100, deadline=None)
def test_bits_are_finite_on_the_grid_and_the_sum_of_their_parts(rows: npt.NDArray[np.float64]) -> None:
    coder = RowCoder.of(rows)
    parts, bits = coder.parts(rows), coder.bits(rows)
    assert np.isfinite(bits).all()
    assert (parts >= 0).all()
    assert (parts * BIT_GRID == np.floor(parts * BIT_GRID)).all()
    assert [math.fsum(row) for row in parts] == bits.tolist()


def test_a_row_does_not_depend_on_the_others_scored_with_it_and_inputs_stay() -> None:
    rng = np.random.default_rng(1)
    references, rows = rng.normal(size=(100, 4)), rng.normal(size=(50, 4))
    kept = rows.copy()
    rows.flags.writeable = references.flags.writeable = False
    coder = RowCoder.of(references)
    whole = coder.bits(rows)
    assert whole.tolist() == [float(coder.bits(rows[i : i + 1])[0]) for i in range(50)]
    assert (rows == kept).all()


def test_the_unit_of_measurement_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    references, rows = rng.normal(size=(200, 3)), rng.normal(size=(50, 3))
    factor, shift = np.array([1e-3, -7.0, 1e6]), np.array([5.0, -300.0, 1e7])
    plain = RowCoder.of(references).bits(rows)
    other = RowCoder.of(references * factor + shift).bits(rows * factor + shift)
    assert other == pytest.approx(plain, abs=1e-4)


def test_a_lone_anomaly_among_the_references_is_no_cheap_copy() -> None:
    rng = np.random.default_rng(3)
    clean = rng.normal(size=(200, 2))
    strange = np.array([[12.0, -9.0]])
    with_it = RowCoder.of(np.concatenate([clean, strange]))
    assert with_it.bits(strange)[0] > with_it.bits(clean).max()


def test_a_constant_feature_that_changes_is_strange() -> None:
    rng = np.random.default_rng(4)
    references = np.column_stack([rng.normal(size=100), np.full(100, 3.0)])
    coder = RowCoder.of(references)
    same, changed = coder.bits(np.array([[0.0, 3.0], [0.0, 3.5]]))
    assert changed > same + 20
    assert coder.bandwidth in BANDWIDTHS
