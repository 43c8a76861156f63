"""`make bench`: speed, cost, memory and delay of a whole Driftlock on this machine.

    make bench
    make bench ARGS="--only score --only path"
    make bench ARGS="--only logs-100 --runs 5"

Prints tables and writes `bench-results/speed.json`. Takes about ten minutes. What the numbers mean, and those
of the last measurement, stand in `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks import speed_delay, speed_path, speed_score, speed_throughput
from benchmarks.load import Kind, shape_of
from benchmarks.speed_report import tables
from benchmarks.speed_tree import Tree

RESULTS = Path("bench-results") / "speed.json"
# Signal, streams, and records a stream before the clock starts. Logs are past their baseline after 1,025
# events and may alarm after some 2,500; ten thousand streams are only brought past the baseline, where a
# block already costs what it costs for ever.
SCENARIOS: dict[str, tuple[Kind, int, int]] = {
    "logs-1": ("logs", 1, 3_000),
    "logs-100": ("logs", 100, 3_000),
    "traces-100": ("traces", 100, 3_000),
    "metrics-100": ("metrics", 100, 3_000),
    "logs-10000": ("logs", 10_000, 1_100),
}
PARTS = (*SCENARIOS, "delay", "score", "path")


def main() -> None:
    """Measure what is asked for, print it, store it."""
    arguments = _arguments()
    results: dict[str, Any] = {"throughput": {}}
    if arguments.only and RESULTS.exists():
        results = json.loads(RESULTS.read_text())  # what is not measured now keeps its last result
    results["machine"] = _machine()
    for part in arguments.only or PARTS:
        started_s = time.monotonic()
        print(f"{part} …", flush=True)
        results |= _measure(part, arguments.runs, results)
        print(f"{part}: {time.monotonic() - started_s:.0f} s", flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print()
    print(tables(results))
    print(f"\nStored in {RESULTS}.")


def _measure(part: str, runs: int, results: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="driftlock-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        if part == "score":
            return {"score": [found.told() for found in speed_score.measure(folder)]}
        if part == "path":
            return {"path": [found.told() for found in speed_path.measure(folder)]}
        if part == "delay":
            return {"delay": _in_tree(folder, lambda tree: [d.told() for d in speed_delay.measure(tree)])}
        kind, streams, warm_up = SCENARIOS[part]
        found = _in_tree(
            folder,
            lambda tree: speed_throughput.measure(
                tree, kind, shape_of(streams), warm_up_a_stream=warm_up, runs=runs
            ).told(),
        )
        return {"throughput": results["throughput"] | {part: found}}


def _in_tree(folder: Path, measured: Callable[[Tree], Any]) -> Any:
    """A fresh tree for each part: none works in the memory or log of another."""
    with Tree(folder) as tree:
        tree.compile()
        return measured(tree)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Driftlock's speed on this machine.")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part to measure, repeatable")
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each kind of load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
