"""What p-values promise, measured: false alarms on stationary logs, and power.

    python -m benchmarks.detection_promises

False alarms: realised rates of p ≤ α on logs without anomalies. Made logs go through the whole path from text
(masking, templates, blocks); real ones are cut into units that are shuffled, so that they are stationary by
construction. The rate's error bar is the standard error of the mean over runs (seeds), for units of one run
are not independent: windows overlap, and all share one calibration set. Alarms are counted with the default
budget, per week of the log's own clock.

Power: windows of 25 units in which some are anomalous. Two meanings of a unit, both by the product's own sum
of bits over a window and its conformal p-value: a session (an HDFS block), and a line.

Then, on logs with a daily season, the same hour by hour and by night: see `promise_seasons`; and on logs cut
by time: see `promise_blocks`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.promise_blocks import found_by_time, rates_by_time
from benchmarks.promise_logs import MadeLog, Sessions, hdfs_sessions, loghub_blocks, made_log
from benchmarks.promise_seasons import found_at_night, rates_by_hour
from driftlock.cli.units import add_lines
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.log_units import Assembled
from driftlock.core.verdict import Verdict
from driftlock.signals.textlog import text_batch

ALPHAS = (0.05, 0.01, 0.001)
SLACK = 1.2
WINDOW_UNITS = 25
ANOMALOUS = (0, 3, 8, 25)
TRIALS = 200
BASELINE_FRACTION = 0.1
RUNS = 8
RUNS_BUSY = 3
SERVICE_THRESHOLD = 0.01  # the default of `driftlock up`; rates of p do not depend on it, alarms do
SEED = 7


class WindowOfSessions(LogSettings):
    """Sessions judged in windows of 25, by the sum that blocks are judged by."""

    @property
    def blocks_per_window(self) -> int:
        return WINDOW_UNITS


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of p ≤ α of several runs, and alarms a week of the log's clock (None: it has no clock)."""

    name: str
    runs: list[npt.NDArray[np.float64]]
    floor: float
    alarms_per_week: float | None

    @property
    def units(self) -> int:
        return sum(len(run) for run in self.runs)

    def of(self, alpha: float) -> tuple[float, float]:
        """The realised rate and its standard error over runs."""
        shares = np.array([(run <= alpha).mean() for run in self.runs])
        return float(shares.mean()), float(shares.std(ddof=1) / np.sqrt(len(shares)))


def p_of(verdicts: list[Verdict]) -> npt.NDArray[np.float64]:
    return np.array([verdict.p_value for verdict in verdicts])


def on_made_logs(
    name: str, make: Callable[[int], MadeLog], settings: LogSettings, *, count: int = RUNS
) -> Rates:
    """A made log a seed, from text to verdicts."""
    runs, alarms, weeks, floor = [], 0, 0.0, 1.0
    for seed in range(count):
        log = make(seed)
        stream = LogStream(settings)
        verdicts = add_lines_in_chunks(stream, log.text)
        runs.append(p_of(verdicts))
        alarms += sum(verdict.alarm for verdict in verdicts)
        weeks += log.weeks
        floor = min(floor, stream.warm_up.earliest_p)
    return Rates(name, runs, floor, alarms / weeks)


def add_lines_in_chunks(stream: LogStream, text: bytes) -> list[Verdict]:
    verdicts: list[Verdict] = []
    lines = 0
    for chunk in chunks(text):
        batch = text_batch(chunk)
        verdicts += add_lines(stream, batch, first_line=lines + 1)
        lines += len(batch)
    return verdicts


