"""One step of the prequential coder for a numeric series: score a point, then learn it.

Owns the arithmetic of a step, in compiled leaves that each know one part of the state. Knows no series
table, no settings, no threshold. Every leaf that scores runs before its state learns the point.

The score of a point is a sum of bits, so that an explanation can split it without remainder:

- `code`: what the point costs above what its series' worst points usually cost, under a mixture of heavy
  tailed predictors (last value, fast and slow mean, mean of this time of day and of this hour of the week);
- `season`: how far the smoothed departure from the mean of this time of day exceeds its usual worst;
- `value`, `short`, `long`: how far the value, the shape of the last 12 and of the last 144 points lie from
  all that a small dictionary remembers, which is Lempel and Ziv's idea carried to numbers;
- less `recurrence`: the logarithm of how often the series' own past blocks reached as much.

A Student t of 3 degrees of freedom, since its density needs no power function. Prequential: Dawid,
"Statistical theory: the prequential approach", JRSS A 147 (1984). Mixture: Herbster and Warmuth, "Tracking
the best expert", Machine Learning 32 (1998).
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from driftlock.core import series_tuning as tuned
from driftlock.core.logarithm import asinh, log2
from driftlock.core.series_state import (
    ENTRIES,
    EPISODE_PEAKS,
    EXPERTS,
    LONG_BLOCKS,
    SEASON_BUCKETS,
    SHORT_BLOCKS,
    TAIL_BINS,
    WEEK_BUCKETS,
)

Record = Any
"""A scalar record of `series_state.STATE`: numba types it, mypy cannot."""

kernel = numba.njit(error_model="numpy")
"""Leaves are not cached: the loop that inlines them is, see `series_rows`."""

SEASON_BUCKET_NS = 86_400_000_000_000 // SEASON_BUCKETS
WEEK_BUCKET_NS = 3_600_000_000_000
WEEK_NS = 604_800_000_000_000
SHORT_POINTS = 2  # a block of the short shape
LONG_POINTS = 12  # a block of the long shape
TAIL_BLOCK_POINTS = 64
"""Points of a block whose maximum is one observation of the tail."""
TAIL_POINTS_MAX = 65_535
"""At this many scored points all counts of points are halved: it is the most that 16 bits hold."""
VALUE_BOUND = 1e15
"""Normalised values beyond are cut to it, so that squares and 32-bit entries stay finite."""
TAIL_BLOCKS_MAX = 32_768
"""At this many blocks all counts are halved: the 16-bit counts cannot overflow, the past fades slowly."""

_STUDENT = 0.3675525969478614  # 2 / (π √3): the density of Student's t with 3 degrees of freedom at 0
_CODE, _SEASON = 0, 1  # which peaks


@kernel
def predictions(r: Record, time_ns: int, bucket: int, means: Any) -> int:
    """Writes the experts' means: last value, fast mean, slow mean, mean of this time of day, of this hour of
    the week. Returns how many take part: the last joins, for good, when a week has passed.
    """
    means[0] = r.last
    means[1] = r.mean_fast
    means[2] = r.mean_slow
    means[3] = np.float64(r.season[bucket]) if r.season_seen[bucket] > 0 else r.mean_fast
    hour = (time_ns // WEEK_BUCKET_NS) % WEEK_BUCKETS
    if r.weight[4] == 0.0:
        if np.float64(time_ns) - np.float64(r.time_first) < WEEK_NS:
            return EXPERTS - 1
        r.square[4] = r.square[3]
    means[4] = np.float64(r.week[hour]) if r.week_seen[hour] > 0 else means[3]
    return EXPERTS


@kernel
def code_length(r: Record, y: float, means: Any, experts: int) -> float:
    """Bits of `y` under the mixture of the first `experts`; updates their weights and errors.

    Needs a range above 0.
    """
    floor = tuned.SCALE_FLOOR * max(r.high - r.low, 1e-3)
    density = 0.0
    for j in range(experts):
        scale = math.sqrt(r.square[j]) + floor
        u = (y - means[j]) / scale
        tail = 1.0 + u * u / 3.0
        r.weight[j] *= max(_STUDENT / (scale * tail * tail), 1e-100)
        density += r.weight[j]
    rate = max(tuned.ERROR_RATE, 1.0 / (r.seen + 1))
    for j in range(experts):
        r.weight[j] = (1.0 - experts * tuned.EXPERT_SHARE) * r.weight[j] / density + tuned.EXPERT_SHARE
        error = (y - means[j]) * (y - means[j])
        if r.seen > tuned.LEAD_POINTS:
            error = min(error, tuned.ERROR_CAP * r.square[j] + floor * floor)
        r.square[j] += rate * (error - r.square[j])
    return -log2(density)


@kernel
def standardise(r: Record, bits: float) -> float:
    """The code length in deviations from the series' own mean code length, which then learns it."""
    deviation = math.sqrt(r.bits_square)
    z = (bits - r.bits_mean) / (deviation + tuned.BITS_FLOOR)
    delta = bits - r.bits_mean
    if r.seen > tuned.BITS_CAP_AFTER:
        delta = min(max(delta, -tuned.BITS_CAP * deviation), tuned.BITS_CAP * deviation)
    rate = max(tuned.BITS_RATE, 1.0 / (r.seen + 1))
    r.bits_mean += rate * delta
    r.bits_square += rate * (delta * delta - r.bits_square)
    return float(z)


