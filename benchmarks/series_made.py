"""Made series that are bursty, sparse or heavy-tailed, with labelled anomalies, for `detection_nab`.

Seven families after what services measure: messages a minute that excite each other, a processor with jobs,
a processor near saturation, a disk that mostly idles, traffic in jittered bursts, requests with a season,
rare errors. What is ordinary recurs with its own scatter: heights, lengths and gaps of bursts have
distributions that hold for the whole series. An anomaly breaks one of them. A window is centred on its
anomaly's first point and is a tenth of the series, shared among the anomalies, as in the Numenta Anomaly
Benchmark; it reaches to the anomaly's end where that is later. No anomaly lies in the first fifth.

Owns the generators; knows no detector. Seeded: the same series everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DAY = 288
"""Points of a day, five minutes apart."""
MESSAGES_DAYS, OTHER_DAYS = 50, 14
FIRST_SHARE = 0.2
"""No anomaly before: a detector may learn first."""
EACH = 8
"""Series of each family."""

Floats = npt.NDArray[np.float64]
Random = np.random.Generator
Spans = list[tuple[int, int, str]]
"""First row, number of rows and kind of each anomaly."""
Maker = Callable[[Random], tuple[Floats, Spans]]


@dataclass(frozen=True, slots=True)
class Made:
    """One series: `values` (n,), the `windows` of its anomalies as first and last row, and their `kinds`."""

    name: str
    values: Floats
    windows: list[tuple[int, int]]
    kinds: list[str]


def _season(rng: Random, n: int, depth: float) -> Floats:
    phase = rng.uniform(0, 2 * np.pi)
    day = 2 * np.pi * np.arange(n) / DAY + phase
    return np.asarray(1 + depth * (np.sin(day) + 0.3 * np.sin(2 * day)) / 1.3)


def _places(rng: Random, n: int, anomalies: int) -> list[int]:
    """Rows of the anomalies, at least a tenth of the series apart."""
    first, apart = int(FIRST_SHARE * n), n // 10
    while True:
        at = np.sort(rng.integers(first, n - apart, anomalies))
        if len(at) < 2 or np.diff(at).min() >= apart:
            return [int(i) for i in at]


def _burst(values: Floats, at: int, height: float, decay: float) -> None:
    """Adds a burst that dies away."""
    tail = np.arange(min(int(8 * decay) + 1, len(values) - at))
    values[at : at + len(tail)] += height * np.exp(-tail / decay)


def messages(rng: Random) -> tuple[Floats, Spans]:
    """Counts with a season; bursts excite, heights have a heavy tail. Anomalies: larger than all, or long."""
    n = DAY * MESSAGES_DAYS
    rate = rng.uniform(3, 60) * _season(rng, n, rng.uniform(0.3, 0.8))
    usual, scatter, decay = rng.uniform(1, 3), rng.uniform(0.5, 0.9), rng.uniform(1, 6)
    heights = usual * np.exp(scatter * rng.normal(size=n)) * rate.mean()
    cause = rng.random(n) < rng.uniform(0.5, 4) / DAY
    for at in np.flatnonzero(cause):
        _burst(rate, at, heights[at], decay * rng.uniform(0.7, 1.4))
        if rng.random() < 0.3:
            follower = at + int(rng.integers(2, 24))
            if follower < n:
                _burst(rate, follower, 0.6 * heights[at], decay)
    places = _places(rng, n, int(rng.integers(1, 5)))
    largest = float(heights[cause].max())
    spans = []
    for at in places:
        kind = "large" if rng.random() < 0.7 else "long"
        if kind == "large":
            _burst(rate, at, rng.uniform(1.5, 4) * largest, decay * rng.uniform(1, 2))
        else:
            _burst(rate, at, 0.5 * largest, 12 * decay)
        spans.append((at, int(12 * decay), kind))
    spread = rng.uniform(2, 15)
    counts = rng.poisson(rate * rng.gamma(spread, 1 / spread, n)).astype(float)
    return counts, spans


def processor_with_jobs(rng: Random) -> tuple[Floats, Spans]:
    """A low plateau and a job in a rhythm. Anomalies: a level, jobs that pause, are large or often."""
    n = DAY * OTHER_DAYS
    low, noise = rng.uniform(0.5, 20), rng.uniform(0.02, 0.1)
    values = low * (1 + noise * rng.normal(size=n))
    period, length = int(rng.choice([12, 36, 72, 144, 288])), int(rng.integers(1, 6))
    height = low * rng.uniform(1, 8)
    places = _places(rng, n, int(rng.integers(1, 3)))
    kinds = {at: str(rng.choice(["level", "pause", "large", "often"])) for at in places}
    jobs = list(range(int(rng.integers(0, period)), n - length, period))
    lasting = max(2 * period, DAY // 2)
    for at, kind in kinds.items():
        if kind == "pause":
            jobs = [job for job in jobs if not at - period < job < at + lasting]
        if kind == "often":
            jobs += [at + k * max(period // 3, length + 2) for k in range(6)]
    for job in jobs:
        around = min(job + int(rng.integers(-1, 2)), n - length)
        values[max(around, 0) : around + length] += height * rng.uniform(0.7, 1.3)
    for at, kind in kinds.items():
        if kind == "level":
            values[at : at + lasting] += low * rng.uniform(0.6, 2)
        if kind == "large":
            values[at : at + length + 2] += 2 * height
    return values, [(at, length if kind == "large" else lasting, kind) for at, kind in kinds.items()]


def processor_near_saturation(rng: Random) -> tuple[Floats, Spans]:
    """A wandering level cut at 100, with dips and peaks. Anomalies: a level, stillness, many peaks."""
    n = DAY * OTHER_DAYS
    wander = np.zeros(n)
    hold, scatter = rng.uniform(0.6, 0.97), rng.uniform(1, 5)
    for i in range(1, n):
        wander[i] = hold * wander[i - 1] + scatter * rng.normal() * np.sqrt(1 - hold * hold)
    values = rng.uniform(30, 80) + wander
    peaks = rng.random(n) < rng.uniform(0.005, 0.03)
    values[peaks] += rng.exponential(15, peaks.sum()) * rng.choice([-1, 1, 1], peaks.sum())
    places = _places(rng, n, int(rng.integers(1, 3)))
    kinds = [str(rng.choice(["level", "still", "often"])) for _ in places]
    spans = [
        (at, int(rng.integers(DAY // 6, DAY // 2)), kind) for at, kind in zip(places, kinds, strict=True)
    ]
    for at, span, kind in spans:
        if kind == "level":
            values[at : at + span] += rng.choice([-1, 1]) * (5 * scatter + 15)
        elif kind == "still":
            values[at : at + span] = values[at]
        else:
            values[at : at + span] += (rng.random(span) < 0.4) * rng.exponential(25, span)
    return np.clip(values, 0, 100), spans


def idle_disk(rng: Random) -> tuple[Floats, Spans]:
    """Next to nothing, and writes at irregular times. Anomalies: far larger, far longer, far more often."""
    n = DAY * OTHER_DAYS
    values = np.where(rng.random(n) < rng.uniform(0, 0.5), rng.exponential(0.002, n), 0.0)
    scatter, gap, longest = rng.uniform(0.4, 1.2), rng.uniform(8, 80), int(rng.integers(1, 5))
    heights = np.exp(scatter * rng.normal(size=n))
    starts = np.cumsum(rng.geometric(1 / gap, n))
    for at in starts[starts < n - longest]:
        values[at : at + int(rng.integers(1, longest + 1))] += heights[at]
    places = _places(rng, n, int(rng.integers(1, 4)))
    largest = values.max()
    spans = []
    for at in places:
        kind = str(rng.choice(["large", "long", "often"]))
        span = {"large": longest, "long": 12 + 4 * longest, "often": int(4 * gap)}[kind]
        if kind == "large":
            values[at : at + span] += rng.uniform(1.5, 4) * largest
        else:
            share = 1.0 if kind == "long" else 0.5
            values[at : at + span] += (rng.random(span) < share) * np.exp(scatter * rng.normal(size=span))
        spans.append((at, span, kind))
    return values * 10 ** rng.uniform(0, 7), spans


def traffic_in_bursts(rng: Random) -> tuple[Floats, Spans]:
    """A noisy floor and bursts of jittered rhythm. Anomalies: far larger, a pause, often, a level."""
    n = DAY * OTHER_DAYS
    values = rng.gamma(rng.uniform(2, 20), 1.0, n)
    values /= values.mean()
    gap, jitter = rng.uniform(15, 150), rng.uniform(0.05, 0.4)
    height, scatter = rng.uniform(3, 20), rng.uniform(0.1, 0.6)
    places = _places(rng, n, int(rng.integers(1, 4)))
    kinds = {at: str(rng.choice(["large", "pause", "often", "level"])) for at in places}
    lasting = int(max(4 * gap, DAY // 3))
    at, largest = rng.uniform(0, gap), height
    while at < n - 3:
        near = [kind for place, kind in kinds.items() if place <= at < place + lasting]
        burst = height * float(np.exp(scatter * rng.normal()))
        if "pause" not in near:
            values[int(at) : int(at) + int(rng.integers(1, 4))] += burst
            largest = max(largest, burst)
        at += max(gap * (1 + jitter * rng.normal()), 2.0) / (3 if "often" in near else 1)
    for place, kind in kinds.items():
        if kind == "large":
            values[place : place + 3] += rng.uniform(1.5, 4) * largest
        if kind == "level":
            values[place : place + lasting] += 0.5 * height
    spans = [(place, 3 if kind == "large" else lasting, kind) for place, kind in kinds.items()]
    return values * 10 ** rng.uniform(0, 6), spans


def requests(rng: Random) -> tuple[Floats, Spans]:
    """Overdispersed counts with a season. Anomalies: a drop, a surge, a level, an hour of nothing."""
    n = DAY * OTHER_DAYS
    rate = rng.uniform(5, 150) * _season(rng, n, rng.uniform(0.4, 0.9))
    spread = rng.uniform(4, 40)
    places = _places(rng, n, int(rng.integers(1, 3)))
    spans = []
    for at in places:
        kind = str(rng.choice(["drop", "large", "level", "still"]))
        span = {"drop": DAY // 4, "large": 24, "level": DAY, "still": 12}[kind]
        if kind == "large":
            _burst(rate, at, 3 * float(rate.max()), rng.uniform(2, 12))
        else:
            rate[at : at + span] *= {"drop": 0.3, "level": 1.8, "still": 0.0}[kind]
        spans.append((at, span, kind))
    return rng.poisson(rate * rng.gamma(spread, 1 / spread, n)).astype(float), spans


def rare_errors(rng: Random) -> tuple[Floats, Spans]:
    """Mostly 0, now and then a few that come together. Anomalies: many at once, or for hours."""
    n = DAY * OTHER_DAYS
    rate = np.full(n, rng.uniform(0.01, 0.15))
    for at in np.flatnonzero(rng.random(n) < rng.uniform(0.3, 2) / DAY):
        _burst(rate, at, rng.exponential(2), rng.uniform(1, 4))
    places = _places(rng, n, int(rng.integers(1, 4)))
    spans = []
    for at in places:
        kind = str(rng.choice(["large", "often"]))
        if kind == "large":
            _burst(rate, at, rng.uniform(15, 40), 2)
        else:
            rate[at : at + DAY // 4] += rng.uniform(1, 3)
        spans.append((at, 6 if kind == "large" else DAY // 4, kind))
    return rng.poisson(rate).astype(float), spans


FAMILIES: dict[str, Maker] = {
    "messages": messages,
    "processor with jobs": processor_with_jobs,
    "processor near saturation": processor_near_saturation,
    "idle disk": idle_disk,
    "traffic in bursts": traffic_in_bursts,
    "requests": requests,
    "rare errors": rare_errors,
}


def made(family: str, number: int) -> Made:
    """The `number`-th series of a family."""
    rng = np.random.default_rng([list(FAMILIES).index(family), number])
    values, spans = FAMILIES[family](rng)
    half = len(values) // 20 // len(spans)
    windows = [(at - half, min(max(at + half, at + span), len(values) - 1)) for at, span, _ in spans]
    return Made(f"{family}/{number}", values, windows, [kind for *_, kind in spans])
