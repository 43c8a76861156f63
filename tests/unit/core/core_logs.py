"""Synthetic logs for the tests of the core: templates as numbers, rendered to lines and hashes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from driftlock.core.log_stream import LogStream
from driftlock.core.verdict import Verdict

SECOND_NS = 1_000_000_000


def line_of(template: int) -> bytes:
    """The canonical line of a template number."""
    level = b"ERROR" if template % 50 == 49 else b"INFO"
    return level + b" part-%d: thing %d happened to <num>" % (template % 7, template)


def hash_of(template: int) -> int:
    """A 64-bit hash of a template number, never 0."""
    return ((template + 1) * 0x9E3779B97F4A7C15 ^ 0xABCDEF12345) & 0xFFFFFFFFFFFFFFFF


def feed(
    stream: LogStream,
    templates: Sequence[int] | npt.NDArray[np.integer],
    *,
    cuts: Sequence[int] = (),
    first: int = 0,
    now_ns: int = SECOND_NS,
    step_ns: int = 0,
    sessions: Sequence[bytes] | None = None,
    numbers: npt.NDArray[np.uint32] | None = None,
    times_ns: npt.NDArray[np.int64] | None = None,
) -> list[Verdict]:
    """Feeds events, cut into calls at `cuts`; the clock of a call is that of its first event.

    Event n's own time is n seconds unless `times_ns` are given.
    """
    lines = [line_of(int(t)) for t in templates]
    ends = np.cumsum([len(line) for line in lines]).astype(np.int64)
    starts = ends - np.array([len(line) for line in lines], np.int64)
    buffer = np.frombuffer(b"".join(lines), np.uint8)
    hashes = np.array([hash_of(int(t)) for t in templates], np.uint64)
    positions = np.arange(first, first + len(lines), dtype=np.int64)
    times = positions * SECOND_NS if times_ns is None else times_ns
    found: list[Verdict] = []
    bounds = [0, *sorted(c for c in cuts if 0 < c < len(lines)), len(lines)]
    for low, high in pairwise(bounds):
        part = slice(low, high)
        found += stream.add(
            hashes[part],
            buffer,
            starts[part],
            ends[part],
            times[part],
            positions[part],
            sessions=None if sessions is None else sessions[part],
            numbers=None if numbers is None else numbers[part],
            now_ns=now_ns + low * step_ns,
        )
    return found


def sizes(rng: np.random.Generator, events: int) -> npt.NDArray[np.uint32]:
    """Magnitudes of two numbers an event, the second one nearly always of the same size; some have none."""
    first, second = rng.integers(6, 9, events), rng.choice([8, 9, 3, 15], events, p=[0.9, 0.08, 0.015, 0.005])
    return np.where(rng.random(events) < 0.9, first | second << 4, 0).astype(np.uint32)


def zipf(
    rng: np.random.Generator, events: int, templates: int = 30, power: float = 1.5
) -> npt.NDArray[np.int64]:
    """Exchangeable events: template k with probability proportional to 1/k^power."""
    weights = 1.0 / np.arange(1, templates + 1) ** power
    return rng.choice(templates, events, p=weights / weights.sum())


def job(rng: np.random.Generator, *, broken: bool = False) -> list[int]:
    """A session: start, some work steps in loose order, end. A broken one fails and never ends."""
    work = [2 + int(k) for k in rng.integers(0, 4, rng.integers(2, 6))]
    return [0, 1, *work, 49] if broken else [0, 1, *work, 10, 11]


def flat(units: Sequence[Sequence[int]]) -> list[int]:
    """The events of units one after the other."""
    return [event for unit in units for event in unit]
