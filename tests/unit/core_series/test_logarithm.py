"""Our logarithms equal the C library's to the last places, and exactly where exactness is possible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.core.logarithm import asinh, exp2, log2


@given(st.floats(min_value=5e-324, max_value=1.7e308))
def test_log2(x: float) -> None:
    assert log2(x) == pytest.approx(math.log2(x), rel=5e-16, abs=5e-16)


@given(st.integers(-1074, 1023))
def test_log2_of_powers_is_exact(k: int) -> None:
    assert log2(math.ldexp(1.0, k)) == k


@given(st.floats(-1022, 1023.9))
def test_exp2(x: float) -> None:
    assert exp2(x) == pytest.approx(2.0**x, rel=2e-15)


def test_exp2_at_its_ends() -> None:
    assert exp2(-1e300) == 0.0
    assert exp2(1024.0) == math.inf
    assert exp2(0.0) == 1.0
    assert exp2(-16.0) == 2.0**-16


@given(st.floats(-1e15, 1e15))
def test_asinh(x: float) -> None:
    assert asinh(x) == pytest.approx(math.asinh(x), rel=1e-11, abs=1e-300)
