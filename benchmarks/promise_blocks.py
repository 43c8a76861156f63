"""Logs cut by time: false alarms of ordinary blocks, and how often silence, a flood or a trickle is found.

    python -m benchmarks.promise_blocks

Logs are made: so many lines a minute on average, Poisson, of 40 templates as in `promise_logs`; with a season
the rate follows the time of day (± 60 %). They go the whole way from text. What is found is counted after
three ordinary days, at four hours of the fourth, with the settings of the server (threshold .01, budget 20):
the stream then stops, or sends so many times as much as is expected at that hour, for three blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.promise_logs import line_of
from driftlock.cli.units import add_lines
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.verdict import Verdict
from driftlock.library.clock import SECOND_NS, Clock
from driftlock.signals.textlog import text_batch

SETTINGS = LogSettings(mode="time", p_value_threshold=0.01)
ALPHAS = (0.05, 0.01, 0.001)
RATES, SEASONS = (3.0, 12.0, 40.0), (0.0, 0.6)
WEEK, DAY = 7 * 1_440, 1_440
SEEDS = 4
BEGIN_S = 1_767_571_200  # 2026-01-05
TIMES_AS_MUCH = {
    "silence": 0.0,
    "a tenth": 0.1,
    "a third": 1 / 3,
    "as ever": 1.0,
    "twice": 2.0,
    "ten times": 10.0,
}
HOURS = (0, 6, 12, 18)
BLOCKS = 3

Floats = npt.NDArray[np.float64]


def rates_of(rate: float, season: float, minutes: npt.NDArray[np.int64]) -> Floats:
    """Expected lines in each of these minutes."""
    return np.asarray(rate * (1 + season * np.sin(2 * np.pi * minutes / DAY)))


class Log:
    """A stream and the made log that it reads on."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.stream = LogStream(SETTINGS, tells=False)
        self.clock = Clock(SETTINGS.session_idle_ns)
        self.minute = self.lines = 0
        shares = 1.0 / np.arange(1, 41)
        self._shares = shares / shares.sum()

    def go_on(self, rates: Floats) -> list[Verdict]:
        """Reads minutes with these rates, and lets the clock pass them."""
        found = [v for part in np.array_split(rates, max(len(rates) // 500, 1)) for v in self._read(part)]
        return found + self.stream.tick(self.clock.move((BEGIN_S + 60 * self.minute) * SECOND_NS))

    def _read(self, rates: Floats) -> list[Verdict]:
        volumes = self.rng.poisson(rates)
        count = int(volumes.sum())
        seconds = 60 * np.repeat(np.arange(len(rates)), volumes) + self.rng.integers(0, 60, count)
        kinds = self.rng.choice(40, count, p=self._shares)
        numbers = self.rng.integers(1, 10_000, count)
        begin = BEGIN_S + 60 * self.minute
        self.minute += len(rates)
        if not count:
            return []
        rows = zip(np.sort(seconds).tolist(), kinds.tolist(), numbers.tolist(), strict=True)
        text = "\n".join(line_of(kind, number, self.lines, begin + s) for s, kind, number in rows)
        batch, first = text_batch(text.encode() + b"\n"), self.lines + 1
        self.lines += count
        return add_lines(self.stream, batch, first_line=first, clock=self.clock)


def ordinary(rate: float, season: float) -> tuple[list[Floats], float]:
    """The p-values of a week of ordinary blocks, a seed each, and alarms a week."""
    runs, alarms = [], 0
    for seed in range(SEEDS):
        found = Log(seed).go_on(rates_of(rate, season, np.arange(WEEK)))
        runs.append(np.array([v.p_value for v in found]))
        alarms += sum(v.alarm for v in found)
    return runs, alarms / SEEDS


def trials(rate: float, season: float) -> Iterator[tuple[str, list[Verdict]]]:
    """What is done to a stream after three days, and the verdicts on its blocks from then on."""
    for seed in range(SEEDS):
        log = Log(100 + seed)
        log.go_on(rates_of(rate, season, np.arange(3 * DAY)))
        for hour in HOURS:
            log.go_on(rates_of(rate, season, np.arange(log.minute, 3 * DAY + 60 * hour + 30)))
            state, clock, minute = log.stream.snapshot(), log.clock.state(), log.minute
            expected = rates_of(rate, season, np.arange(minute, minute + BLOCKS))
            for name, much in TIMES_AS_MUCH.items():
                log.stream, log.minute = LogStream.restore(SETTINGS, state), minute
                log.clock.load(clock)
                yield name, log.go_on(expected * much)
            log.stream, log.minute = LogStream.restore(SETTINGS, state), minute
            log.clock.load(clock)


def rates_by_time(console: Console) -> dict[str, object]:
    """Realised rates of ordinary blocks."""
    table = Table("lines a minute", "units", *(f"p ≤ {a}" for a in ALPHAS), "alarms a week")
    results: dict[str, object] = {}
    for rate, season in product(RATES, SEASONS):
        runs, alarms = ordinary(rate, season)
        shares = {a: np.array([(run <= a).mean() for run in runs]) for a in ALPHAS}
        told = {a: (float(s.mean()), float(s.std(ddof=1) / np.sqrt(SEEDS))) for a, s in shares.items()}
        name = f"{rate:.0f}{' with a season' if season else ''}"
        cells = [f"{mean:.4f} ± {error:.4f}" for mean, error in told.values()]
        table.add_row(name, f"{sum(map(len, runs)):,}", *cells, f"{alarms:.1f}")
        results[name] = {str(a): one for a, one in told.items()} | {"alarms": alarms}
    console.print(table)
    return results


def found_by_time(console: Console) -> dict[str, object]:
    """Shares of what was done that reached p ≤ .05, and that alarmed, within three blocks."""
    table = Table("lines a minute: p ≤ .05, alarmed", *TIMES_AS_MUCH)
    results: dict[str, object] = {}
    for rate, season in product(RATES, SEASONS):
        hits = {name: np.zeros(3) for name in TIMES_AS_MUCH}
        for done, found in trials(rate, season):
            reached = any(v.p_value <= 0.05 for v in found)
            hits[done] += (1, reached, any(v.alarm for v in found))
        shares = {done: (count[1] / count[0], count[2] / count[0]) for done, count in hits.items()}
        name = f"{rate:.0f}{' with a season' if season else ''}"
        table.add_row(name, *(f"{reached:.2f}, {alarmed:.2f}" for reached, alarmed in shares.values()))
        results[name] = shares
    console.print(table)
    return results


if __name__ == "__main__":
    rates_by_time(Console(width=150))
    found_by_time(Console(width=150))
    sys.exit(0)
