"""One step of the prequential coder for a numeric series: score a point, then learn it.

Owns the arithmetic of a step, in compiled leaves that each know one part of the state. Knows no series
table, no settings, no threshold. Every leaf that scores runs before its state learns the point.

The score of a point is a sum of bits, so that an explanation can split it without remainder:

- `code`: what the point costs above what its series' worst points usually cost, under a mixture of heavy
  tailed predictors (last value, fast and slow mean, mean of this time of day and of this hour of the week);
- `season`: how far the smoothed departures from the mean of this time of day, and from the usual level,
  exceed their usual worst;
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
from driftlock.core.logarithm import asinh_near, log2_near
from driftlock.core.series_state import (
    EPISODE_PEAKS,
    EXPERTS,
    SEASON_BUCKETS,
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
TAIL_BLOCK_POINTS = 64
"""Points of a block whose maximum is one observation of the tail."""
TAIL_POINTS_MAX = 65_535
"""At this many scored points all counts of points are halved: it is the most that 16 bits hold."""
VALUE_BOUND = 1e15
"""Normalised values beyond are cut to it, so that squares and 32-bit entries stay finite."""
TAIL_BLOCKS_MAX = 32_768
"""At this many blocks all counts are halved: the 16-bit counts cannot overflow, the past fades slowly."""

BINS_AT_ONCE = 16
"""Bins that one vector instruction counts up."""

_STUDENT = 0.3675525969478614  # 2 / (π √3): the density of Student's t with 3 degrees of freedom at 0
_CODE, _SEASON, _LEVEL = 0, 1, 2  # which peaks


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
def densities(r: Record, y: float, means: Any, floor: float, first: int, last: int, weighted: Any) -> None:
    """Writes each expert's weight times its density at `y`."""
    for j in range(first, last):
        scale = math.sqrt(r.square[j]) + floor
        u = (y - means[j]) / scale
        tail = 1.0 + u * u * (1.0 / 3.0)
        weighted[j] = r.weight[j] * max(_STUDENT / (scale * tail * tail), 1e-100)


@kernel
def learn_experts(
    r: Record,
    y: float,
    means: Any,
    floor: float,
    first: int,
    last: int,
    weighted: Any,
    taken: float,
    rate: float,
) -> None:
    """Moves weights and mean squared errors; `taken` is what each weighted density counts in the weight."""
    cap = tuned.ERROR_CAP if r.seen > tuned.LEAD_POINTS else np.inf
    for j in range(first, last):
        r.weight[j] = taken * weighted[j] + tuned.EXPERT_SHARE
        error = min((y - means[j]) * (y - means[j]), cap * r.square[j] + floor * floor)
        r.square[j] += rate * (error - r.square[j])


@kernel
def code_length(r: Record, y: float, means: Any, experts: int, youth: float, weighted: Any) -> float:
    """Bits of `y` under the mixture of the first `experts`; updates their weights and errors.

    Needs a range above 0. The four experts that are always there go through loops of a length that the
    compiler knows, which it makes vector code of; the week's follows by itself.
    """
    floor = tuned.SCALE_FLOOR * max(r.high - r.low, 1e-3)
    rate = max(tuned.ERROR_RATE, youth)
    densities(r, y, means, floor, 0, EXPERTS - 1, weighted)
    weighted[EXPERTS - 1] = 0.0
    if experts == EXPERTS:
        densities(r, y, means, floor, EXPERTS - 1, EXPERTS, weighted)
    density = 0.0
    for j in range(EXPERTS):
        density += weighted[j]
    taken = (1.0 - experts * tuned.EXPERT_SHARE) / density
    learn_experts(r, y, means, floor, 0, EXPERTS - 1, weighted, taken, rate)
    if experts == EXPERTS:
        learn_experts(r, y, means, floor, EXPERTS - 1, EXPERTS, weighted, taken, rate)
    return -log2_near(density)


@kernel
def standardise(r: Record, bits: float, youth: float) -> float:
    """The code length in deviations from the series' own mean code length, which then learns it."""
    deviation = math.sqrt(r.bits_square)
    z = (bits - r.bits_mean) / (deviation + tuned.BITS_FLOOR)
    delta = bits - r.bits_mean
    if r.seen > tuned.BITS_CAP_AFTER:
        delta = min(max(delta, -tuned.BITS_CAP * deviation), tuned.BITS_CAP * deviation)
    rate = max(tuned.BITS_RATE, youth)
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
def code_excess(r: Record, bits: float, youth: float) -> float:
    """Bits by which the code length `bits` exceeds what the series' worst points usually cost."""
    z = standardise(r, bits, youth)
    if r.seen <= tuned.LEAD_POINTS:
        return 0.0
    return min(max(0.0, above_peaks(r, _CODE, z) + tuned.PEAK_HEAD), tuned.CODE_BITS_MAX)