@kernel
def above_peaks(r: Record, which: int, z: float) -> float:
    """How far `z` exceeds the usual maximum of a block, in the scale of such maxima; learns the maxima."""
    excess = (z - r.peak_place[which]) / r.peak_scale[which]
    r.peak_block[which] = max(r.peak_block[which], z)
    if (r.seen - tuned.LEAD_POINTS) % tuned.PEAK_BLOCK_POINTS == 0:
        scale = r.peak_scale[which]
        delta = min(r.peak_block[which] - r.peak_place[which], tuned.PEAK_GROWTH_MAX * scale)
        r.peak_place[which] += tuned.PEAK_RATE * delta
        scale += tuned.PEAK_RATE * (tuned.PEAK_SPREAD * abs(delta) - scale)
        r.peak_scale[which] = max(scale, tuned.PEAK_SCALE_MIN)
        r.peak_block[which] = -1e9
    return float(excess)


@kernel
def code_excess(r: Record, bits: float) -> float:
    """Bits by which the code length `bits` exceeds what the series' worst points usually cost."""
    z = standardise(r, bits)
    if r.seen <= tuned.LEAD_POINTS:
        return 0.0
    return min(max(0.0, above_peaks(r, _CODE, z) + tuned.PEAK_HEAD), tuned.CODE_BITS_MAX)


@kernel
def season_departure(r: Record, y: float, bucket: int, means: Any, experts: int) -> tuple[float, bool]:
    """Bits by which a lasting departure from this time of day exceeds the usual worst; before learning it.

    Catches what the mixture forgives: a day that goes on smoothly, but at another day's level.
    Where the hour of the week predicts clearly better than the time of day, it is the season.
    Tells too whether the departure only lingers: it is smoothed, and this point does not add to it.
    """
    if r.season_seen[bucket] == 0:
        return 0.0, False
    season = means[3]
    if experts == EXPERTS and r.square[4] < tuned.WEEK_GAIN * r.square[3]:
        season = means[4]
    r.season_drift += tuned.SEASON_DRIFT_RATE * (y - season - r.season_drift)
    floor = tuned.SEASON_FLOOR * (r.high - r.low) + 1e-12
    z = abs(r.season_drift) / (math.sqrt(r.season_square) + floor)
    error = r.season_drift * r.season_drift
    excess = 0.0
    if r.seen > tuned.LEAD_POINTS:
        excess = min(max(0.0, above_peaks(r, _SEASON, z)), tuned.SEASON_BITS_MAX)
        error = min(error, tuned.ERROR_CAP * r.season_square + floor * floor)
    r.season_square += max(tuned.SEASON_ERROR_RATE, 1.0 / (r.seen + 1)) * (error - r.season_square)
    lingers = (y - season) * r.season_drift < r.season_drift * r.season_drift
    return excess, bool(lingers)


@kernel
def fade_range(r: Record) -> None:
    """Lets the running range shrink towards the slow mean."""
    r.high -= tuned.RANGE_FADE * (r.high - r.mean_slow)
    r.low += tuned.RANGE_FADE * (r.mean_slow - r.low)


@kernel
def oldest(used: Any) -> int:
    """The entry to give up: an empty one, else the least recently used."""
    best = 0
    for j in range(1, ENTRIES):
        if used[j] < used[best]:
            best = j
    return best


@kernel
def novelty(entries: Any, used: Any, y: float, span: float, now: int) -> float:
    """Distance of `y` to the nearest entry over `span`; remembers it when far, else moves its entry closer.

    Empty entries are infinite. Four minima side by side, here and below, since that compiles to vector code.
    """
    single = np.float32(y)
    a = b = c = d = np.float32(np.inf)
    for j in range(0, ENTRIES, 4):
        e = abs(entries[j] - single)
        a = e if e < a else a
        e = abs(entries[j + 1] - single)
        b = e if e < b else b
        e = abs(entries[j + 2] - single)
        c = e if e < c else c
        e = abs(entries[j + 3] - single)
        d = e if e < d else d
    least = min(a, b, c, d)
    distance = np.float64(least)
    far = 0.0
    if distance < np.inf:
        far = distance / span if span > 0.0 else 0.0
    if distance == np.inf or far > tuned.VALUE_VIGILANCE:
        place = oldest(used)
        entries[place] = single
    else:
        place = 0
        while abs(entries[place] - single) != least:
            place += 1
        entries[place] += tuned.ENTRY_RATE * (y - np.float64(entries[place]))
    used[place] = now
    return float(far)


