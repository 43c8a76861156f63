"""The whole log path in a warm process: file text → canonical lines → units → scores → p-values, written.

    python -m benchmarks.speed_path FILE [SESSION]

is that process: it scores the file as `driftlock score` does, once without counting and then once for each
line on standard input, and answers with seconds of wall clock and of its own processor time. `measure` runs
one with and one without sessions, and `zstd -3` on the same file, all in turns.

The log is HDFS ten times over, each round with block ids of its own: ten times as many sessions, not sessions
ten times as long.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.speed_score import HDFS, Scored, timed, timing, zstd_command

ROUNDS = 10
RUNS = 5
SESSION = r"blk_-?\d+"


def measure(folder: Path) -> list[Scored]:
    """Times the path with and without sessions beside zstd; nothing where the log is absent."""
    if not HDFS.exists():
        print(f"path: no log at {HDFS}, so there is nothing to measure")
        return []
    path = folder / "hdfs-ten-fold.log"
    lines = write_rounds(path, gzip.decompress(HDFS.read_bytes()), ROUNDS)
    warm = {"warm, blocks": _Warm(path, ""), f"warm, --session '{SESSION}'": _Warm(path, SESSION)}
    zstd, packed = zstd_command(path)
    timed(packed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*warm, zstd)}
    try:
        for _ in range(RUNS):
            for name, process in warm.items():
                found[name].append(process.run())
            found[zstd].append(timed(packed))
    finally:
        for process in warm.values():
            process.close()
    timings = [timing(name, runs) for name, runs in found.items()]
    return [Scored("HDFS ten-fold, warm processes", lines, path.stat().st_size, timings)]


def write_rounds(path: Path, text: bytes, rounds: int) -> int:
    """Writes a log `rounds` times, the blocks of each round under other ids; returns the lines written."""
    if not text.endswith(b"\n"):
        text += b"\n"
    with path.open("wb") as file:
        for number in range(rounds):
            # With a digit before it an id is another one: of 5,760 blocks ten rounds make 57,600.
            renamed = re.sub(rb"blk_(-?)", rb"blk_\g<1>%d" % number, text) if number else text
            file.write(renamed)
    return text.count(b"\n") * rounds


class _Warm:
    """A process that has everything loaded and scores when told to."""

    def __init__(self, path: Path, session: str) -> None:
        command = [sys.executable, "-m", "benchmarks.speed_path", str(path), session]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def run(self) -> tuple[float, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> tuple[float, float]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        if len(said) != 2:
            raise RuntimeError(f"the warm process ended with {self._process.wait()}")
        return float(said[0]), float(said[1])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _serve(path: str, session: str) -> None:
    from driftlock.cli.score import score

    def run() -> None:
        started, spent = time.perf_counter(), time.process_time()
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            score(path, session=session or None)
        print(time.perf_counter() - started, time.process_time() - spent, flush=True)

    run()
    for _ in sys.stdin:
        run()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
