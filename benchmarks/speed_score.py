"""`driftlock score` beside `zstd -3` on the same file, each a process of its own, in turns.

The whole command is timed: start-up, reading, scoring, writing to nowhere. The file is HDFS from the shared
data when that is there, else a log of the benchmark's own generator.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import lines

HDFS = Path(__file__).resolve().parents[2] / "shared" / "data" / "hdfs" / "hdfs-dev.log.gz"
GENERATED_LINES = 500_000
ROUNDS = 5
_ZSTD_IN_PYTHON = (
    "import sys, zstandard; f = open(sys.argv[1], 'rb'); o = open('/dev/null', 'wb');"
    "zstandard.ZstdCompressor(level=3).copy_stream(f, o)"
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over the rounds; seconds of wall clock and of CPU."""

    command: str
    wall_s: float
    cpu_s: float
    least_s: float
    most_s: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What was timed on which file."""

    source: str
    lines: int
    bytes: int
    timings: list[Timing]

    def told(self) -> dict[str, Any]:
        """For the results file."""
        zstd = self.timings[-1].wall_s
        return {
            "source": self.source,
            "lines": self.lines,
            "bytes": self.bytes,
            "commands": {
                t.command: {
                    "lines_a_second": self.lines / t.wall_s,
                    "wall_s": t.wall_s,
                    "cpu_s": t.cpu_s,
                    "least_s": t.least_s,
                    "most_s": t.most_s,
                    "times_zstd": t.wall_s / zstd,
                }
                for t in self.timings
            },
        }


def measure(folder: Path) -> Scored:
    """Times the commands in turns on one file in `folder`."""
    path, source, session = _file(folder)
    score = [sys.executable, "-m", "driftlock", "score", str(path), "--format", "json"]
    commands = {"score": score}
    if session:
        commands[f"score --session '{session}'"] = [*score, "--session", session]
    zstd = shutil.which("zstd")
    packed = (
        [zstd, "-3", "-q", "-c", str(path)] if zstd else [sys.executable, "-c", _ZSTD_IN_PYTHON, str(path)]
    )
    commands["zstd -3" if zstd else "zstd -3 (zstandard for Python)"] = packed
    for command in commands.values():
        _timed(command)  # compiled code is cached, the file too
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            found[name].append(_timed(command))
    timings = [_timing(name, runs) for name, runs in found.items()]
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    return Scored(source, count, path.stat().st_size, timings)


def _timing(name: str, runs: list[tuple[float, float]]) -> Timing:
    walls = [wall for wall, _ in runs]
    return Timing(name, median(walls), median(cpu for _, cpu in runs), min(walls), max(walls))


def _file(folder: Path) -> tuple[Path, str, str]:
    """The file, what it is, and the pattern of its sessions (empty: none)."""
    path = folder / "speed.log"
    if HDFS.exists():
        with gzip.open(HDFS) as packed, path.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        return path, "HDFS (hdfs-dev.log)", r"blk_-?\d+"
    with path.open("w") as plain:
        plain.writelines(f"{line}\n" for line in lines(count=GENERATED_LINES, seed=1))
    return path, "generated", ""


def _timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    started_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return wall_s, usage.ru_utime + usage.ru_stime
