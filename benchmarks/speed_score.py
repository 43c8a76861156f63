"""`driftlock score` beside `zstd -3` on the same file, each a process of its own, in turns.

The whole command is timed: start-up, reading, scoring, writing to nowhere.
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
ZSTD = (
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


def measure(folder: Path) -> list[Scored]:
    """Times the commands in turns: on the short HDFS log, where it is, and on a longer generated one."""
    found = []
    if HDFS.exists():
        path = folder / "hdfs.log"
        with gzip.open(HDFS) as packed, path.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        found.append(_measure(path, "HDFS (hdfs-dev.log)", r"blk_-?\d+"))
    path = folder / "generated.log"
    with path.open("w") as plain_text:
        plain_text.writelines(f"{line}\n" for line in lines(count=GENERATED_LINES, seed=1))
    return [*found, _measure(path, "generated", "")]


def _measure(path: Path, source: str, session: str) -> Scored:
    score = [sys.executable, "-m", "driftlock", "score", str(path), "--format", "json"]
    commands = {"score": score}
    if session:
        commands[f"score --session '{session}'"] = [*score, "--session", session]
    zstd, packed = zstd_command(path)
    commands[zstd] = packed
    for command in commands.values():
        timed(command)  # compiled code is cached, the file too
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            found[name].append(timed(command))
    timings = [timing(name, runs) for name, runs in found.items()]
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    return Scored(source, count, path.stat().st_size, timings)


def zstd_command(path: Path) -> tuple[str, list[str]]:
    """What `zstd -3` is here, by name and as a command: the program, or else its library."""
    zstd = shutil.which("zstd")
    if zstd:
        return "zstd -3", [zstd, "-3", "-q", "-c", str(path)]
    return "zstd -3 (zstandard for Python)", [sys.executable, "-c", ZSTD, str(path)]


def timing(name: str, runs: list[tuple[float, float]]) -> Timing:
    """Of several runs, wall and CPU seconds each."""
    walls = [wall for wall, _ in runs]
    return Timing(name, median(walls), median(cpu for _, cpu in runs), min(walls), max(walls))


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    started_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return wall_s, usage.ru_utime + usage.ru_stime
