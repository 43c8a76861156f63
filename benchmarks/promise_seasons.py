"""What p-values promise hour by hour on logs with a daily season, and what is found at night.

    python -m benchmarks.promise_seasons

Made logs as template hashes (not from text): by day one mix of templates, by night another, between 5 and 7
and between 19 and 21 both. The same log twice: with its times, so that units are ranked among those of their
own hour of the day once these suffice, and without, so that all hours are one. Counted from the third week on
(the busy log: from the second of two). The worst of 24 hours is a maximum of noisy shares: on a log without a
season it tells what noise does.

Found at night: one block in a hundred, between 21 and 5, is replaced or gets some lines, none of them unusual
by day, or one line never seen. They are learned and calibrated on as in life.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from driftlock.core.log_stream import LogSettings, LogStream

DAY_S = 86_400
SECOND_NS = 1_000_000_000
BLOCK = 25
DAY_KINDS = 40
KINDS = 130
NEVER_SEEN = np.arange(120, KINDS)
CHUNK = 5_000
RUNS = 6
ALPHAS = (0.05, 0.01)
INJECTED_SHARE = 0.01
SETTINGS = LogSettings(p_value_threshold=0.01)  # as `driftlock up` has it, and its budget of 20

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """A log: what nights hold, seconds from line to line, its length and where counting begins."""

    name: str
    night: str
    step_s: float = 10.0
    days: int = 35
    counted_from: int = 14
    injected: str = ""


SEASONS = (
    Season(name="no season", night="as by day"),
    Season(name="nights of other templates", night="other"),
    Season(name="nights of three templates", night="quiet"),
    Season(
        name="nights of three templates, a line a second", night="quiet", step_s=1, days=14, counted_from=7
    ),
)
FOUND = (
    Season(name="25 lines as by day", night="quiet", injected="day"),
    Season(name="4 lines as by day", night="quiet", injected="few"),
    Season(name="one line never seen", night="quiet", injected="new"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One run's verdicts: hour of the day, p, whether it alarmed, whether its last block is injected."""

    hours: Ints
    p_values: npt.NDArray[np.float64]
    alarms: Flags
    injected: Flags


def shares(kinds: int, power: float = 1.0) -> npt.NDArray[np.float64]:
    weights = 1.0 / np.arange(1, kinds + 1) ** power
    return np.asarray(weights / weights.sum())


