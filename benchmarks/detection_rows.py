"""Outliers among rows of numbers: `RowOutlierDetector` beside scikit-learn's detectors, with defaults.

Data that comes with scikit-learn, and one synthetic set. Each detector learns half of the ordinary rows,
drawn at random, and scores the others with the outliers; mean and standard deviation over `SEEDS` draws. Run
it with `python -m benchmarks.detection_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from driftlock import RowOutlierDetector

SEEDS = 5


def data_sets() -> Iterator[tuple[str, Any, Any]]:
    """Name, rows and which of them are outliers."""
    cancer, wine, digits = load_breast_cancer(), load_wine(), load_digits()
    yield "breast cancer, malignant", cancer.data, cancer.target == 0
    yield "wine, class 0", wine.data, wine.target == 0
    yield "digits, 8 among all", digits.data, digits.target == 8
    chosen = (digits.target == 0) | (digits.target == 6)
    yield "digits, 6 among 0", digits.data[chosen], digits.target[chosen] == 6
    rng = np.random.default_rng(0)
    load = rng.normal(size=4_000)
    rows, strange = np.column_stack([load, load + 0.1 * rng.normal(size=4_000)]), np.arange(4_000) >= 3_900
    rows[strange, 1] = rng.normal(size=100)
    yield "broken relation of two", rows, strange


def main() -> None:
    """Prints a table: AUC of each detector, and the false positives of ours at alpha .05."""
    print("| data | rows, features | Driftlock | isolation forest | LOF | false positives at .05 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rows, outlier in data_sets():
        results: list[list[float]] = [[], [], [], []]
        for seed in range(SEEDS):
            ordinary = np.random.default_rng(seed).permutation(np.flatnonzero(~outlier))
            half = len(ordinary) // 2
            tested = np.concatenate([ordinary[half:], np.flatnonzero(outlier)])
            ours = RowOutlierDetector(random_state=seed)
            for place, model in enumerate(
                (ours, IsolationForest(random_state=seed), LocalOutlierFactor(novelty=True))
            ):
                model.fit(rows[ordinary[:half]])
                results[place].append(roc_auc_score(outlier[tested], -model.score_samples(rows[tested])))
            results[3].append(float((ours.predict(rows[ordinary[half:]]) < 0).mean()))
        cells = " | ".join(f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in results)
        print(f"| {name} | {rows.shape[0]}, {rows.shape[1]} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
