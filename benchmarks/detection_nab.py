"""Detection quality on labelled numeric series, and the speed and size of the numeric coder.

    python -m benchmarks.detection_nab

Reads the series of the Numenta Anomaly Benchmark in ../shared/data/nab and judges every detector with
../shared/bench/nab_score.py: NAB's scoring, one threshold and one configuration for all files. Beside the
three profiles stands what shows over-fitting: the score when each category's threshold is chosen on the other
categories, the score on the same files thinned out, with noise, in other units, and bent, and the score on
made series (`series_made`), judged alike. Never tuned per file; the ranges of the files are not told
beforehand.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table
from river.anomaly import HalfSpaceTrees

from benchmarks.series_made import EACH, FAMILIES, made
from driftlock.core.series import SeriesBank, SeriesSettings, score_series
from driftlock.core.series_time import times_in_ns

SHARED = Path(__file__).parents[2] / "shared"
DATA = SHARED / "data" / "nab"
JUDGE = SHARED / "bench" / "nab_score.py"
PROFILES = ("standard", "low_fp", "low_fn")
WINDOW = 256  # points of the windowed baselines
SERIES = 10_000
SEED = 7

Floats = npt.NDArray[np.float64]
Detector = Callable[[list[str], Floats], Floats]


def constant(_: list[str], values: Floats) -> Floats:
    """The same score everywhere: alarms always."""
    return np.full(len(values), 0.5)


def windowed_gaussian(_: list[str], values: Floats) -> Floats:
    """Distance from the mean of the last 256 points in their deviations, squeezed into [0, 1)."""
    past = pd.Series(values).shift(1).rolling(WINDOW, min_periods=10)
    z = np.abs(values - past.mean()) / (past.std() + 1e-9)
    return np.nan_to_num((z / (1 + z)).to_numpy())


def last_difference(_: list[str], values: Floats) -> Floats:
    """Step from the last value in deviations of such steps so far, squeezed into [0, 1)."""
    steps = pd.Series(values).diff()
    z = np.abs(steps) / (steps.shift(1).expanding(min_periods=10).std() + 1e-9)
    return np.nan_to_num((z / (1 + z)).to_numpy())


def half_space_trees(_: list[str], values: Floats) -> Floats:
    """River's half-space trees on the value, its rank among the last 256 and its step, each within [0, 1].

    The value by its place in the range so far. Scored before learned; defaults but for the seed.
    """
    past = pd.Series(values)
    least, most = past.cummin(), past.cummax()
    place = ((past - least) / (most - least).replace(0, 1)).to_numpy()
    rank = past.rolling(WINDOW, min_periods=1).rank(pct=True).to_numpy()
    step = np.abs(np.diff(place, prepend=place[0]))
    trees = HalfSpaceTrees(seed=SEED)
    scores = np.zeros(len(values))
    for row, point in enumerate(zip(place.tolist(), rank.tolist(), step.tolist(), strict=True)):
        named = dict(zip(("place", "rank", "step"), point, strict=True))
        scores[row] = trees.score_one(named)
        trees.learn_one(named)
    return np.clip(np.nan_to_num(scores), 0.0, 1.0)


def driftlock(timestamps: list[str], values: Floats) -> Floats:
    """What `driftlock score` writes."""
    return score_series(timestamps, values)


def alarms(timestamps: list[str], values: Floats) -> Floats:
    """1 where a detector with default settings would report an anomaly: no threshold is chosen by NAB."""
    n = len(values)
    bank = SeriesBank(SeriesSettings())
    verdicts = bank.observe(np.zeros(n, np.uint64), times_in_ns(timestamps), values, np.zeros(n, np.bool_))
    return verdicts.alarm.astype(np.float64)


DETECTORS: dict[str, Detector] = {
    "constant": constant,
    "windowed Gaussian": windowed_gaussian,
    "last difference": last_difference,
    "half-space trees (River)": half_space_trees,
    "Driftlock": driftlock,
    "Driftlock's default alarms": alarms,
}


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Every second row."""
    return frame.iloc[::2]


