"""The same input gives the same bits: on another CPU, in another process, and whatever the cache holds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from driftlock.core import series_kernel, series_tuning
from driftlock.core.fingerprint import fingerprint
from driftlock.core.series import SeriesBank, SeriesSettings


def digest() -> str:
    """A hash of the verdicts and the state after points of every kind."""
    rng = np.random.default_rng(5)
    n = 3_000
    day = np.sin(2 * np.pi * np.arange(n) / 288)
    kinds = [
        5 * day + rng.normal(size=n),
        rng.standard_t(2, n),
        rng.poisson(3, n).astype(float),
        np.cumsum(day + 2),
    ]
    series = np.tile(np.arange(4, dtype=np.uint64), n)
    times = np.repeat(np.arange(n) * 300 * 10**9, 4)
    bank = SeriesBank(SeriesSettings())
    v = bank.observe(series, times, np.stack(kinds, axis=1).ravel(), series == 3)
    columns = (v.score, v.anomaly_score, v.p_value, v.surprise_bits, v.expected, v.low, v.high, v.parts)
    return hashlib.sha256(b"".join(c.tobytes() for c in columns) + bank.snapshot()).hexdigest()


@pytest.mark.slow
def test_a_plain_cpu_gives_the_same_bits(tmp_path: Path) -> None:
    """Without AVX and fused multiply-add, from an empty cache, in another process."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    code = "from unit.core_series.test_determinism import digest; print(digest())"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == digest()


def test_the_fingerprint_follows_the_sources(tmp_path: Path) -> None:
    assert fingerprint(series_kernel, series_tuning) == fingerprint(series_kernel, series_tuning)
    assert fingerprint(series_kernel) != fingerprint(series_tuning)
    source = tmp_path / "constants.py"
    source.write_text("RATE = 1\n")
    before = ModuleType("constants")
    before.__file__ = str(source)
    first = fingerprint(before)
    source.write_text("RATE = 2\n")
    after = ModuleType("constants")
    after.__file__ = str(source)
    assert 0 <= first != fingerprint(after)