def chunks(text: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = text.find(b"\n", min(start + size, len(text) - 1)) + 1 or len(text)
        yield text[start:end]
        start = end


def on_sessions(sessions: Sessions) -> Rates:
    """Normal HDFS blocks in an order of chance; the first tenth is the baseline."""
    normal = np.flatnonzero(~sessions.anomalous)
    baseline = int(len(normal) * BASELINE_FRACTION)
    runs, floor = [], 1.0
    for seed in range(RUNS):
        order = np.random.default_rng(SEED + seed).permutation(normal)
        stream = LogStream(LogSettings(mode="session", baseline_units=baseline, alert_budget=float("inf")))
        runs.append(p_of(feed(stream, sessions, order)))
        floor = min(floor, stream.warm_up.earliest_p)
    return Rates("HDFS, normal blocks shuffled", runs, floor, None)


def feed(stream: LogStream, sessions: Sessions, order: npt.NDArray[np.int64]) -> list[Verdict]:
    rows = [sessions.rows[unit] for unit in order.tolist()]
    bounds = np.concatenate([[0], np.cumsum([len(own) for own in rows])])
    every, none = np.concatenate(rows), np.zeros(len(rows), np.int64)
    first, last = (np.array([own[end] for own in rows]) for end in (0, -1))
    units = Assembled([str(unit) for unit in order.tolist()], bounds, first, last, none, none)
    columns = sessions.templates[every], sessions.buffer, sessions.starts[every], sessions.ends[every]
    return stream.add_units(units, *columns)


def on_shuffled_blocks(window: int) -> Rates:
    """Each loghub log cut into blocks of 25 lines, which are shuffled; a run is all logs once."""
    logs = loghub_blocks(25)
    runs, floor = [], 1.0
    for seed in range(RUNS):
        found: list[Verdict] = []
        for blocks in logs.values():
            order = np.random.default_rng(SEED + seed).permutation(len(blocks))
            stream = LogStream(LogSettings(window_size=window, hop_size=25, alert_budget=float("inf")))
            found += add_lines_in_chunks(stream, b"".join(blocks[i] for i in order))
            floor = min(floor, stream.warm_up.earliest_p)
        runs.append(p_of(found))
    return Rates(f"{len(logs)} loghub logs in shuffled blocks, window {window}", runs, floor, None)


# ---- power


def power_of_sessions(sessions: Sessions) -> dict[int, float]:
    """Share of windows of 25 HDFS blocks with p ≤ .05, by the number of anomalous ones among them."""
    rng = np.random.default_rng(SEED)
    normal, strange = (np.flatnonzero(sessions.anomalous == flag) for flag in (False, True))
    order = rng.permutation(normal)
    half = len(order) // 2
    settings = WindowOfSessions(mode="session", baseline_units=len(sessions.rows) // 10)
    stream = LogStream(settings)
    feed(stream, sessions, order[:half])
    taken = stream.snapshot()
    found: dict[int, float] = {}
    for anomalous in ANOMALOUS:
        hits = 0
        for _ in range(TRIALS):
            window = rng.choice(order[half:], WINDOW_UNITS, replace=False)
            places = rng.choice(WINDOW_UNITS, anomalous, replace=False)
            window[places] = rng.choice(strange, anomalous, replace=False)
            judge = LogStream.restore(settings, taken)
            hits += feed(judge, sessions, window)[-1].p_value <= 0.05
        found[anomalous] = hits / TRIALS
    return found


def power_of_lines(sessions: Sessions) -> dict[int, float]:
    """The same for windows of 25 lines (`--window 25 --hop 25`) of the log as it stands.

    Anomalous lines come from anomalous blocks, at random: many of them are ordinary lines.
    """
    rng = np.random.default_rng(SEED)
    settings = LogSettings(window_size=WINDOW_UNITS, hop_size=WINDOW_UNITS)
    of_strange = np.zeros(len(sessions.templates), np.bool_)
    for unit in np.flatnonzero(sessions.anomalous):
        of_strange[sessions.rows[unit]] = True
    keyed = np.sort(np.concatenate(sessions.rows))
    normal, strange = keyed[~of_strange[keyed]], keyed[of_strange[keyed]]
    half = len(normal) // 2 // WINDOW_UNITS * WINDOW_UNITS
    stream = LogStream(settings)
    add_rows(stream, sessions, normal[:half])
    taken = stream.snapshot()
    found: dict[int, float] = {}
    for anomalous in ANOMALOUS:
        hits = 0
        for _ in range(TRIALS):
            start = int(rng.integers(half, len(normal) - WINDOW_UNITS))
            window = normal[start : start + WINDOW_UNITS].copy()
            window[rng.choice(WINDOW_UNITS, anomalous, replace=False)] = rng.choice(strange, anomalous)
            judge = LogStream.restore(settings, taken)
            hits += add_rows(judge, sessions, window)[-1].p_value <= 0.05
        found[anomalous] = hits / TRIALS
    return found


def add_rows(stream: LogStream, sessions: Sessions, rows: npt.NDArray[np.int64]) -> list[Verdict]:
    zeros = np.zeros(len(rows), np.int64)
    positions = np.arange(1, len(rows) + 1)
    return stream.add(
        sessions.templates[rows],
        sessions.buffer,
        sessions.starts[rows],
        sessions.ends[rows],
        zeros,
        positions,
        now_ns=0,
    )


# ---- report


def holds(rate: float, error: float, alpha: float) -> str:
    """Whether the rate is within the promise; `?` where its error bar leaves that open."""
    bound = SLACK * alpha
    return "yes" if rate <= bound else "?" if rate - 2 * error <= bound else "NO"


def main() -> None:
    console = Console(width=150)
    plain = LogSettings(p_value_threshold=SERVICE_THRESHOLD)
    found = [
        on_made_logs("made, ids and time stamps", lambda seed: made_log(seed, season=0.0), plain),
        on_made_logs("made, with a daily season", lambda seed: made_log(seed, season=0.6), plain),
        on_made_logs(
            "the same, window 25", lambda seed: made_log(seed, season=0.6), replace(plain, window_size=25)
        ),
        on_made_logs(
            "the same, ten lines in ten seconds",
            lambda seed: made_log(seed, season=0.6, step_s=1),
            plain,
            count=RUNS_BUSY,
        ),
    ]
    sessions = hdfs_sessions()
    if sessions is not None:
        found.append(on_sessions(sessions))
    if loghub_blocks(25):
        found += [on_shuffled_blocks(25), on_shuffled_blocks(50)]
    table = Table("log without anomalies", "units", *(f"p ≤ {a}" for a in ALPHAS), "least p", "alarms a week")
    for one in found:
        cells = []
        for alpha in ALPHAS:
            rate, error = one.of(alpha)
            cells.append(f"{rate:.5f} ± {error:.5f} {holds(rate, error, alpha)}")
        week = "" if one.alarms_per_week is None else f"{one.alarms_per_week:.1f}"
        table.add_row(one.name, f"{one.units:,}", *cells, f"{one.floor:.5f}", week)
    console.print(table)
    results: dict[str, object] = {
        one.name: {str(a): one.of(a) for a in ALPHAS} | {"alarms": one.alarms_per_week} for one in found
    }
    if sessions is not None:
        power = Table("25-unit windows at .05", *(f"{k} anomalous" for k in ANOMALOUS))
        for name, measure in (("sessions", power_of_sessions), ("lines", power_of_lines)):
            shares = measure(sessions)
            results[f"power, {name}"] = shares
            power.add_row(name, *(f"{shares[k]:.3f}" for k in ANOMALOUS))
        console.print(power)
    results["by hour"] = rates_by_hour(console)
    results["found at night"] = found_at_night(console)
    results["cut by time"] = rates_by_time(console)
    results["found by time"] = found_by_time(console)
    folder = Path("bench-results")
    folder.mkdir(exist_ok=True)
    (folder / "detection_promises.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