def made(seed: int, season: Season) -> tuple[Ints, Ints, Flags]:
    """Templates, times in seconds (a Poisson stream) and which lines belong to injected blocks."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(season.step_s, int(season.days * DAY_S / season.step_s)))
    hours = times % DAY_S / 3600
    by_day = rng.random(len(times)) < np.clip(np.minimum((hours - 5) / 2, (21 - hours) / 2), 0, 1)
    kinds = rng.choice(DAY_KINDS, len(times), p=shares(DAY_KINDS))
    if season.night == "quiet":
        kinds = np.where(by_day, kinds, rng.choice(3, len(times), p=(0.6, 0.3, 0.1)))
    elif season.night == "other":
        kinds = np.where(by_day, kinds, DAY_KINDS + rng.choice(20, len(times), p=shares(20)))
    injected = np.zeros(len(times), np.bool_)
    if season.injected:
        begins = np.arange(0, len(times) - BLOCK + 1, BLOCK)
        night = ((hours[begins] < 5) | (hours[begins] >= 21)) & (times[begins] > season.counted_from * DAY_S)
        for begin in begins[night & (rng.random(len(begins)) < INJECTED_SHARE)]:
            inject(rng, kinds[begin : begin + BLOCK], season.injected)
            injected[begin : begin + BLOCK] = True
    return kinds, times.astype(np.int64), injected


def inject(rng: np.random.Generator, block: Ints, what: str) -> None:
    if what == "day":
        block[:] = rng.choice(DAY_KINDS, BLOCK, p=shares(DAY_KINDS))
    elif what == "few":
        block[rng.choice(BLOCK, 4, replace=False)] = rng.choice(DAY_KINDS, 4, p=shares(DAY_KINDS, 0.5))
    else:
        block[rng.integers(BLOCK)] = rng.choice(NEVER_SEEN)


@cache
def vocabulary() -> tuple[list[bytes], npt.NDArray[np.uint64]]:
    lines = [b"INFO part-%d: thing %d happened to <num>" % (kind % 7, kind) for kind in range(KINDS)]
    return lines, np.arange(1, KINDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def judged(seed: int, season: Season, *, timed: bool) -> Seen:
    """The verdicts of one run; without `timed` the events tell no time, and all hours are one."""
    kinds, times, injected = made(seed, season)
    lines, hashes = vocabulary()
    lengths = np.array([len(line) for line in lines])[kinds]
    ends = np.cumsum(lengths)
    buffer = np.frombuffer(b"".join([lines[kind] for kind in kinds.tolist()]), np.uint8)
    told = times * SECOND_NS if timed else np.zeros(len(times), np.int64)
    stream, places = LogStream(SETTINGS, tells=False), np.arange(len(kinds))
    found = []
    for begin in range(0, len(kinds), CHUNK):
        part = slice(begin, begin + CHUNK)
        clock = int(times[part][0]) * SECOND_NS
        columns = (hashes[kinds[part]], buffer, (ends - lengths)[part], ends[part], told[part], places[part])
        found += stream.add(*columns, now_ns=clock)
    last = np.array([verdict.last for verdict in found])
    late = times[last] > season.counted_from * DAY_S
    return Seen(
        (times[last] % DAY_S // 3600)[late],
        np.array([verdict.p_value for verdict in found])[late],
        np.array([verdict.alarm for verdict in found])[late],
        injected[last][late],
    )


def rates_by_hour(console: Console) -> dict[str, object]:
    """Rates of p ≤ α over all hours and in the worst one, and alarms a week, with and without times."""
    heads = [f"p ≤ {alpha}, {where}" for where in ("all", "worst hour") for alpha in ALPHAS]
    table = Table("log without anomalies", "ranked among", "units", *heads, "alarms a week")
    results: dict[str, object] = {}
    for season in SEASONS:
        for timed in (False, True):
            runs = [judged(seed, season, timed=timed) for seed in range(RUNS)]
            p_values, hours = (
                np.concatenate([getattr(run, k) for run in runs]) for k in ("p_values", "hours")
            )
            every = [float((p_values <= alpha).mean()) for alpha in ALPHAS]
            worst = [max(float((p_values[hours == h] <= a).mean()) for h in range(24)) for a in ALPHAS]
            weeks = RUNS * (season.days - season.counted_from) / 7
            alarms = sum(int(run.alarms.sum()) for run in runs) / weeks
            name = "its hour" if timed else "all hours"
            cells = [f"{rate:.4f}" for rate in (*every, *worst)]
            table.add_row(season.name, name, f"{len(p_values):,}", *cells, f"{alarms:.1f}")
            results[f"{season.name}, {name}"] = [*every, *worst, alarms]
    console.print(table)
    return results


def found_at_night(console: Console) -> dict[str, object]:
    """Shares of injected blocks whose window reaches p ≤ α, and that alarmed, with and without times."""
    table = Table(
        "injected at night", "ranked among", "blocks", *(f"p ≤ {alpha}" for alpha in ALPHAS), "alarmed"
    )
    results: dict[str, object] = {}
    for season in FOUND:
        for timed in (False, True):
            runs = [judged(seed, season, timed=timed) for seed in range(RUNS)]
            p_values = np.concatenate([run.p_values[run.injected] for run in runs])
            alarmed = float(np.concatenate([run.alarms[run.injected] for run in runs]).mean())
            rates = [float((p_values <= alpha).mean()) for alpha in ALPHAS]
            name = "its hour" if timed else "all hours"
            cells = [f"{rate:.2f}" for rate in (*rates, alarmed)]
            table.add_row(season.name, name, str(len(p_values)), *cells)
            results[f"{season.name}, {name}"] = [*rates, alarmed]
    console.print(table)
    return results


def main() -> None:
    console = Console(width=150)
    rates_by_hour(console)
    found_at_night(console)


if __name__ == "__main__":
    sys.exit(main())
