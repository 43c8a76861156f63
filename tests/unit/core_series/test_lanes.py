"""The vector searches find what numpy finds, ties, infinities and all."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core import lanes

few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, 1e15, float("inf")])
numbers = st.one_of(few, st.floats(-(2.0**50), 2.0**50, width=32))


@numba.njit
def value(entries: Any, wanted: Any) -> Any:
    return lanes.nearest_value(entries, wanted)


@numba.njit
def short(entries: Any, shape: Any) -> Any:
    return lanes.nearest_short(entries, shape)


@numba.njit
def long(entries: Any, shape: Any) -> Any:
    return lanes.nearest_long(entries, shape)


@numba.njit
def oldest(used: Any) -> Any:
    return lanes.least_place(used)


def row(width: int) -> Any:
    return st.lists(numbers, min_size=width, max_size=width)


@settings(deadline=None)
@given(row(32), st.floats(-(2.0**50), 2.0**50, width=32))
def test_nearest_value(entries: list[float], wanted: float) -> None:
    held = np.array(entries, np.float32)
    distance = abs(held - np.float32(wanted))
    assert value(held, np.float32(wanted)) == (distance.argmin(), distance.min())


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([6, 12]), st.data())
def test_nearest_shape(blocks: int, data: st.DataObject) -> None:
    held = np.array([data.draw(row(32)) for _ in range(blocks)], np.float32)
    finite = st.floats(-(2.0**50), 2.0**50, width=32)
    shape = np.array(data.draw(st.lists(finite, min_size=blocks, max_size=blocks)))
    shape = shape.astype(np.float32)
    distance = np.zeros(32, np.float32)
    for block in range(blocks):
        error = held[block] - shape[block]
        distance += error * error
    found = (short if blocks == 6 else long)(held, shape)
    assert found == (distance.argmin(), distance.min())


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 2**31, 2**32 - 1]), min_size=32, max_size=32))
def test_least_place(used: list[int]) -> None:
    held = np.array(used, np.uint32)
    assert oldest(held) == held.argmin()
