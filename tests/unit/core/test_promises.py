"""Promises that the documentation makes in numbers: when the first verdict comes, and how low p can be then.

False alarms and power are in `test_validity.py`; `benchmarks/detection_promises.py` measures them at length.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from core_logs import SECOND_NS, feed, flat, hash_of, job, zipf

from driftlock.core.log_baseline import Baseline
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.templates import TEMPLATES_MAX

UNITS_MAX = 200


@pytest.mark.parametrize("window", [25, 50, 100])
def test_the_first_verdict_on_blocks_comes_within_200_units(window: int) -> None:
    settings = LogSettings(window_size=window)
    stream = LogStream(settings)
    log = zipf(np.random.default_rng(1), UNITS_MAX * settings.hop_size, 30)
    units = 0
    while not (verdicts := feed(stream, log[units * 25 : units * 25 + 25], first=units * 25)):
        assert not verdicts
        units += 1
    assert units + 1 <= UNITS_MAX
    told = stream.warm_up
    # the scores behind the first verdict, itself not among them, bound its p-value and are told
    assert verdicts[0].calibration_size == told.calibration_size - 1
    assert verdicts[0].p_value >= 1 / (1 + verdicts[0].calibration_size)
    assert told.earliest_p == 1 / (1 + told.calibration_size)


def test_the_first_verdict_on_sessions_comes_within_200_units() -> None:
    stream = LogStream(LogSettings(mode="session"))
    rng = np.random.default_rng(2)
    units = [job(rng) for _ in range(UNITS_MAX + 1)]
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
    feed(stream, flat(units), sessions=keys, cuts=cuts, step_ns=40 * SECOND_NS)
    verdicts = stream.flush()
    assert verdicts
    assert stream.warm_up.units_seen == UNITS_MAX + 1
    assert stream.warm_up.phase == "ready"


def test_no_p_value_is_below_its_floor_whatever_is_sent() -> None:
    stream = LogStream(LogSettings())
    feed(stream, zipf(np.random.default_rng(3), 41 * 25, 30))
    size = stream.warm_up.calibration_size
    verdicts = feed(stream, np.arange(60, 110))
    assert [verdict.calibration_size for verdict in verdicts] == [size, size + 1]
    assert verdicts[1].p_value == 1 / (2 + size)


@pytest.mark.parametrize(
    ("templates", "width"), [(32, 80), (64, 500), (128, 80), (128, 300), (256, 80), (TEMPLATES_MAX, 80)]
)
@pytest.mark.parametrize("calls", [False, True])
def test_the_whole_state_of_a_full_stream_takes_at_most_256_kib(
    calls: bool, templates: int, width: int
) -> None:
    """All templates with long texts, or fewer and more room for sessions, which never end, in every hour of
    the day, and of traces many a caller: told before enabling."""
    rng = np.random.default_rng(6)
    settings = LogSettings(mode="session", p_value_threshold=0.01, calls=calls)
    stream, held = LogStream(settings, tells=False), 0
    lines = [b"%-*d" % (width, n) for n in range(templates)]
    bounds = np.cumsum([0, *map(len, lines)])
    buffer, hashes = (
        np.frombuffer(b"".join(lines), np.uint8),
        np.array([hash_of(n) for n in range(len(lines))], np.uint64),
    )
    for hour in range(24 * 7):
        sizes = rng.integers(3, 10, 100)
        events = zipf(rng, int(sizes.sum()), templates, 0.9)
        spans = np.concatenate([np.arange(2, 2 + size) for size in sizes])
        parents = np.where(spans > 2, spans - 1, 0)
        # three numbers a line: of many templates more places than there are rows for
        numbers = rng.integers(1, 16, len(events)) | 0x670
        keys = [b"%032x" % (hour * 1_000 + n) for n, size in enumerate(sizes.tolist()) for _ in range(size)]
        now = (hour + 1) * 3600 * SECOND_NS
        times = np.full(len(events), now)
        places = np.arange(len(events)) + hour * 10_000
        stream.add(
            hashes[events],
            buffer,
            bounds[events],
            bounds[events + 1],
            times,
            places,
            sessions=keys,
            calls=np.stack([spans, parents], axis=1).astype(np.uint32),
            numbers=numbers.astype(np.uint32),
            now_ns=now,
        )
        held = max(held, stream.state_bytes)
    assert stream.warm_up.phase == "ready"
    assert 200 * 1024 < held <= 256 * 1024, held / 1024


def test_one_large_call_leaves_no_more_behind_than_many_small_ones() -> None:
    """Sessions crowd each other out while templates, tables and scores take the room they had."""
    events = np.random.default_rng(8).integers(0, TEMPLATES_MAX - 1, 10_000)
    stream = LogStream(LogSettings(mode="session"), tells=False)
    feed(stream, events, sessions=[b"%d" % (n % 900) for n in range(len(events))])
    assert stream.state_bytes <= 256 * 1024, stream.state_bytes / 1024


@pytest.mark.parametrize("calls", [False, True])
def test_long_sessions_keep_within_256_kib_while_they_are_learned_and_later(calls: bool) -> None:
    """Sessions of a thousand events of four hundred templates, whose callers are anything."""
    rng = np.random.default_rng(3)
    stream, held = LogStream(LogSettings(mode="session", calls=calls), tells=False), 0
    hashes = np.array([hash_of(n) for n in range(400)], np.uint64)
    lines = [b"operation %d" % n for n in range(400)]
    bounds = np.cumsum([0, *map(len, lines)])
    for part in range(120):
        events, number = rng.integers(0, 400, 500), np.arange(part * 500, part * 500 + 500)
        stream.add(
            hashes[events],
            np.frombuffer(b"".join(lines), np.uint8),
            bounds[events],
            bounds[events + 1],
            np.zeros(500, np.int64),
            number,
            sessions=[b"%d" % (n // 1_000) for n in number],
            calls=np.stack([number + 2, rng.integers(2, number + 3)], axis=1).astype(np.uint32),
            now_ns=(part + 1) * SECOND_NS,
        )
        held = max(held, stream.state_bytes)
    assert stream.warm_up.phase != "learning"
    assert held <= 256 * 1024, held / 1024


def test_the_sentence_does_not_compare_with_next_to_nothing() -> None:
    stream = LogStream(LogSettings(mode="session"))
    units = [[0, 1, 2]] * 900
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
    feed(stream, flat(units), sessions=keys, cuts=cuts, step_ns=20 * SECOND_NS)
    feed(stream, [0, 7, 2], sessions=[b"odd"] * 3, step_ns=SECOND_NS)
    verdict = stream.flush()[-1]
    assert verdict.alarm
    assert "bits to describe, where next to nothing is usual, and 0 of" in verdict.explanation


@pytest.mark.parametrize(
    ("usual", "told"), [(5, "5 is usual"), (20, "16 to 23 are usual"), (600, "512 and more are usual")]
)
def test_the_sentence_tells_how_often_a_line_usually_occurs_not_the_class_of_that(
    usual: int, told: str
) -> None:
    stream = LogStream(LogSettings(mode="session", baseline_units=50))
    units = [[0, *[1] * usual, 2]] * 300
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
    feed(stream, flat(units), sessions=keys, cuts=cuts, step_ns=20 * SECOND_NS)
    feed(stream, [0, 1, 2], sessions=[b"odd"] * 3, step_ns=SECOND_NS)
    verdict = stream.flush()[-1]
    assert verdict.explanation.endswith(f"occurs once where {told}.")
    (shifted,) = verdict.detail["templates_shifted"]
    least, most = shifted["count_before"], shifted["count_before_most"]
    assert shifted["count_now"] == 1
    assert least <= usual
    assert most is None or usual <= most


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_the_nearest_normal_is_as_long_as_the_window_and_differs_least(blocks: int) -> None:
    stream = LogStream(LogSettings(hop_size=10, window_size=10 * blocks))
    events = zipf(np.random.default_rng(6), 4_000, 12)
    feed(stream, events)
    odd = np.concatenate([events[: 10 * blocks - 1], [77]])
    verdict = next(v for v in feed(stream, odd, first=4_000) if v.alarm)
    baseline = Baseline.decode(stream.baseline_bytes())
    window = Counter(np.concatenate([events, odd])[verdict.first : verdict.last + 1].tolist())
    hashes = {hash_of(template): template for template in range(100)}
    names = [hashes[key] for key, _ in baseline.templates[1:]]
    units = [[names[item - 1] for item in unit.tolist()] for unit in baseline.units]
    rows = [
        Counter(flat(units[at : at + blocks]))
        for at in range(len(units) - blocks + 1)
        if all(baseline.kept[at : at + blocks])
    ]
    least = min(((window - row) + (row - window)).total() for row in rows)
    told = verdict.detail["nearest_normal"]
    more, fewer = (sum(line["more"] for line in told[side]) for side in ("only_here", "only_there"))
    assert more == fewer, "a window and its like are of equal length"
    assert more + fewer == least
    assert told["units"] == blocks