@kernel
def nearest_shape(entries: Any, shape: Any) -> tuple[int, float]:
    """The entry nearest to `shape` and its squared distance, summed in single precision."""
    place = 0
    least = np.float32(np.inf)
    for j in range(0, ENTRIES, 4):
        a = b = c = d = np.float32(0.0)
        for k in range(len(shape)):
            value = shape[k]
            e = entries[k, j] - value
            a += e * e
            e = entries[k, j + 1] - value
            b += e * e
            e = entries[k, j + 2] - value
            c += e * e
            e = entries[k, j + 3] - value
            d += e * e
        if a < least:
            place, least = j, a
        if b < least:
            place, least = j + 1, b
        if c < least:
            place, least = j + 2, c
        if d < least:
            place, least = j + 3, d
    return place, np.float64(least)


@kernel
def shape_novelty(entries: Any, used: Any, shape: Any, span: float, vigilance: float, now: int) -> float:
    """As `novelty`, for a shape: root mean squared distance of its blocks. Entries lie as (block, entry)."""
    place, distance = nearest_shape(entries, shape)
    far = 0.0 if distance == np.inf else math.sqrt(distance / len(shape)) / span
    is_new = distance == np.inf or far > vigilance
    if is_new:
        place = oldest(used)
    for k in range(len(shape)):
        if is_new:
            entries[k, place] = shape[k]
        else:
            entries[k, place] += tuned.ENTRY_RATE * (np.float64(shape[k]) - np.float64(entries[k, place]))
    used[place] = now
    return far


@kernel
def push(shape: Any, value: float) -> None:
    """Moves the shape one block on."""
    for k in range(len(shape) - 1):
        shape[k] = shape[k + 1]
    shape[len(shape) - 1] = value


@kernel
def value_novelty(r: Record, y: float) -> float:
    """Novelty of the value in its running range, and again on a logarithmic scale about its slow mean."""
    span = max(r.high, y) - min(r.low, y)
    plain = novelty(r.value_entry, r.value_used, y, span, r.seen + 1)
    delta = y - r.level_mean
    level = asinh(delta / (r.level_spread + tuned.LEVEL_FLOOR * span)) if span > 0.0 else 0.0
    rate = max(tuned.LEVEL_RATE, 1.0 / (r.seen + 1))
    r.level_mean += rate * delta
    r.level_spread += rate * (abs(delta) - r.level_spread)
    r.level_low = min(r.level_low, level)
    r.level_high = max(r.level_high, level)
    return plain + novelty(r.level_entry, r.level_used, level, r.level_high - r.level_low, r.seen + 1)


@kernel
def short_novelty(r: Record, y: float, span: float) -> float:
    """Novelty of the shape of the last 6 pairs; a pair is its more extreme value, if that stands out."""
    if r.seen % SHORT_POINTS != SHORT_POINTS - 1:
        r.pair_first = y
        return 0.0
    middle = 0.5 * (y + r.pair_first)
    extreme = y if abs(y - r.shape_mean) > abs(r.pair_first - r.shape_mean) else r.pair_first
    push(r.short_now, middle if abs(extreme - middle) < tuned.EXTREME_SHARE * (r.high - r.low) else extreme)
    if r.seen + 1 < SHORT_POINTS * SHORT_BLOCKS or r.high <= r.low:
        return 0.0
    return shape_novelty(r.short_entry, r.short_used, r.short_now, span, tuned.SHORT_VIGILANCE, r.seen + 1)


@kernel
def long_novelty(r: Record, y: float, span: float) -> float:
    """Novelty of the shape of the last 12 means of 12 points."""
    r.long_sum += y / LONG_POINTS
    if r.seen % LONG_POINTS != LONG_POINTS - 1:
        return 0.0
    push(r.long_now, r.long_sum)
    r.long_sum = 0.0
    if r.seen + 1 < LONG_POINTS * LONG_BLOCKS or r.high <= r.low:
        return 0.0
    return shape_novelty(r.long_entry, r.long_used, r.long_now, span, tuned.LONG_VIGILANCE, r.seen + 1)


@kernel
def taught(rate: float, seen: int, share: float) -> float:
    """How far a season moves at its `seen`-th point; in full until it is the mean of enough points."""
    return 1.0 / seen if seen * rate < 1.0 else share * rate


