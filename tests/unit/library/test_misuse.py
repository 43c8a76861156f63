"""What a program may do wrong with the library, and the sentence that it gets."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from driftlock import Detector, RowScorer, SeriesDetector
from driftlock.errors import InputError
from driftlock.library.alone import ConcurrentUseError

CALM = [f"GET /item/{n} took {n * 37 % 900} ms" for n in range(1_500)]


@pytest.mark.parametrize("restored", [Detector, SeriesDetector])
@pytest.mark.parametrize("snapshot", [None, "text", 7, b"", bytearray(b"x"), memoryview(b"DLDETECT")])
def test_what_is_no_snapshot_is_refused(restored: Any, snapshot: Any) -> None:
    with pytest.raises(InputError, match=r"snapshot|state is damaged"):
        restored.restore(snapshot)


def test_snapshots_of_any_bytes_like_kind_are_taken() -> None:
    detector = Detector()
    detector.observe(CALM)
    for kind in (bytes, bytearray, memoryview):
        assert Detector.restore(kind(detector.snapshot())).lines_seen == len(CALM)


def test_lines_that_are_none_are_refused() -> None:
    for lines in (None, 7):
        with pytest.raises(InputError, match="an iterable of lines"):
            Detector().observe(lines)  # type: ignore[arg-type]


class Slow:
    """Lines that are only read once another thread has tried its luck."""

    def __init__(self, other: threading.Event, go_on: threading.Event) -> None:
        self.other, self.go_on = other, go_on

    def __iter__(self) -> Any:
        self.other.set()
        assert self.go_on.wait(60)
        yield from CALM


def test_a_second_thread_is_told_at_once_and_nothing_is_lost() -> None:
    detector, inside, go_on = Detector(), threading.Event(), threading.Event()
    worker = threading.Thread(target=lambda: detector.observe(Slow(inside, go_on)))
    worker.start()
    assert inside.wait(60)
    try:
        for call in (lambda: detector.observe("x"), detector.flush, detector.snapshot):
            with pytest.raises(ConcurrentUseError, match="not thread-safe") as told:
                call()
            assert "lock" in str(told.value.hint)
    finally:
        go_on.set()
        worker.join()
    assert detector.lines_seen == len(CALM)
    alone = Detector()
    alone.observe(CALM)
    assert detector.snapshot() == alone.snapshot()
    assert pickle.loads(pickle.dumps(detector)).snapshot() == alone.snapshot()
    assert copy.deepcopy(detector).snapshot() == alone.snapshot()


def test_a_series_detector_can_be_called_again_after_an_error() -> None:
    detector = SeriesDetector()
    with pytest.raises(InputError):
        detector.observe([1.0, 2.0], [1])
    assert detector.score([1.0], [1]).status.shape == (1,)


def test_scores_of_rows_are_finite_and_never_below_zero() -> None:
    scorer = RowScorer()
    for n in range(80):
        scorer.learn_one({"a": 1e308 * (-1) ** n, "b": n % 7})
    for value in (1e308, -1e308, 0.0, 1.0, 5e-324):
        score = scorer.score_one({"a": value, "b": 3})
        assert np.isfinite(score)
        assert score >= 0.0
    with pytest.raises(InputError, match="beyond"):
        scorer.score_one({"a": 10**400})
    with pytest.raises(ValueError, match="window_size"):
        RowScorer(window_size=10**12)
