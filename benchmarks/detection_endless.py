"""The labelled log as an endless stream: sessions closed online, against complete sessions.

    python -m benchmarks.detection_endless

Feeds the HDFS log line by line in its own order and by its own clock, as a server would get it, with the
default bounds on memory: a block is judged at every silence of `session_idle_s`, and again as a whole if it
goes on. A block's score is that of its latest verdict (beside it, of its first one). Judged by
../shared/bench/session_score.py like `detection_logs`, whose complete sessions are the bound.
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.detection_logs import BASELINE_FRACTION, LOG, SESSION, judged, own_lines
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.verdict import Verdict
from driftlock.signals.textlog import extract_keys, text_batch

SECOND_NS = 1_000_000_000
IDLE_S = (30, 120, 600)
LINES_A_CALL = 50
FOUND_P = 0.01


@dataclass
class Online:
    """What one pass over the log said: the verdicts on each block in order, with the clock at each."""

    verdicts: dict[str, list[tuple[Verdict, int]]] = field(default_factory=dict)
    lasted_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    state_bytes: int = 0

    def lines(self, which: int) -> str:
        """The first (0) or the latest (-1) verdict of each block, as the judge reads them."""
        chosen = ((key, found[which][0]) for key, found in self.verdicts.items())
        return "".join(
            json.dumps({"unit": key, "score": v.score, "p_value": v.p_value}) + "\n" for key, v in chosen
        )


def run(idle_s: int) -> Online:
    """One pass."""
    data = gzip.decompress(LOG.read_bytes())
    batch, keys = text_batch(data), extract_keys(data, SESSION)
    names = [name.decode() for name in keys.names]
    baseline = ceil(len(names) * BASELINE_FRACTION)
    stream = LogStream(
        LogSettings(
            mode="session",
            baseline_units=baseline,
            session_idle_ns=idle_s * SECOND_NS,
            alert_budget=float("inf"),
        ),
        tells=False,
    )
    lines, bounds = keys.of_lines(missing=b""), batch.canonical.offsets
    made, learned = Online(), set(names[:baseline])
    for code in range(len(names)):
        rows = np.flatnonzero(keys.codes == code)
        made.lasted_ns[names[code]] = (int(batch.time_ns[rows[0]]), int(batch.time_ns[rows[-1]]))
    now_ns = 0
    for start in range(0, len(lines), LINES_A_CALL):
        part = slice(start, min(start + LINES_A_CALL, len(lines)))
        now_ns = max(now_ns, int(batch.time_ns[part].max()))
        columns = batch.templates[part], batch.canonical.buffer, bounds[:-1][part], bounds[1:][part]
        positions = np.arange(part.start, part.stop)
        verdicts = stream.add(*columns, batch.time_ns[part], positions, sessions=lines[part], now_ns=now_ns)
        note(made, verdicts, learned, now_ns)
        if stream.baseline_ref:
            made.state_bytes = max(made.state_bytes, stream.state_bytes)
    note(made, stream.flush(now_ns), learned, now_ns)
    return made


def note(made: Online, verdicts: list[Verdict], learned: set[str], now_ns: int) -> None:
    """Adds verdicts on blocks that are not the baseline's."""
    for verdict in verdicts:
        if verdict.key not in learned:
            made.verdicts.setdefault(verdict.key, []).append((verdict, now_ns))


def delays_s(made: Online) -> tuple[float, float]:
    """Medians over blocks that were found (p ≤ .01): from the first line to then, and from the last line."""
    since_first, since_last = [], []
    for key, found in made.verdicts.items():
        told = next((now for verdict, now in found if verdict.p_value <= FOUND_P), None)
        if told is not None:
            first, last = made.lasted_ns[key]
            since_first.append((told - first) / SECOND_NS)
            since_last.append((told - last) / SECOND_NS)
    return float(np.median(since_first)), float(np.median(since_last))


def main() -> None:
    if not LOG.exists():
        sys.exit(f"{LOG} is not here: this benchmark needs the labelled HDFS log beside the project.")
    table = Table(title="HDFS as an endless stream (latest verdict of each block, then the first one)")
    for name in (
        "closed by",
        "verdicts a block",
        "AUC",
        "best F1",
        "recall at 1 % FP",
        "FP at .05",
        ".01",
        ".001",
        "AUC of first",
        "found after first line, s",
        "after last line, s",
        "state, KB",
    ):
        table.add_column(name, justify="left" if name == "closed by" else "right")  # fmt: skip
    complete = judged(own_lines())
    reports = {"complete sessions": complete}
    table.add_row("complete sessions", "1.0", *figures(complete), "", "", "", "")
    for idle_s in IDLE_S:
        made = run(idle_s)
        report, first = judged(made.lines(-1)), judged(made.lines(0))
        verdicts = sum(map(len, made.verdicts.values())) / len(made.verdicts)
        after_first, after_last = delays_s(made)
        told = (f"{after_first:.0f}", f"{after_last:.0f}", f"{made.state_bytes / 1024:.0f}")
        name = f"{idle_s} s of silence"
        table.add_row(name, f"{verdicts:.1f}", *figures(report), f"{first['auc']:.4f}", *told)
        reports[name] = report | {"first": first, "after_first_s": after_first, "after_last_s": after_last,
                                  "verdicts": verdicts, "state_bytes": made.state_bytes}  # fmt: skip
    Console().print(table)
    results = Path("bench-results")
    results.mkdir(exist_ok=True)
    (results / "detection_endless.json").write_text(json.dumps(reports, indent=1))


def figures(report: dict[str, float]) -> list[str]:
    """The judge's figures as cells."""
    names = ("auc", "best_f1", "recall_at_1pct_false_positives", "normal_flagged_at_0.05",
             "normal_flagged_at_0.01", "normal_flagged_at_0.001")  # fmt: skip
    return [f"{report[name]:.4f}" for name in names]


if __name__ == "__main__":
    main()
