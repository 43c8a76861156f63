"""Kernels are compiled once: what set-up compiled, no later process compiles again."""

from __future__ import annotations

import subprocess
import sys

import pytest

REPORT = """
import gc
from numba.core.dispatcher import Dispatcher
from driftlock.engine.kernels import compile_kernels
compile_kernels()
kernels = (d for d in gc.get_objects() if isinstance(d, Dispatcher))
print(*sorted(d.py_func.__qualname__ for d in kernels if d.stats.cache_misses))
"""


@pytest.mark.timeout(600)
def test_a_second_process_compiles_nothing() -> None:
    compiled = ["?"]
    for _ in range(2):
        answer = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True)
        compiled = answer.stdout.split()
    assert compiled == []
