"""The same input gives the same verdicts, bit for bit: across processes, restarts, CPUs and their number."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("verdict_digest.py")
PLAIN_CPU = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}


def digest(*arguments: str, cpus: int | None = None, **environment: str) -> str:
    """What the program prints, on so many of this process's CPUs and in an environment with these changes."""
    allowed = sorted(os.sched_getaffinity(0))[:cpus]

    def confine() -> None:
        os.sched_setaffinity(0, allowed)

    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), *arguments],
        env={**os.environ, **environment},
        preexec_fn=confine,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@cache
def undisturbed() -> str:
    return digest()


def test_the_sample_holds_what_it_should() -> None:
    bits, alarms = undisturbed().split()
    assert len(bits) == 64
    assert int(alarms) >= 2


def test_another_process_gives_the_same_bits() -> None:
    assert digest(PYTHONHASHSEED="1") == undisturbed()


def test_a_restart_halfway_gives_the_same_bits() -> None:
    assert digest("restart") == undisturbed()


@pytest.mark.parametrize("cpus", [1, None], ids=["one CPU", "all CPUs"])
def test_the_number_of_cpus_and_threads_changes_no_bit(cpus: int | None) -> None:
    threads = "1" if cpus == 1 else str(len(os.sched_getaffinity(0)))
    changed = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"), threads)
    assert digest(cpus=cpus, **changed) == undisturbed()


@pytest.mark.slow
def test_a_plain_cpu_gives_the_same_bits(tmp_path: Path) -> None:
    """Without AVX and fused multiply-add, every kernel compiled anew from an empty cache."""
    assert digest(NUMBA_CACHE_DIR=str(tmp_path), **PLAIN_CPU) == undisturbed()
