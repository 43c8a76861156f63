"""The scorers keep River's contract, inside River's own pipelines and by River's own checks."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_logs import job_lines
from river import base, checks, preprocessing
from sklearn.metrics import roc_auc_score

from driftlock import RowScorer, TextScorer
from driftlock.errors import InputError


class RiverRows(RowScorer, base.AnomalyDetector):
    """What River's checks ask for beside the methods: its base class. Its pipelines do not."""


def rows(seed: int, size: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [{"cpu": float(a), "load": float(a + b)} for a, b in rng.normal(size=(size, 2))]


def labelled(seed: int, size: int) -> list[tuple[dict[str, float], int]]:
    """Rows of six features; each fiftieth after 200 breaks the relation of two of them."""
    rng = np.random.default_rng(seed)
    found = []
    for n, row in enumerate(rows(seed, size)):
        strange = n > 200 and n % 50 == 0
        more = {f"more {k}": float(rng.normal()) for k in range(4)}
        found.append(({**row, **more, "load": row["load"] + 8.0 * strange}, int(strange)))
    return found


@pytest.mark.parametrize("check", list(checks.yield_checks(RiverRows())), ids=lambda check: check.__name__)
def test_rivers_own_checks_pass(check: Any) -> None:
    """Those that want data get ours: River's own would have to be downloaded."""
    if isinstance(check, functools.partial):
        check.func(RiverRows(), labelled(1, 600))
    else:
        check(RiverRows())


def test_in_a_pipeline_of_river() -> None:
    model = preprocessing.StandardScaler() | RowScorer()
    scores, labels = [], []
    for x, y in labelled(2, 1_000):
        scores.append(model.score_one(x))
        model.learn_one(x)
        labels.append(y)
    assert roc_auc_score(labels[100:], scores[100:]) > 0.95


def test_scoring_changes_nothing_and_reads_only() -> None:
    for scorer, samples in ((RowScorer(), rows(2, 300)), (TextScorer(), _texts(2, 120))):
        quiet = copy.deepcopy(scorer)
        for x in samples:
            kept = copy.deepcopy(x)
            first = scorer.score_one(x)
            assert scorer.score_one(x) == first >= 0
            scorer.learn_one(x)
            quiet.learn_one(x)
            assert x == kept
        assert [scorer.score_one(x) for x in samples] == [quiet.score_one(x) for x in samples]


def _texts(seed: int, size: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["\n".join(job_lines(rng, f"j{n}", broken=n % 40 == 39)) for n in range(size)]


def test_strange_texts_cost_more_before_they_are_learned() -> None:
    scorer = TextScorer()
    scores = []
    for text in _texts(3, 240):
        scores.append(scorer.score_one(text))
        scorer.learn_one(text)
    strange, calm = scores[79::40], [s for n, s in enumerate(scores) if n > 40 and n % 40 != 39]
    assert min(strange) > max(calm)


@given(st.integers(0, 299))
@settings(max_examples=10, deadline=None)
def test_a_pickled_scorer_continues_bit_for_bit(at: int) -> None:
    for kind, samples in ((RowScorer, rows(4, 300)), (TextScorer, _texts(4, 300))):
        scorer = kind()
        for x in itertools.islice(samples, at):
            scorer.learn_one(x)
        again = pickle.loads(pickle.dumps(scorer))
        for x in samples[at:]:
            assert again.score_one(x) == scorer.score_one(x)
            scorer.learn_one(x)
            again.learn_one(x)


def test_features_come_and_go_in_any_order() -> None:
    plain, shuffled = RowScorer(), RowScorer()
    for n, x in enumerate(rows(5, 300)):
        x = {**x, "late": float(n % 3)} if n > 100 else x
        turned = dict(reversed(x.items()))
        assert plain.score_one(x) == shuffled.score_one(turned)
        plain.learn_one(x)
        shuffled.learn_one(turned)
    assert plain.score_one({"unknown": 1.0}) == 0.0
    assert plain.score_one({}) == 0.0
    assert plain.score_one({"cpu": float("nan"), "load": float("inf")}) == 0.0


def test_the_window_follows_what_changes() -> None:
    scorer = RowScorer(window_size=64)
    for x in rows(6, 200):
        scorer.learn_one(x)
    moved = [{name: value + 20 for name, value in x.items()} for x in rows(7, 400)]
    before = scorer.score_one(moved[0])
    for x in moved:
        scorer.learn_one(x)
    assert scorer.score_one(moved[0]) < before / 3


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError):
        RowScorer(window_size=1)
    for call in (RowScorer().score_one, RowScorer().learn_one):
        with pytest.raises(InputError):
            call({"name": "text"})
    with pytest.raises(InputError):
        TextScorer().score_one([1])  # type: ignore[list-item]
