"""The estimators keep scikit-learn's contract, and the share of false alarms that they promise."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from library_logs import job_lines
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from driftlock import RowOutlierDetector, UnitOutlierDetector
from driftlock.library.inputs import LinesIn

# Checks that do not apply, with the reason.
NOT_APPLICABLE = {
    "check_array_api_input": "the estimator takes NumPy arrays only, and runs only under SCIPY_ARRAY_API",
}
RNG = np.random.default_rng(11)
JOBS: list[LinesIn] = [job_lines(RNG, f"j{n}") for n in range(300)]
BROKEN: list[LinesIn] = [job_lines(RNG, f"b{n}", broken=True) for n in range(20)]


def test_scikit_learns_own_checks_pass() -> None:
    results = check_estimator(RowOutlierDetector(), on_skip=None)
    passed = [result["check_name"] for result in results if result["status"] == "passed"]
    others = {result["check_name"] for result in results if result["status"] != "passed"}
    assert others <= set(NOT_APPLICABLE)
    assert {"check_outliers_train", "check_outliers_fit_predict", "check_estimators_pickle"} <= set(passed)
    assert len(passed) > 40


def test_rows_far_away_are_outliers_and_say_which_feature() -> None:
    rng = np.random.default_rng(1)
    model = RowOutlierDetector(alpha=0.01).fit(rng.normal(size=(1_000, 3)))
    far = np.array([[0.0, 0.0, 8.0]])
    assert model.predict(far).tolist() == [-1]
    assert model.p_values(far)[0] == model.p_floor_ == 1 / 501
    parts = model.explain_samples(far)
    assert parts.argmax() == 2
    assert parts.sum() == -model.score_samples(far)[0]


def test_a_broken_relation_between_features_is_seen() -> None:
    rng = np.random.default_rng(2)
    load = rng.normal(size=2_000)
    model = RowOutlierDetector(alpha=0.01).fit(np.column_stack([load, load + 0.1 * rng.normal(size=2_000)]))
    assert model.predict([[1.0, 1.0], [1.0, -1.0]]).tolist() == [1, -1]


@pytest.mark.parametrize("kind", ["normal", "heavy", "counts", "mixture"])
def test_the_share_of_false_alarms_is_kept(kind: str) -> None:
    """Mean over data sets of the realised rate: at most alpha, within three standard errors."""
    draws = {
        "normal": lambda rng, n: rng.normal(size=(n, 3)),
        "heavy": lambda rng, n: rng.standard_t(1.5, size=(n, 3)),
        "counts": lambda rng, n: rng.poisson(2.0, size=(n, 3)),
        "mixture": lambda rng, n: rng.normal(size=(n, 3)) + 6 * rng.integers(0, 3, (n, 1)),
    }
    for alpha in (0.05, 0.01):
        rates = []
        for seed in range(20):
            rng = np.random.default_rng([seed, 77])
            model = RowOutlierDetector(alpha=alpha).fit(draws[kind](rng, 400))
            rates.append(float((model.predict(draws[kind](rng, 400)) < 0).mean()))
        assert np.mean(rates) <= alpha + 3 * np.std(rates) / math.sqrt(len(rates))


def test_the_share_of_false_alarms_is_kept_for_units() -> None:
    rates = []
    for seed in range(10):
        rng = np.random.default_rng([seed, 78])
        units: list[LinesIn] = [job_lines(rng, str(n)) for n in range(400)]
        model = UnitOutlierDetector(alpha=0.05).fit(units[:200])
        rates.append(float((model.predict(units[200:]) < 0).mean()))
    assert np.mean(rates) <= 0.05 + 3 * np.std(rates) / math.sqrt(len(rates))


def test_predictions_p_values_and_decisions_agree() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(301, 2))
    for alpha in (0.001, 0.02, 0.1, 0.5):
        model = RowOutlierDetector(alpha=alpha).fit(rows)
        out = model.predict(rows) < 0
        assert (out == (model.decision_function(rows) < 0)).all()
        assert (out == (model.p_values(rows) <= alpha)).all()
        assert out.any() == (model.p_floor_ <= alpha)


def test_broken_units_are_outliers() -> None:
    model = UnitOutlierDetector(alpha=0.05).fit(JOBS)
    assert is_outlier_detector(model)
    assert (model.predict(BROKEN) == -1).all()
    assert model.score_samples(BROKEN).max() < np.median(model.score_samples(JOBS))
    assert (model.predict(JOBS) == -1).mean() < 0.1


def test_units_may_be_texts_or_lists_and_are_scored_alone() -> None:
    model = UnitOutlierDetector().fit(JOBS)
    scores = model.score_samples(JOBS + BROKEN)
    assert model.score_samples(["\n".join(unit) for unit in JOBS + BROKEN]).tolist() == scores.tolist()
    assert [model.score_samples([unit])[0] for unit in JOBS[:20] + BROKEN] == [*scores[:20], *scores[300:]]
    assert model.score_samples([[], "", ["  "]]).shape == (3,)


@pytest.mark.parametrize("model", [RowOutlierDetector(), UnitOutlierDetector()], ids=["rows", "units"])
def test_clone_pickle_and_parameters(model: RowOutlierDetector | UnitOutlierDetector) -> None:
    data = np.random.default_rng(4).normal(size=(100, 2)) if isinstance(model, RowOutlierDetector) else JOBS
    with pytest.raises(NotFittedError):
        model.predict(data)
    copy = clone(model.set_params(alpha=0.1))
    assert copy.get_params() == model.get_params()
    fitted = copy.fit(data)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.score_samples(data).tolist() == fitted.score_samples(data).tolist()
    assert clone(fitted).fit(data).score_samples(data).tolist() == fitted.score_samples(data).tolist()
    other = clone(fitted).set_params(random_state=5).fit(data)
    assert other.score_samples(data).tolist() != fitted.score_samples(data).tolist()
    assert not hasattr(clone(fitted), "offset_")


def test_inputs_are_not_mutated() -> None:
    units = [list(unit) for unit in JOBS]
    UnitOutlierDetector().fit(units).predict(units)
    assert units == [list(unit) for unit in JOBS]


def test_they_work_inside_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(200, 2)), np.r_[np.ones(190), -np.ones(10)]
    rows[190:] += 7
    order = rng.permutation(200)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), RowOutlierDetector()),
        {"rowoutlierdetector__references_max": [20, 50]},
        scoring="roc_auc",
        cv=2,
    ).fit(rows[order], labels[order] > 0)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    "model",
    [
        RowOutlierDetector(alpha=0),
        RowOutlierDetector(alpha=1.0),
        RowOutlierDetector(calibration_share=1.0),
        RowOutlierDetector(references_max=1),
    ],
    ids=["alpha-0", "alpha-1", "share", "references"],
)
def test_wrong_parameters_are_told_at_fit(model: RowOutlierDetector) -> None:
    with pytest.raises(ValueError):
        model.fit(np.zeros((10, 2)))


def test_one_text_is_not_a_list_of_units() -> None:
    with pytest.raises(ValueError):
        UnitOutlierDetector().fit("a text")
    with pytest.raises(ValueError):
        UnitOutlierDetector().fit(JOBS[:3])


def test_importing_driftlock_loads_nothing_else() -> None:
    code = (
        "import sys, driftlock; assert not {'numpy', 'numba', 'sklearn', 'polars'} & set(sys.modules); "
        "driftlock.Detector; assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