def noisy(frame: pd.DataFrame) -> pd.DataFrame:
    """Noise of 2 % of the deviation."""
    rng = np.random.default_rng(SEED)
    noise = 0.02 * frame["value"].std() * rng.normal(size=len(frame))
    return frame.assign(value=frame["value"] + noise)


def converted(frame: pd.DataFrame) -> pd.DataFrame:
    """Another unit of measurement."""
    return frame.assign(value=0.001 * frame["value"] + 10_000)


def mirrored(frame: pd.DataFrame) -> pd.DataFrame:
    """Upside down."""
    return frame.assign(value=-frame["value"])


def bent(frame: pd.DataFrame) -> pd.DataFrame:
    """The right tail stretched, which makes every series bursty."""
    z = (frame["value"] - frame["value"].mean()) / (frame["value"].std() or 1.0)
    return frame.assign(value=np.exp(np.clip(0.7 * z, -5, 5)))


VARIANTS = {"thinned": thinned, "noisy": noisy, "converted": converted, "mirrored": mirrored, "bent": bent}


def judge() -> ModuleType:
    """The scoring script as a module."""
    spec = importlib.util.spec_from_file_location("nab_score", JUDGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames() -> dict[str, pd.DataFrame]:
    """The series by their path below data/."""
    labels = json.loads((DATA / "labels" / "combined_windows.json").read_text())
    return {name: pd.read_csv(DATA / "data" / name) for name in sorted(labels)}


def made_frames(first: int, last: int) -> tuple[dict[str, pd.DataFrame], dict[str, list[list[str]]]]:
    """The made series `first` to below `last` of each family, and their windows as the judge reads them."""
    series, windows = {}, {}
    for family in FAMILIES:
        for number in range(first, last):
            one = made(family, number)
            stamps = pd.date_range("2024-01-01", periods=len(one.values), freq="5min")
            name = f"{one.name}.csv"
            series[name] = pd.DataFrame({"timestamp": stamps, "value": one.values})
            windows[name] = [[str(stamps[low]), str(stamps[high])] for low, high in one.windows]
    return series, windows


def run(
    module: ModuleType,
    series: dict[str, pd.DataFrame],
    detector: Detector,
    profile: str,
    windows: dict[str, list[list[str]]] | None = None,
) -> list[Any]:
    """The scored files as the judge loads them; `windows` are NAB's own unless given."""
    with tempfile.TemporaryDirectory() as folder:
        data, scores = Path(folder) / "nab", Path(folder) / "scores"
        (data / "labels").mkdir(parents=True)
        labels = data / "labels" / "combined_windows.json"
        shutil.copy(DATA / "labels" / labels.name, labels)
        if windows is not None:
            labels.write_text(json.dumps(windows))
        for name, frame in series.items():
            for root in (data / "data", scores):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
            frame.to_csv(data / "data" / name, index=False)
            found = detector([str(t) for t in frame["timestamp"]], frame["value"].to_numpy(float))
            frame.assign(anomaly_score=found).to_csv(scores / name, index=False)
        return list(module.load(data, scores, module.PROFILES[profile]))


def score(module: ModuleType, files: list[Any], profile: str) -> dict[str, float]:
    """NAB's score at the best threshold, with windows hit and false alarms."""
    weights = module.PROFILES[profile]
    (total, threshold, hit, false), windows, rows = module.sweep(files, weights)
    base = -weights[2] * windows
    return {
        "score": 100 * (total - base) / (weights[0] * windows - base),
        "threshold": threshold,
        "hit": hit,
        "windows": windows,
        "false_per_1000": 1000 * false / rows,
    }


def at_threshold(files: list[Any], threshold: float, weights: tuple[float, float, float]) -> float:
    """NAB's total of some files at a given threshold, relative to detecting nothing."""
    total = 0.0
    for scores, worth, window_of, windows, probation in files:
        alarms = np.flatnonzero((scores >= threshold) & (np.arange(len(scores)) >= probation))
        total += worth[alarms][window_of[alarms] < 0].sum()
        for window in range(windows):
            hits = worth[alarms][window_of[alarms] == window]
            total += weights[2] + hits.max() if len(hits) else 0.0
    return total


def across_categories(module: ModuleType, files: list[Any], names: list[str]) -> float:
    """The standard score when each category is judged at the threshold best for all the others."""
    weights = module.PROFILES["standard"]
    categories = [name.split("/")[0] for name in names]
    total = 0.0
    for category in sorted(set(categories)):
        others = [f for f, c in zip(files, categories, strict=True) if c != category]
        own = [f for f, c in zip(files, categories, strict=True) if c == category]
        (_, threshold, _, _), _, _ = module.sweep(others, weights)
        total += at_threshold(own, threshold, weights)
    return 100 * total / (2 * sum(f[3] for f in files))


def quality(console: Console) -> None:
    """Prints the table of detectors and the table of variants."""
    module = judge()
    series = frames()
    table = Table(title=f"NAB, {len(series)} series, one threshold for all")
    for column in ("detector", *PROFILES, "other categories' threshold", "windows hit", "false a 1,000 rows"):
        table.add_column(column, justify="left" if column == "detector" else "right")
    for name, detector in DETECTORS.items():
        results = {p: score(module, run(module, series, detector, p), p) for p in PROFILES}
        standard = results["standard"]
        apart = across_categories(module, run(module, series, detector, "standard"), list(series))
        table.add_row(
            name,
            *(f"{results[p]['score']:.1f}" for p in PROFILES),
            f"{apart:.1f}",
            f"{standard['hit']} of {standard['windows']}",
            f"{standard['false_per_1000']:.2f}",
        )
    console.print(table)
    variants = Table("Driftlock on", "standard", "other categories' threshold", "threshold")
    for name, change in VARIANTS.items():
        changed = {path: change(frame) for path, frame in series.items()}
        files = run(module, changed, driftlock, "standard")
        result = score(module, files, "standard")
        apart = across_categories(module, files, list(series))
        variants.add_row(name, f"{result['score']:.1f}", f"{apart:.1f}", f"{result['threshold']:.3f}")
    console.print(variants)


def quality_made(console: Console) -> None:
    """Prints the table of detectors on made series, in two halves: differences between halves are noise."""
    module = judge()
    halves = [made_frames(half * EACH, (half + 1) * EACH) for half in range(2)]
    table = Table(
        "detector on made series", "standard", "the other half", "windows hit", "false a 1,000 rows"
    )
    for name, detector in DETECTORS.items():
        first, second = (
            score(module, run(module, series, detector, "standard", windows), "standard")
            for series, windows in halves
        )
        hits = f"{first['hit'] + second['hit']} of {first['windows'] + second['windows']}"
        false = (first["false_per_1000"] + second["false_per_1000"]) / 2
        table.add_row(name, f"{first['score']:.1f}", f"{second['score']:.1f}", hits, f"{false:.2f}")
    console.print(table)


def speed(console: Console) -> None:
    """Prints points a second over 10,000 series in one process, and the bytes each series holds."""
    rng = np.random.default_rng(SEED)
    ids = rng.integers(0, 2**63, SERIES).astype(np.uint64)
    bank = SeriesBank(SeriesSettings())
    none = np.zeros(SERIES, np.bool_)
    elapsed, spent = [], []
    for minute in range(300):
        values = rng.normal(size=SERIES)
        times = np.full(SERIES, minute * 60 * 10**9)
        wall, cpu = time.perf_counter(), time.process_time()
        bank.observe(ids, times, values, none)
        elapsed.append(time.perf_counter() - wall)
        spent.append(time.process_time() - cpu)
    console.print(
        f"{SERIES:,} series in one process, one point each a call: "
        f"{SERIES / np.median(elapsed[150:]):,.0f} points a second, "
        f"{SERIES / np.median(spent[150:]):,.0f} a CPU second (medians of calls); "
        f"{bank.state_bytes / len(bank):,.0f} bytes a series"
    )


def main() -> None:
    """Runs what the machine has data for."""
    console = Console(width=120)
    if JUDGE.exists() and DATA.exists():
        quality(console)
        quality_made(console)
    else:
        console.print(f"quality not measured: {DATA} or {JUDGE} is absent")
    speed(console)


if __name__ == "__main__":
    sys.exit(main())
