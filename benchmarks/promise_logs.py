"""The logs that `detection_promises` measures on: made ones, and real ones beside the project."""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftlock.signals.textlog import text_batch

SHARED = Path(__file__).parents[2] / "shared"
HDFS = SHARED / "data" / "hdfs" / "hdfs-dev.log.gz"
LABELS = SHARED / "data" / "hdfs" / "hdfs-dev-labels.csv"
LOGHUB = SHARED / "data" / "loghub"
SESSION = re.compile(rb"blk_-?\d+")
SECONDS_A_WEEK = 7 * 86_400
VERBS = ("accepted", "served", "stored", "queued", "refreshed", "closed", "retried", "dropped")
THINGS = ("order", "session", "invoice", "upload", "report")


@dataclass(frozen=True, slots=True)
class MadeLog:
    """A log as text, and how long it is by its own clock."""

    text: bytes
    weeks: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """A keyed log: the rows of each unit, whether it is anomalous, and each row's template and line."""

    rows: list[npt.NDArray[np.int64]]
    anomalous: npt.NDArray[np.bool_]
    templates: npt.NDArray[np.uint64]
    buffer: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def made_log(seed: int, *, season: float, step_s: int = 10, weeks: float = 1.0) -> MadeLog:
    """Lines of 40 templates with shares of 1/rank, with sequential ids, addresses and time stamps.

    A line comes every `step_s` seconds. Half of them follow from the one before, the others are drawn;
    with a `season` (0 to 1) the chance that they come from the night's half follows the time of day.
    """
    rng = np.random.default_rng(seed)
    count = int(weeks * SECONDS_A_WEEK / step_s)
    kinds = len(VERBS) * len(THINGS)
    shares = 1.0 / np.arange(1, kinds // 2 + 1)
    drawn = rng.choice(kinds // 2, count, p=shares / shares.sum())
    day = 0.5 + 0.5 * season * np.sin(np.arange(count) * step_s / 86_400 * 2 * np.pi)
    drawn = np.where(rng.random(count) < day, drawn, drawn + kinds // 2)
    follows = rng.random(count) < 0.5
    numbers = rng.integers(1, 10_000, count)
    begin = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
    lines, kind = [], 0
    for row in range(count):
        kind = (kind * 7 + 3) % kinds if follows[row] else int(drawn[row])
        lines.append(line_of(kind, int(numbers[row]), row, begin + row * step_s))
    return MadeLog(("\n".join(lines) + "\n").encode(), weeks)


def line_of(kind: int, number: int, row: int, second: int) -> str:
    """A line of one of forty templates, with an id that counts, at a second since 1970."""
    moment = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
    level = "WARN" if kind % 11 == 10 else "INFO"
    return (
        f"{moment} {level} {VERBS[kind % len(VERBS)]} {THINGS[kind // len(VERBS)]} {1_000_000 + row} "
        f"of 10.0.{number % 250}.{kind} in {number} ms"
    )


@cache
def hdfs_sessions() -> Sessions | None:
    """The HDFS blocks in order of first appearance, or None where the data is absent."""
    if not HDFS.exists():
        return None
    data = gzip.decompress(HDFS.read_bytes())
    with LABELS.open(newline="") as handle:
        labels = {row["block_id"]: row["label"] for row in csv.DictReader(handle)}
    batch = text_batch(data)
    rows: dict[bytes, list[int]] = {}
    for row, text in enumerate(data.splitlines()):
        found = SESSION.search(text)
        if found is not None:
            rows.setdefault(found.group(), []).append(row)
    offsets = batch.canonical.offsets
    return Sessions(
        [np.array(one, np.int64) for one in rows.values()],
        np.array([labels[key.decode()] == "Anomaly" for key in rows]),
        batch.templates,
        batch.canonical.buffer,
        offsets[:-1],
        offsets[1:],
    )


@cache
def loghub_blocks(lines: int) -> dict[str, list[bytes]]:
    """Whole blocks of so many lines of each loghub log; empty where the data is absent."""
    found = {}
    for path in sorted(LOGHUB.glob("*.log")):
        rows = [row + b"\n" for row in path.read_bytes().splitlines()]
        found[path.name] = [b"".join(rows[i : i + lines]) for i in range(0, len(rows) - lines + 1, lines)]
    return found