@kernel
def season_departure(
    r: Record, y: float, bucket: int, means: Any, experts: int, youth: float
) -> tuple[float, bool]:
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
    r.season_square += max(tuned.SEASON_ERROR_RATE, youth) * (error - r.season_square)
    lingers = (y - season) * r.season_drift < r.season_drift * r.season_drift
    return excess, bool(lingers)


@kernel
def fade_range(r: Record) -> None:
    """Lets the running range shrink towards the slow mean."""
    r.high -= tuned.RANGE_FADE * (r.high - r.mean_slow)
    r.low += tuned.RANGE_FADE * (r.mean_slow - r.low)


@kernel
def bent_level(r: Record, y: float, span: float, youth: float) -> float:
    """`y` on a logarithmic scale about its slow mean, in mean deviations; these then learn it."""
    delta = y - r.level_mean
    level = asinh_near(delta / (r.level_spread + tuned.LEVEL_FLOOR * span)) if span > 0.0 else 0.0
    rate = max(tuned.LEVEL_RATE, youth)
    r.level_mean += rate * delta
    r.level_spread += rate * (abs(delta) - r.level_spread)
    r.level_low = min(r.level_low, level)
    r.level_high = max(r.level_high, level)
    return float(level)


@kernel
def level_departure(r: Record, level: float, youth: float) -> tuple[float, bool]:
    """As `season_departure`, from the usual level on the bent scale, where a burst counts little.

    Catches a level that lasts in a series of bursts or coarse counts, which the mean and the season of raw
    values do not.
    """
    if r.seen <= tuned.LEAD_POINTS:
        return 0.0, False
    r.level_drift += tuned.LEVEL_DRIFT_RATE * (level - r.level_drift)
    square = r.level_drift * r.level_drift
    z = abs(r.level_drift) / (math.sqrt(r.level_square) + tuned.LEVEL_SCALE_FLOOR)
    excess = min(max(0.0, above_peaks(r, _LEVEL, z)), tuned.LEVEL_BITS_MAX)
    error = min(square, tuned.ERROR_CAP * r.level_square + tuned.LEVEL_ERROR_FLOOR)
    r.level_square += max(tuned.LEVEL_ERROR_RATE, youth) * (error - r.level_square)
    return excess, bool(level * r.level_drift < square)


@kernel
def taught(rate: float, seen: int, share: float) -> float:
    """How far a season moves at its `seen`-th point; in full until it is the mean of enough points."""
    return 1.0 / seen if seen * rate < 1.0 else share * rate


@kernel
def learn_means(r: Record, time_ns: int, y: float, bucket: int, youth: float) -> None:
    """Moves the predictors towards `y`; the seasons less while an episode is open.

    Else an outage is what is expected at its time of the next day, and the day as it should be an alarm.
    """
    share = tuned.EPISODE_SEASON_SHARE if r.episode_units > 0 else 1.0
    r.last = y
    r.mean_fast += max(tuned.FAST_RATE, youth) * (y - r.mean_fast)
    r.mean_slow += max(tuned.SLOW_RATE, youth) * (y - r.mean_slow)
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
def band_holds(r: Record) -> bool:
    """Whether the band kept what it promises of enough earlier points: only then is it told."""
    return bool(
        r.band_points >= tuned.BAND_CHECKED_MIN and r.band_missed <= tuned.BAND_MISS_MAX * r.band_points
    )


@kernel
def learn_band(r: Record, distance: float) -> float:
    """The half-width of the expected band, in the mixture's deviations, then one step of its width.

    The width grows at a miss and shrinks at a hit so that in the long run 5 % miss, whatever the series:
    Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
    """
    factor = r.band_factor
    missed = 1.0 if distance > factor else 0.0
    if r.band_points == tuned.BAND_CHECKED_MAX:
        r.band_points //= 2
        r.band_missed //= 2
    r.band_points += 1
    r.band_missed += 1 if distance > factor else 0
    r.band_factor = min(max(factor * (1.0 + tuned.BAND_RATE * (missed - tuned.BAND_MISS)), 1e-3), 1e6)
    return np.float64(factor)


@kernel
def tail_bin(bits: float) -> int:
    """Bin of the tail histogram: quarters of a bit to 16 bits, then eighths of an octave."""
    if bits < 16.0:
        return int(4.0 * max(bits, 0.0))
    return min(64 + int(8.0 * (log2_near(bits) - 4.0)), TAIL_BINS - 1)


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
    most = tail_bin(bits)
    for first in range(0, most + 1, BINS_AT_ONCE):
        for j in range(first, first + BINS_AT_ONCE):
            r.points[j] += np.uint16(j <= most)
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
