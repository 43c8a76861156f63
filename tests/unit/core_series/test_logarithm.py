"""Our logarithms equal the C library's to the last places, and exactly where exactness is possible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.logarithm import asinh, asinh_near, exp2, log2, log2_near


@settings(deadline=None)
@given(st.floats(min_value=5e-324, max_value=1.7e308))
def test_log2(x: float) -> None:
    assert log2(x) == pytest.approx(math.log2(x), rel=5e-16, abs=5e-16)


@settings(deadline=None)
@given(st.integers(-1074, 1023))
def test_log2_of_powers_is_exact(k: int) -> None:
    assert log2(math.ldexp(1.0, k)) == k


@settings(deadline=None)
@given(st.floats(-1022, 1023.9))
def test_exp2(x: float) -> None:
    assert exp2(x) == pytest.approx(2.0**x, rel=2e-15)


def test_exp2_at_its_ends() -> None:
    assert exp2(-1e300) == 0.0
    assert exp2(1024.0) == math.inf
    assert exp2(0.0) == 1.0
    assert exp2(-16.0) == 2.0**-16


@settings(deadline=None)
@given(st.floats(-1e15, 1e15))
def test_asinh(x: float) -> None:
    assert asinh(x) == pytest.approx(math.asinh(x), rel=1e-11, abs=1e-300)


@settings(deadline=None)
@given(st.floats(min_value=2.3e-308, max_value=1.7e308))
def test_log2_near(x: float) -> None:
    assert log2_near(x) == pytest.approx(math.log2(x), rel=0, abs=3e-12)


@settings(deadline=None)
@given(st.integers(-1022, 1023))
def test_log2_near_of_powers_is_exact(k: int) -> None:
    assert log2_near(math.ldexp(1.0, k)) == k


@settings(deadline=None)
@given(st.floats(-1e15, 1e15))
def test_asinh_near(x: float) -> None:
    assert asinh_near(x) == pytest.approx(math.asinh(x), rel=0, abs=3e-12)
    assert asinh_near(-x) == -asinh_near(x)