@kernel
def learn_means(r: Record, time_ns: int, y: float, bucket: int) -> None:
    """Moves the predictors towards `y`; the seasons less while an episode is open.

    Else an outage is what is expected at its time of the next day, and the day as it should be an alarm.
    """
    share = tuned.EPISODE_SEASON_SHARE if r.episode_units > 0 else 1.0
    r.last = y
    r.mean_fast += max(tuned.FAST_RATE, 1.0 / (r.seen + 1)) * (y - r.mean_fast)
    r.mean_slow += max(tuned.SLOW_RATE, 1.0 / (r.seen + 1)) * (y - r.mean_slow)
    if r.season_seen[bucket] < 255:
        r.season_seen[bucket] += 1
    rate = taught(tuned.SEASON_RATE, r.season_seen[bucket], share)
    r.season[bucket] += rate * (y - np.float64(r.season[bucket]))
    hour = (time_ns // WEEK_BUCKET_NS) % WEEK_BUCKETS
    if r.week_seen[hour] < 255:
        r.week_seen[hour] += 1
    rate = taught(tuned.WEEK_RATE, r.week_seen[hour], share)
    r.week[hour] += rate * (y - np.float64(r.week[hour]))


@kernel
def learn_band(r: Record, distance: float) -> float:
    """The half-width of the expected band, in the mixture's deviations, then one step of its width.

    The width grows at a miss and shrinks at a hit so that in the long run 5 % miss, whatever the series:
    Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
    """
    factor = r.band_factor
    missed = 1.0 if distance > factor else 0.0
    r.band_factor = min(max(factor * (1.0 + tuned.BAND_RATE * (missed - tuned.BAND_MISS)), 1e-3), 1e6)
    return np.float64(factor)


@kernel
def tail_bin(bits: float) -> int:
    """Bin of the tail histogram: quarters of a bit to 16 bits, then eighths of an octave."""
    if bits < 16.0:
        return int(4.0 * max(bits, 0.0))
    return min(64 + int(8.0 * (log2(bits) - 4.0)), TAIL_BINS - 1)


@kernel
def blocks_reaching(r: Record, bits: float) -> int:
    """Past blocks whose maximum reached the bin of `bits`; ties count, which keeps the p-value valid."""
    return int(r.tail[tail_bin(bits)])


@kernel
def points_reaching(r: Record, bits: float) -> int:
    """Earlier scored points that came within a bin of `bits`, or beyond it.

    Ties count, which keeps p-values valid. The bin of slack is for scores that grow while a season is
    learned: without it, counts with a season realised 1.3 to 1.6 α for their first weeks.
    """
    return int(r.points[max(tail_bin(bits) - 1, 0)])


@kernel
def learn_point(r: Record, bits: float) -> None:
    """Takes a scored point into the ranks of the later ones, as `learn_tail` does a block.

    `points[0]` counts all. Writing a prefix a point is cheaper than summing a suffix: most scores are low.
    """
    for j in range(tail_bin(bits) + 1):
        r.points[j] += 1
    if r.points[0] >= TAIL_POINTS_MAX:
        for j in range(TAIL_BINS):
            r.points[j] //= 2


@kernel
def learn_tail(r: Record, bits: float, tested: int) -> None:
    """Takes `bits` into the block's maximum; a full block becomes one observation of the tail.

    `tested` counts the points before this one that were tested, so that only full blocks are observed.
    `tail[j]` counts the blocks that reached bin j or a higher one, so `tail[0]` counts all.
    """
    r.tail_block = max(r.tail_block, bits)
    if tested % TAIL_BLOCK_POINTS != TAIL_BLOCK_POINTS - 1:
        return
    for j in range(tail_bin(r.tail_block) + 1):
        r.tail[j] += 1
    r.tail_block = 0.0
    if r.tail[0] >= TAIL_BLOCKS_MAX:
        for j in range(TAIL_BINS):
            r.tail[j] //= 2


@kernel
def opens_episode(r: Record, bits: float) -> bool:
    """Whether `bits` is above all scores of the last 5 % of points (64 to 210): only then is it news.

    Keeps the decreasing peaks of that span. When more than there is room for, the smallest stands in for
    what follows it, which can only suppress.
    """
    share = int(tuned.EPISODE_SHARE * r.seen)
    reach = min(max(share, tuned.EPISODE_POINTS_MIN), tuned.EPISODE_POINTS_MAX)
    kept = 0
    for j in range(r.peaks):
        if np.int64(r.peak_at[j]) + reach >= r.seen and np.float64(r.peak_bits[j]) >= bits:
            r.peak_bits[kept] = r.peak_bits[j]
            r.peak_at[kept] = r.peak_at[j]
            kept += 1
    r.peaks = kept
    if bits <= 0.0:
        return False
    if kept == EPISODE_PEAKS:
        r.peak_at[kept - 1] = r.seen
        return False
    r.peak_bits[kept] = bits
    r.peak_at[kept] = r.seen
    r.peaks = kept + 1
    return kept == 0
