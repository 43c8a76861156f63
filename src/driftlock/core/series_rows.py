"""Compiled loops over rows of many series: find the series' record, take the reading, step it.

Owns the order of a step, the treatment of readings (counters, resets, values that are not finite), the
table from series id to record, and the output columns. Knows no settings object and no text.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from driftlock.core import lanes, logarithm, series_kernel, series_novelty, series_state
from driftlock.core import series_tuning as tuned
from driftlock.core.fingerprint import fingerprint
from driftlock.core.logarithm import exp2, log2_near
from driftlock.core.prefetch import LINE_BYTES, prefetch
from driftlock.core.series_kernel import (
    SEASON_BUCKET_NS,
    VALUE_BOUND,
    WEEK_BUCKET_NS,
    Record,
    band_holds,
    bent_level,
    blocks_reaching,
    code_excess,
    code_length,
    fade_range,
    kernel,
    learn_band,
    learn_means,
    learn_point,
    learn_tail,
    level_departure,
    opens_episode,
    points_reaching,
    predictions,
    season_departure,
)
from driftlock.core.series_novelty import SHORT_POINTS, long_novelty, short_novelty, value_novelty
from driftlock.core.series_state import (
    EXPERTS,
    HOT_BYTES,
    PEAKS,
    SEASON_BUCKETS,
    SEASON_OFFSETS,
    SHORT_BYTES,
    SHORT_OFFSET,
    WEEK_BUCKETS,
)

cached = numba.njit(cache=True, error_model="numpy")

SCORED = 0
WARMING = 1
NO_INCREMENT = 2
NOT_FINITE = 3
REFUSED = 4

CODE, SEASON, VALUE, SHORT, LONG, RECURRENCE = range(6)
PARTS = 6

ROUNDING = 1e-12
"""A change of so small a share of the value is none; a few operations leave up to 1e-15."""
SCORE_HALVING_BITS = 16.0
"""An anomaly score of ½ stands for as many bits, ¾ for twice as many."""

OUTPUT = np.dtype(
    [
        ("score", "f8"),
        ("p_value", "f8"),
        ("block_p_value", "f8"),
        ("surprise_bits", "f8"),
        ("expected", "f8"),
        ("low", "f8"),
        ("high", "f8"),
        ("parts", "f8", (PARTS,)),
        ("value", "f8"),  # what was scored: the reading, or a counter's rate
        ("anomaly_score", "f8"),
        ("calibration_size", "u4"),
        ("episode", "i4"),
        ("strange", "?"),
        ("lingers", "?"),  # the part of the season is of earlier points
        ("alarm", "?"),
        ("band_held", "?"),
        ("status", "u1"),
    ],
    align=True,
)


@kernel
def start(r: Record, time_ns: int, value: float) -> None:
    """Sets what is not zero at the start, from the first value."""
    r.started = 1
    r.origin = value
    r.time_first = time_ns
    r.peak_place[0], r.peak_scale[0], r.peak_block[0] = 5.0, 2.0, -1e9
    for j in range(1, PEAKS):
        r.peak_place[j], r.peak_scale[j], r.peak_block[j] = 3.0, 1.0, -1e9
    r.band_factor = 3.0
    r.value_entry[:] = np.inf
    r.level_entry[:] = np.inf
    r.short_entry[:] = np.inf
    r.long_entry[:] = np.inf
    for j in range(EXPERTS - 1):
        r.weight[j] = 1.0 / (EXPERTS - 1)  # the week's expert joins later, with the share all keep


@kernel
def normalise(r: Record, value: float) -> float:
    """`value` in the series' own units, within ±VALUE_BOUND. The first change sets the unit, unless it is
    what rounding leaves of none: in such units all later changes would lie beyond the bound."""
    difference = value - r.origin
    if difference == 0.0:
        return 0.0
    difference = min(max(difference, -1.7e308), 1.7e308)
    if r.unit == 0.0:
        if abs(difference) <= ROUNDING * max(abs(value), abs(r.origin)):
            return 0.0
        r.unit = abs(difference)
    return float(min(max(difference / r.unit, -VALUE_BOUND), VALUE_BOUND))


@kernel
def rate_of_counter(r: Record, time_ns: int, value: float) -> float:
    """Increase a second since the last reading, NaN when there is none to tell.

    A decrease is a reset: the counter began anew at 0. Time that does not advance tells no rate.
    """
    previous, before = r.raw_last, r.time_last
    r.raw_last = value
    r.time_last = time_ns
    if math.isnan(previous) or time_ns <= before:
        return np.nan
    if np.float64(time_ns) - np.float64(before) > 9e18:  # a clock that leapt; the difference would wrap
        return np.nan
    increase = value - previous if value >= previous else value
    return min(max(increase, -1.7e308), 1.7e308) / (np.float64(time_ns - before) * 1e-9)


@kernel
def expect(r: Record, y: float, means: Any, experts: int, out: Any) -> None:
    """Writes the expected value and band, and whether the band kept its promise so far; moves its width."""
    mean = 0.0
    square = 0.0
    for j in range(experts):
        mean += r.weight[j] * means[j]
        square += r.weight[j] * r.square[j]
    scale = math.sqrt(square) + 1e-9 * (r.high - r.low)
    out.band_held = band_holds(r)
    half = scale * learn_band(r, abs(y - mean) / scale) if scale > 0.0 else 0.0
    out.expected = r.origin + r.unit * mean
    out.low = r.origin + r.unit * (mean - half)
    out.high = r.origin + r.unit * (mean + half)


@kernel
def score_parts(
    r: Record, time_ns: int, y: float, bucket: int, youth: float, means: Any, weighted: Any, out: Any
) -> float:
    """Writes the parts of the score but the recurrence; returns their sum. Learns all but the means."""
    fade_range(r)
    experts = predictions(r, time_ns, bucket, means)
    expect(r, y, means, experts, out)
    span = max(r.high, y) - min(r.low, y)
    level = bent_level(r, y, span, youth)
    if r.high > r.low or y != 0.0:
        bits = code_length(r, y, means, experts, youth, weighted)
        out.surprise_bits = max(0.0, bits - r.bits_mean)
        out.parts[CODE] = code_excess(r, bits, youth)
        season, season_lingers = season_departure(r, y, bucket, means, experts, youth)
        lasting, level_lingers = level_departure(r, level, youth)
        out.parts[SEASON] = tuned.SEASON_WEIGHT * season + lasting
        out.lingers = season_lingers if season >= lasting else level_lingers
    novel = value_novelty(r, y, level, span)
    out.parts[VALUE] = tuned.VALUE_WEIGHT * log2_near(1.0 + novel / tuned.VALUE_UNIT)
    r.low = min(r.low, y)
    r.high = max(r.high, y)
    spread = math.sqrt(r.shape_square) + tuned.SHAPE_FLOOR * (r.high - r.low)
    short = short_novelty(r, y, spread)
    if short > 0.0:
        out.parts[SHORT] = tuned.SHORT_WEIGHT * log2_near(1.0 + short)
    long = long_novelty(r, y, spread)
    if long > 0.0:
        out.parts[LONG] = tuned.LONG_WEIGHT * log2_near(1.0 + long)
    delta = y - r.shape_mean
    rate = max(tuned.SHAPE_RATE, youth)
    r.shape_mean += rate * delta
    r.shape_square += rate * (delta * delta - r.shape_square)
    total = 0.0
    for j in range(RECURRENCE):
        total += out.parts[j]
    return total


@kernel
def step(
    r: Record,
    time_ns: int,
    value: float,
    warm_up_points: int,
    alarm_bits: float,
    p_value_threshold: float,
    means: Any,
    weighted: Any,
    out: Any,
) -> None:
    """Scores `value`, decides on it and learns it."""
    if r.started == 0:
        start(r, time_ns, value)
    bucket = (time_ns // SEASON_BUCKET_NS) % SEASON_BUCKETS
    y = normalise(r, value)
    youth = 1.0 / (r.seen + 1)  # at first every mean is that of all points
    total = score_parts(r, time_ns, y, bucket, youth, means, weighted, out)
    out.value = value
    out.p_value = 1.0
    out.block_p_value = 1.0
    if r.seen < warm_up_points:
        out.status = WARMING
        for j in range(PARTS):
            out.parts[j] = 0.0
    else:
        out.status = SCORED
        like = total * (1.0 - tuned.RECURRENCE_SLACK_SHARE) - tuned.RECURRENCE_SLACK
        often = tuned.RECURRENCE_SHARE * blocks_reaching(r, like)
        recurrence = tuned.RECURRENCE_WEIGHT * log2_near(1.0 + often)
        out.parts[RECURRENCE] = -min(recurrence, total)
        out.score = max(0.0, total - recurrence)
        out.calibration_size = r.points[0]
        out.p_value = (1.0 + points_reaching(r, total)) / (1.0 + r.points[0])
        out.block_p_value = (1.0 + blocks_reaching(r, total)) / (1.0 + r.tail[0])
        if opens_episode(r, out.score):
            out.anomaly_score = 1.0 - exp2(-less_for_youth(r, out.score) / SCORE_HALVING_BITS)
        follow_episode(r, alarm_bits, p_value_threshold, total, out)
        learn_point(r, total)
        learn_tail(r, total, r.seen - warm_up_points)
    learn_means(r, time_ns, y, bucket, youth)
    r.seen += 1


@kernel
def less_for_youth(r: Record, bits: float) -> float:
    """What remains of a score, given that few points have been seen: a record is then little news.

    At least a quarter, so that what opens an episode stays above 0.
    """
    youth = tuned.YOUTH_WEIGHT * log2_near(1.0 + tuned.YOUTH_POINTS / r.seen)
    return float(max(bits - youth, 0.25 * bits))


@kernel
def among_others(reaching: int, size: int, own: int) -> float:
    """The p-value among the points that are not an episode's own, which reach whatever follows.

    Without that an outage of more than αn points would seem to be over while it lasts.
    """
    return float((1.0 + max(reaching - own, 0)) / (1.0 + max(size - own, 0)))


@kernel
def follow_episode(r: Record, alarm_bits: float, p_value_threshold: float, total: float, out: Any) -> None:
    """Decides on an alarm, and moves the episode that it opens: see `SeriesVerdicts`."""
    size = r.points[0]
    if out.p_value <= p_value_threshold and out.score >= alarm_bits and out.anomaly_score > 0.0:
        record = out.p_value * (1.0 + size) <= 1.0
        rare = out.block_p_value <= p_value_threshold
        rare = rare or less_for_youth(r, out.score) >= tuned.STRIKING_BITS
        out.strange = record or rare
    own = int(min(r.episode_units, tuned.EPISODE_OWN_MAX))
    stays = grows = False
    if own > 0 and out.score - out.parts[SEASON] >= alarm_bits:
        p_value = min(out.p_value, among_others(points_reaching(r, total), size, own))
        stays = grows = p_value <= p_value_threshold
        if stays and out.lingers:
            alone = points_reaching(r, total - out.parts[SEASON])
            grows = among_others(alone, size, own) <= p_value_threshold
    if out.strange or grows:
        out.alarm = own == 0
        r.episode_units += 1
        r.episode_calm = 0
        out.episode = r.episode_units
    elif stays:
        r.episode_calm = 0
    elif own > 0:
        r.episode_calm += 1
        if r.episode_calm == tuned.EPISODE_CALM_POINTS:
            out.episode = -np.int64(r.episode_units)
            r.episode_units = 0
            r.episode_calm = 0


@cached
def place(table_id: Any, table_row: Any, series: Any) -> int:
    """Slot of `series` in the table (linear probing), or of the empty slot where it belongs."""
    mask = np.uint64(len(table_id) - 1)
    slot = ((series * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while table_row[slot] >= 0 and table_id[slot] != series:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@cached
def find_rows(
    table_id: Any, table_row: Any, series: Any, first: int, held: int, held_max: int, rows: Any, fresh: Any
) -> tuple[int, int]:
    """Writes each row's record number from row `first` on; returns the row it came to and the series held.

    A new series gets the next number and is noted in `fresh`; beyond `held_max` a row gets −1. Stops where
    the table would become more than half full: the caller enlarges it and goes on.
    """
    for i in range(first, len(series)):
        slot = place(table_id, table_row, series[i])
        if table_row[slot] < 0 and held < held_max:
            if 2 * (held + 1) > len(table_id):
                return i, held
            table_id[slot] = series[i]
            table_row[slot] = held
            fresh[held] = series[i]
            held += 1
        rows[i] = table_row[slot]
    return len(series), held


@kernel
def ask_ahead(state: Any, row: int, time_ns: int) -> None:
    """Asks for what the point's time and number tell: its season, and at every second the short shapes."""
    bucket = (time_ns // SEASON_BUCKET_NS) % SEASON_BUCKETS
    hour = (time_ns // WEEK_BUCKET_NS) % WEEK_BUCKETS
    prefetch(state, row, SEASON_OFFSETS[0] + bucket)
    prefetch(state, row, SEASON_OFFSETS[1] + hour)
    prefetch(state, row, SEASON_OFFSETS[2] + 4 * bucket)
    prefetch(state, row, SEASON_OFFSETS[3] + 4 * hour)
    if state[row].seen % SHORT_POINTS == SHORT_POINTS - 1:
        for offset in range(SHORT_OFFSET, SHORT_OFFSET + SHORT_BYTES, LINE_BYTES):
            prefetch(state, row, offset)


_SOURCES = fingerprint(lanes, logarithm, series_kernel, series_novelty, tuned, series_state)


def _row_loop(sources: int) -> Any:
    @cached
    def observe_rows(
        state: Any,
        rows: Any,
        time_ns: Any,
        value: Any,
        cumulative: Any,
        warm_up_points: int,
        alarm_bits: float,
        p_value_threshold: float,
        out: Any,
    ) -> None:
        """Steps each row's series in order; `out` starts zeroed."""
        assert sources >= 0  # closed over, so that the cache knows which sources made the kernel
        means = np.zeros(EXPERTS)
        weighted = np.zeros(EXPERTS)
        for i in range(len(rows)):
            if i + 2 < len(rows) and rows[i + 2] >= 0:
                for offset in range(0, HOT_BYTES, LINE_BYTES):
                    prefetch(state, rows[i + 2], offset)
            if i + 1 < len(rows) and rows[i + 1] >= 0:
                ask_ahead(state, rows[i + 1], time_ns[i + 1])
            o = out[i]
            o.expected = np.nan
            o.low = np.nan
            o.high = np.nan
            o.p_value = 1.0
            o.block_p_value = 1.0
            o.value = value[i]
            if rows[i] < 0:
                o.status = REFUSED
                continue
            r = state[rows[i]]
            if not math.isfinite(value[i]):
                o.status = NOT_FINITE
                continue
            reading = value[i]
            if cumulative[i]:
                reading = rate_of_counter(r, time_ns[i], value[i])
                if math.isnan(reading):
                    o.status = NO_INCREMENT
                    continue
            step(r, time_ns[i], reading, warm_up_points, alarm_bits, p_value_threshold, means, weighted, o)

    return observe_rows


observe_rows = _row_loop(_SOURCES)
