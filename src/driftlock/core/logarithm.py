"""A binary logarithm whose bits do not depend on the CPU or the C library.

Owns `log2`, `exp2` and `asinh`, and `log2_near` and `asinh_near` for where speed counts more than the last
digits, made of exact bit operations and IEEE + − × ÷ √ alone: libm differs between versions and CPUs, and
evidence is recomputed bit for bit elsewhere. Knows nothing of what is measured.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_TWO_OVER_LN2 = 2.8853900817779268
_LN2 = 0.6931471805599453
_SQRT2 = 1.4142135623730951
_ROOT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)  # √½, whose octave begins the mantissa
_SUBNORMAL_SCALE = 18014398509481984.0  # 2 ** 54


@numba.njit(cache=True, error_model="numpy")
def log2(x: float) -> float:
    """log2 of a positive finite `x`, in bits, within 2 units in the last place of the larger of result and 1.

    Splits x = m · 2^e with m in [√½, √2] and sums the series of the inverse hyperbolic tangent of
    (m − 1)/(m + 1), which is at most .172: eleven terms reach double precision. Usable from kernels too.
    """
    shift = 0
    if x < 2.2250738585072014e-308:
        x *= _SUBNORMAL_SCALE
        shift = 54
    bits = np.float64(x).view(np.int64)
    exponent = ((bits >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1023) - shift
    mantissa = np.int64((bits & np.int64(0xFFFFFFFFFFFFF)) | np.int64(0x3FF0000000000000)).view(np.float64)
    if mantissa > _SQRT2:
        mantissa *= 0.5
        exponent += 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    q = s * s
    series = 1.0 / 21.0
    series = series * q + 1.0 / 19.0
    series = series * q + 1.0 / 17.0
    series = series * q + 1.0 / 15.0
    series = series * q + 1.0 / 13.0
    series = series * q + 1.0 / 11.0
    series = series * q + 1.0 / 9.0
    series = series * q + 1.0 / 7.0
    series = series * q + 1.0 / 5.0
    series = series * q + 1.0 / 3.0
    return float(exponent) + _TWO_OVER_LN2 * (s + s * q * series)


@numba.njit(cache=True, error_model="numpy")
def log2_near(x: float) -> float:
    """log2 of a positive normal finite `x` within 3e-12 bits, exact for powers of two, in half the time.

    As `log2` with seven terms of the series, summed in pairs, and without branches: a processor cannot guess
    which half of an octave a number lies in.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _ROOT_HALF_BITS) >> np.int64(52)
    mantissa = np.int64(bits - (exponent << np.int64(52))).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    q = s * s
    q2 = q * q
    head = (1.0 / 3.0 + q * (1.0 / 5.0)) + q2 * (1.0 / 7.0 + q * (1.0 / 9.0))
    series = head + (q2 * q2) * (1.0 / 11.0 + q * (1.0 / 13.0))
    return float(exponent) + _TWO_OVER_LN2 * (s + s * q * series)


@numba.njit(cache=True, error_model="numpy")
def exp2(x: float) -> float:
    """2 to the power `x`, within 4 units in the last place; 0 below −1022 and infinite from 1024.

    Splits x into its floor, which becomes the exponent's bits, and a rest below 1, whose Taylor series
    reaches double precision with eighteen terms.
    """
    if x < -1022.0:
        return 0.0
    if x >= 1024.0:
        return math.inf
    whole = math.floor(x)
    rest = _LN2 * (x - whole)
    value = 1.0
    for k in range(18, 0, -1):
        value = 1.0 + value * rest / k
    return float(value * np.int64((np.int64(whole) + np.int64(1023)) << np.int64(52)).view(np.float64))


@numba.njit(cache=True, error_model="numpy")
def asinh(x: float) -> float:
    """Inverse hyperbolic sine of `x`, |x| < 1e150: linear near 0, logarithmic far away."""
    size = abs(x)
    if size < 1e-4:  # where 1 + x loses the digits of x; the next term is below 1e-20
        return x - x * x * x / 6.0
    value = _LN2 * log2(size + math.sqrt(size * size + 1.0))
    return value if x > 0 else -value


@numba.njit(cache=True, error_model="numpy")
def asinh_near(x: float) -> float:
    """Inverse hyperbolic sine of `x`, |x| < 1e150, within 3e-12 at any size; of −x it is the negative."""
    size = abs(x)
    value = _LN2 * log2_near(size + math.sqrt(size * size + 1.0))
    return value if x > 0 else -value
