"""Detection quality on sessions of a labelled log: Driftlock beside trivial baselines and library peers.

    python -m benchmarks.detection_logs

Reads the HDFS blocks of ../shared/data/hdfs and judges every detector with ../shared/bench/session_score.py.
All see the same split: the first 10 % of blocks by first appearance, unlabelled, are the baseline; the rest
are scored. All see the same templates (Driftlock's canonical lines), so that only the detectors differ. The
peers get conformal p-values from the last half of their baseline. One configuration for all data.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from river.anomaly import HalfSpaceTrees
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from driftlock.signals.textlog import text_batch

SHARED = Path(__file__).parents[2] / "shared"
LOG = SHARED / "data" / "hdfs" / "hdfs-dev.log.gz"
LABELS = SHARED / "data" / "hdfs" / "hdfs-dev-labels.csv"
JUDGE = SHARED / "bench" / "session_score.py"
SESSION = r"blk_-?\d+"
BASELINE_FRACTION = 0.1
SEED = 7

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Units:
    """Units in order of first appearance: keys, count vectors over templates, and lengths in lines."""

    keys: list[str]
    counts: Floats
    baseline: int

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which templates occur in the baseline."""
        return np.asarray(self.counts[: self.baseline].sum(axis=0) > 0)


def load() -> Units:
    """The blocks of the log as count vectors."""
    data = gzip.decompress(LOG.read_bytes())
    templates = text_batch(data).templates
    pattern = re.compile(SESSION.encode())
    unit_of: dict[bytes, int] = {}
    column_of: dict[int, int] = {}
    cells: list[tuple[int, int]] = []
    for text, template in zip(data.splitlines(), templates.tolist(), strict=True):
        found = pattern.search(text)
        if found is None:
            continue
        row = unit_of.setdefault(found.group(), len(unit_of))
        cells.append((row, column_of.setdefault(template, len(column_of))))
    counts = np.zeros((len(unit_of), len(column_of)))
    np.add.at(counts, tuple(np.array(cells).T), 1)
    keys = [key.decode() for key in unit_of]
    return Units(keys, counts, int(len(keys) * BASELINE_FRACTION))


def length(units: Units) -> Floats:
    """Distance of a unit's length from the baseline's median."""
    lines = units.counts.sum(axis=1)
    return np.asarray(np.abs(lines - np.median(lines[: units.baseline])))


def new_template(units: Units) -> Floats:
    """How many lines have a template that the baseline never had."""
    return np.asarray(units.counts[:, ~units.known].sum(axis=1))


def count_vector(units: Units) -> Floats:
    """Distance to the nearest baseline count vector (Euclidean)."""
    distinct = np.unique(units.counts[: units.baseline], axis=0)
    return np.array([np.sqrt(((distinct - row) ** 2).sum(axis=1)).min() for row in units.counts])


def isolation_forest(units: Units) -> Floats:
    """scikit-learn's isolation forest on count vectors, 200 trees."""
    forest = IsolationForest(n_estimators=200, random_state=SEED).fit(units.counts[: units.baseline])
    return np.asarray(-forest.score_samples(units.counts))


def pca(units: Units) -> Floats:
    """Squared prediction error outside the components that hold 95 % of the variance (Xu et al. 2009)."""
    baseline = units.counts[: units.baseline]
    model = PCA(n_components=0.95, svd_solver="full").fit(baseline)
    back = model.inverse_transform(model.transform(units.counts))
    return np.asarray(((units.counts - back) ** 2).sum(axis=1))


def half_space_trees(units: Units) -> Floats:
    """River's half-space trees on count vectors scaled by the baseline, which score and then learn each unit.

    Its defaults (10 trees of height 8, windows of 250) but for the seed.
    """
    most = np.maximum(units.counts[: units.baseline].max(axis=0), 1)
    scaled = np.minimum(units.counts / most, 1.0)
    names = list(range(scaled.shape[1]))
    trees = HalfSpaceTrees(seed=SEED, limits=dict.fromkeys(names, (0.0, 1.0)))
    scores = np.zeros(len(scaled))
    for row, vector in enumerate(scaled.tolist()):
        unit = dict(zip(names, vector, strict=True))
        scores[row] = trees.score_one(unit)
        trees.learn_one(unit)
    return scores


PEERS: dict[str, Callable[[Units], Floats]] = {
    "length": length,
    "new template": new_template,
    "count vector": count_vector,
    "PCA (scikit-learn)": pca,
    "isolation forest (scikit-learn)": isolation_forest,
    "half-space trees (River)": half_space_trees,
}


def p_values(scores: Floats, baseline: int) -> Floats:
    """Conformal p-values against the last half of the baseline."""
    calibration = np.sort(scores[baseline // 2 : baseline])
    at_least = len(calibration) - np.searchsorted(calibration, scores, side="left")
    return np.asarray((1 + at_least) / (1 + len(calibration)))


def peer_lines(units: Units, detector: Callable[[Units], Floats]) -> str:
    """A peer's scores in the form that the judge reads."""
    scores = detector(units)
    p = p_values(scores, units.baseline)
    rows = (
        json.dumps({"unit": units.keys[i], "score": float(scores[i]), "p_value": float(p[i])})
        for i in range(units.baseline, len(units.keys))
    )
    return "\n".join(rows) + "\n"


def own_lines() -> str:
    """What `driftlock score` says."""
    command = [sys.executable, "-m", "driftlock", "score", str(LOG), "--session", SESSION]
    answer = subprocess.run([*command, "--format", "json"], check=True, capture_output=True, text=True)
    return answer.stdout


def judged(lines: str) -> dict[str, Any]:
    """The judge's report on some scores."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as handle:
        handle.write(lines)
        handle.flush()
        command = [sys.executable, str(JUDGE), str(LABELS), handle.name]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(answer.stdout))


def main() -> None:
    if not LOG.exists():
        sys.exit(f"{LOG} is not here: this benchmark needs the labelled HDFS log beside the project.")
    with LABELS.open(newline="") as handle:
        anomalous = sum(row["label"] == "Anomaly" for row in csv.DictReader(handle))
    units = load()
    table = Table(title=f"HDFS: {len(units.keys)} blocks, {anomalous} anomalous, {units.baseline} baseline")
    for name in ("detector", "AUC", "AP", "best F1", "recall at 1 % FP", "FP at .05", ".01", ".001"):
        table.add_column(name, justify="left" if name == "detector" else "right")
    reports = {name: judged(peer_lines(units, detector)) for name, detector in PEERS.items()}
    reports["Driftlock"] = judged(own_lines())
    for name, report in reports.items():
        figures = (
            report["auc"], report["average_precision"], report["best_f1"],
            report["recall_at_1pct_false_positives"], report["normal_flagged_at_0.05"],
            report["normal_flagged_at_0.01"], report["normal_flagged_at_0.001"],
        )  # fmt: skip
        table.add_row(name, *(f"{figure:.4f}" for figure in figures))
    Console().print(table)
    results = Path("bench-results")
    results.mkdir(exist_ok=True)
    (results / "detection_logs.json").write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
