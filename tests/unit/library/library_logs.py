"""Synthetic logs for the library's tests: seeded, with ids and times, and faults where asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from driftlock import Detector, Verdict

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
WORK = (
    "GET /cart/{n} took {n} ms",
    "GET /item/{n} took {n} ms",
    "cache hit for key user-{n}",
    "job {n} done",
)
FAULT = "ERROR worker {n} lost its connection to the database"


def web_log(seed: int, lines: int, *, faults: Collection[int] = (), step_s: float = 0.4) -> list[str]:
    """Lines with times; a fault is three lines that occur nowhere else."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(WORK), lines, p=[0.5, 0.3, 0.15, 0.05])
    numbers = rng.integers(1, 10**6, lines)
    found = []
    for row in range(lines):
        text = FAULT if any(at <= row < at + 3 for at in faults) else WORK[kinds[row]]
        when = BEGIN + timedelta(seconds=row * step_s)
        found.append(f"{when:%Y-%m-%dT%H:%M:%S.%f}Z {text.format(n=numbers[row])}")
    return found


def job_lines(rng: np.random.Generator, key: str, *, broken: bool = False) -> list[str]:
    """A whole session."""
    work = [
        f"job={key} step {('read', 'sort', 'write')[k]} {rng.integers(99)}" for k in rng.integers(0, 3, 4)
    ]
    end = [f"job={key} lost its worker"] if broken else [f"job={key} closing", f"job={key} closed"]
    return [f"job={key} accepted", *work, *end]


def job_log(seed: int, jobs: int, broken: Collection[int] = ()) -> list[str]:
    """Interleaved sessions with times."""
    rng = np.random.default_rng(seed)
    running: list[list[str]] = []
    found: list[str] = []
    for number in range(jobs):
        running.append(job_lines(rng, f"j{number}", broken=number in broken))
        while len(running) > 3 or (number == jobs - 1 and running):
            pick = int(rng.integers(len(running)))
            when = BEGIN + timedelta(seconds=2 * len(found))
            found.append(f"{when:%Y-%m-%d %H:%M:%S} {running[pick].pop(0)}")
            if not running[pick]:
                running.pop(pick)
    return found


def in_pieces(detector: Detector, lines: Sequence[str], cuts: Sequence[int], **more: Any) -> list[Verdict]:
    """Feeds lines in calls that are cut at `cuts`."""
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(lines)}), len(lines)]
    found: list[Verdict] = []
    for low, high in pairwise(bounds):
        found += detector.observe(lines[low:high], **more)
    return found
