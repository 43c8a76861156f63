"""The numeric coder once more, slow and obvious: one series, Python lists, no state shared with the kernels.

Follows the text of `series_kernel` and `series_tuning`, not their code: dictionaries are lists in order of
use, tails and peaks are whole histories that are counted anew for each point. It uses the project's own
logarithms, which are tested against the C library elsewhere, so that equality can be exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from driftlock.core import series_tuning as t
from driftlock.core.logarithm import asinh_near, exp2, log2_near

DAY_NS = 86_400 * 10**9
KEPT_PEAKS = 16


def single(x: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(x))


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


class Moving:
    """A mean that learns at 1/n until n reaches 1/rate."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def learn(self, x: float, rate: float, seen: int) -> None:
        self.value += max(rate, 1.0 / (seen + 1)) * (x - self.value)


class Dictionary:
    """Remembered vectors, each [slot, last use, blocks]."""

    def __init__(self, vigilance: float) -> None:
        self.vigilance = vigilance
        self.entries: list[tuple[int, int, list[float]]] = []

    def distance(self, entry: list[float], shape: list[float]) -> float:
        total = np.float32(0.0)
        for a, b in zip(entry, shape, strict=True):
            e = np.float32(a) - np.float32(b)
            total = np.float32(total + e * e)
        return float(total)

    def length(self, distance: float, shape: list[float]) -> float:
        return math.sqrt(distance / len(shape))

    def novelty(self, shape: list[float], span: float, now: int) -> float:
        if not self.entries:
            self.entries.append((0, now, [single(x) for x in shape]))
            return 0.0
        scored = [(self.distance(e[2], shape), e[0]) for e in self.entries]
        least, slot = min(scored)
        far = self.length(least, shape) / span if span > 0 else 0.0
        if far > self.vigilance:
            if len(self.entries) < 32:
                slot = len(self.entries)
            else:
                slot = min(self.entries, key=lambda e: (e[1], e[0]))[0]
            blocks = [single(x) for x in shape]
        else:
            old = next(e for e in self.entries if e[0] == slot)[2]
            blocks = [single(a + t.ENTRY_RATE * (x - a)) for a, x in zip(old, shape, strict=True)]
        self.entries = [e for e in self.entries if e[0] != slot] + [(slot, now, blocks)]
        return far


class Values(Dictionary):
    """A dictionary of single values, whose distances are rounded to single precision."""

    def distance(self, entry: list[float], shape: list[float]) -> float:
        return single(abs(np.float32(entry[0]) - np.float32(shape[0])))

    def length(self, distance: float, shape: list[float]) -> float:
        return distance


class Peaks:
    """Location and scale of block maxima."""

    def __init__(self, place: float, scale: float) -> None:
        self.place, self.scale = place, scale
        self.block: list[float] = []

    def excess(self, z: float, seen: int) -> float:
        result = (z - self.place) / self.scale
        self.block.append(z)
        if (seen - t.LEAD_POINTS) % t.PEAK_BLOCK_POINTS == 0:
            delta = min(max(self.block) - self.place, t.PEAK_GROWTH_MAX * self.scale)
            self.place += t.PEAK_RATE * delta
            grown = self.scale + t.PEAK_RATE * (t.PEAK_SPREAD * abs(delta) - self.scale)
            self.scale = max(grown, t.PEAK_SCALE_MIN)
            self.block = []
        return result


@dataclass
class Point:
    status: int = 0
    score: float = 0.0
    anomaly_score: float = 0.0
    p_value: float = 1.0
    block_p_value: float = 1.0
    surprise_bits: float = 0.0
    band_held: bool = False
    expected: float = math.nan
    low: float = math.nan
    high: float = math.nan
    calibration_size: int = 0
    parts: list[float] = field(default_factory=lambda: [0.0] * 6)


def tail_bin(bits: float) -> int:
    if bits < 16:
        return int(4 * max(bits, 0.0))
    return min(64 + int(8 * (log2_near(bits) - 4)), 127)


class OracleSeries:
    def __init__(self, warm_up_points: int) -> None:
        self.warm_up = warm_up_points
        self.seen = 0
        self.in_episode = False
        self.origin = self.unit = 0.0
        self.reading: tuple[float, int] | None = None
        self.low = self.high = self.last = 0.0
        self.fast, self.slow = Moving(), Moving()
        self.season: dict[int, float] = {}
        self.season_seen: dict[int, int] = {}
        self.square = [Moving() for _ in range(5)]
        self.weight = [0.25] * 4 + [0.0]
        self.week: dict[int, float] = {}
        self.week_seen: dict[int, int] = {}
        self.first_ns = 0
        self.bits_mean, self.bits_square = Moving(), Moving()
        self.code_peaks, self.season_peaks, self.level_peaks = (
            Peaks(5.0, 2.0),
            Peaks(3.0, 1.0),
            Peaks(3.0, 1.0),
        )
        self.level_drift, self.level_square = 0.0, Moving()
        self.checked = self.missed = 0
        self.drift, self.drift_square = 0.0, Moving()
        self.level, self.spread = Moving(), Moving()
        self.level_low = self.level_high = 0.0
        self.shape_mean, self.shape_square = Moving(), Moving()
        self.values, self.levels = Values(t.VALUE_VIGILANCE), Values(t.VALUE_VIGILANCE)
        self.short, self.long = Dictionary(t.SHORT_VIGILANCE), Dictionary(t.LONG_VIGILANCE)
        self.pairs: list[float] = []
        self.dozens: list[float] = []
        self.pair_first = self.dozen = 0.0
        self.band = 3.0
        self.block: list[float] = []
        self.maxima: list[int] = []
        self.points = [0] * 128  # how many reached each bin or a higher one
        self.peaks: list[tuple[float, int]] = []

    def observe(self, time_ns: int, value: float, cumulative: bool, *, in_episode: bool) -> Point:
        """`in_episode`: an episode is open, by this point too; see `test_episodes` for when that is."""
        self.in_episode = in_episode
        if not math.isfinite(value):
            return Point(status=3)
        if cumulative:
            before, self.reading = self.reading, (value, time_ns)
            if before is None or time_ns <= before[1]:
                return Point(status=2)
            increase = value - before[0] if value >= before[0] else value
            value = clip(increase, -1.7e308, 1.7e308) / (float(time_ns - before[1]) * 1e-9)
        return self.step(time_ns, value)

    def normalise(self, value: float) -> float:
        difference = clip(value - self.origin, -1.7e308, 1.7e308)
        if difference == 0:
            return 0.0
        if self.unit == 0:
            if abs(difference) <= 1e-12 * max(abs(value), abs(self.origin)):
                return 0.0
            self.unit = abs(difference)
        with np.errstate(over="ignore"):
            return clip(float(np.float64(difference) / self.unit), -1e15, 1e15)

    def step(self, time_ns: int, value: float) -> Point:
        bucket, hour = time_ns // (DAY_NS // 48) % 48, time_ns // (DAY_NS // 24) % 168
        if self.seen == 0:
            self.origin, self.first_ns = value, time_ns
        y = self.normalise(value)
        point = Point()
        self.high -= t.RANGE_FADE * (self.high - self.slow.value)
        self.low += t.RANGE_FADE * (self.slow.value - self.low)
        means = [self.last, self.fast.value, self.slow.value, self.season.get(bucket, self.fast.value)]
        if self.weight[4] > 0 or time_ns - self.first_ns >= 7 * DAY_NS:
            if self.weight[4] == 0:
                self.square[4].value = self.square[3].value
            means.append(self.week.get(hour, means[3]))
        self.expect(point, y, means)
        span = max(self.high, y) - min(self.low, y)
        level = self.bent(y, span)
        if self.high > self.low or y != 0:
            self.code(point, y, means)
            point.parts[1] = t.SEASON_WEIGHT * self.departure(y, bucket, means)
            point.parts[1] += self.level_departure(level)
        self.learn_means(y, bucket, hour)
        point.parts[2] = t.VALUE_WEIGHT * log2_near(1 + self.value_novelty(y, level, span) / t.VALUE_UNIT)
        self.low, self.high = min(self.low, y), max(self.high, y)
        span = math.sqrt(self.shape_square.value) + t.SHAPE_FLOOR * (self.high - self.low)
        point.parts[3] = t.SHORT_WEIGHT * log2_near(1 + self.short_novelty(y, span))
        point.parts[4] = t.LONG_WEIGHT * log2_near(1 + self.long_novelty(y, span))
        delta = y - self.shape_mean.value
        self.shape_mean.learn(y, t.SHAPE_RATE, self.seen)
        self.shape_square.learn(delta * delta, t.SHAPE_RATE, self.seen)
        self.judge(point)
        self.seen += 1
        return point

    def expect(self, point: Point, y: float, means: list[float]) -> None:
        mean = square = 0.0
        for w, m, s in zip(self.weight, means, self.square, strict=False):
            mean += w * m
            square += w * s.value
        scale = math.sqrt(square) + 1e-9 * (self.high - self.low)
        half = 0.0
        point.band_held = self.checked >= t.BAND_CHECKED_MIN and self.missed <= t.BAND_MISS_MAX * self.checked
        if scale > 0:
            if self.checked == t.BAND_CHECKED_MAX:
                self.checked, self.missed = self.checked // 2, self.missed // 2
            self.checked += 1
            self.missed += abs(y - mean) / scale > self.band
            half = scale * self.band
            missed = 1.0 if abs(y - mean) / scale > self.band else 0.0
            self.band = clip(self.band * (1.0 + t.BAND_RATE * (missed - t.BAND_MISS)), 1e-3, 1e6)
        point.expected = self.origin + self.unit * mean
        point.low = self.origin + self.unit * (mean - half)
        point.high = self.origin + self.unit * (mean + half)

    def code(self, point: Point, y: float, means: list[float]) -> None:
        floor = t.SCALE_FLOOR * max(self.high - self.low, 1e-3)
        density = 0.0
        for j in range(len(means)):
            scale = math.sqrt(self.square[j].value) + floor
            u = (y - means[j]) / scale
            tail = 1 + u * u * (1 / 3)
            self.weight[j] *= max(0.3675525969478614 / (scale * tail * tail), 1e-100)
            density += self.weight[j]
        taken = (1 - len(means) * t.EXPERT_SHARE) / density
        for j in range(len(means)):
            self.weight[j] = taken * self.weight[j] + t.EXPERT_SHARE
            error = (y - means[j]) * (y - means[j])
            if self.seen > t.LEAD_POINTS:
                error = min(error, t.ERROR_CAP * self.square[j].value + floor * floor)
            self.square[j].learn(error, t.ERROR_RATE, self.seen)
        bits = -log2_near(density)
        delta = bits - self.bits_mean.value
        point.surprise_bits = max(0.0, delta)
        deviation = math.sqrt(self.bits_square.value)
        z = delta / (deviation + t.BITS_FLOOR)
        if self.seen > t.BITS_CAP_AFTER:
            delta = clip(delta, -t.BITS_CAP * deviation, t.BITS_CAP * deviation)
        rate = max(t.BITS_RATE, 1 / (self.seen + 1))
        self.bits_mean.value += rate * delta
        self.bits_square.value += rate * (delta * delta - self.bits_square.value)
        if self.seen > t.LEAD_POINTS:
            point.parts[0] = clip(self.code_peaks.excess(z, self.seen) + t.PEAK_HEAD, 0.0, t.CODE_BITS_MAX)

    def departure(self, y: float, bucket: int, means: list[float]) -> float:
        if bucket not in self.season:
            return 0.0
        weekly = len(means) == 5 and self.square[4].value < t.WEEK_GAIN * self.square[3].value
        self.drift += t.SEASON_DRIFT_RATE * (y - means[4 if weekly else 3] - self.drift)
        floor = t.SEASON_FLOOR * (self.high - self.low) + 1e-12
        z = abs(self.drift) / (math.sqrt(self.drift_square.value) + floor)
        error = self.drift * self.drift
        bits = 0.0
        if self.seen > t.LEAD_POINTS:
            bits = clip(self.season_peaks.excess(z, self.seen), 0.0, t.SEASON_BITS_MAX)
            error = min(error, t.ERROR_CAP * self.drift_square.value + floor * floor)
        self.drift_square.learn(error, t.SEASON_ERROR_RATE, self.seen)
        return bits

    def learn_means(self, y: float, bucket: int, hour: int) -> None:
        self.last = y
        self.fast.learn(y, t.FAST_RATE, self.seen)
        self.slow.learn(y, t.SLOW_RATE, self.seen)
        for season, seen, at, usual in (
            (self.season, self.season_seen, bucket, t.SEASON_RATE),
            (self.week, self.week_seen, hour, t.WEEK_RATE),
        ):
            count = seen[at] = min(seen.get(at, 0) + 1, 255)
            rate = max(usual, 1 / count)
            if self.in_episode and usual * count >= 1:
                rate *= t.EPISODE_SEASON_SHARE
            old = season.get(at, 0.0)
            season[at] = single(old + rate * (y - old))

    def bent(self, y: float, span: float) -> float:
        delta = y - self.level.value
        bent = asinh_near(delta / (self.spread.value + t.LEVEL_FLOOR * span)) if span > 0 else 0.0
        self.level.learn(y, t.LEVEL_RATE, self.seen)
        self.spread.learn(abs(delta), t.LEVEL_RATE, self.seen)
        self.level_low, self.level_high = min(self.level_low, bent), max(self.level_high, bent)
        return bent

    def level_departure(self, bent: float) -> float:
        if self.seen <= t.LEAD_POINTS:
            return 0.0
        self.level_drift += t.LEVEL_DRIFT_RATE * (bent - self.level_drift)
        z = abs(self.level_drift) / (math.sqrt(self.level_square.value) + t.LEVEL_SCALE_FLOOR)
        bits = clip(self.level_peaks.excess(z, self.seen), 0.0, t.LEVEL_BITS_MAX)
        most = t.ERROR_CAP * self.level_square.value + t.LEVEL_ERROR_FLOOR
        self.level_square.learn(min(self.level_drift**2, most), t.LEVEL_ERROR_RATE, self.seen)
        return bits

    def value_novelty(self, y: float, bent: float, span: float) -> float:
        plain = self.values.novelty([y], span, self.seen)
        return plain + self.levels.novelty([bent], self.level_high - self.level_low, self.seen)

    def short_novelty(self, y: float, span: float) -> float:
        if self.seen % 2 == 0:
            self.pair_first = y
            return 0.0
        first = self.pair_first
        middle = 0.5 * (y + first)
        extreme = y if abs(y - self.shape_mean.value) > abs(first - self.shape_mean.value) else first
        plain = abs(extreme - middle) < t.EXTREME_SHARE * (self.high - self.low)
        self.pairs = [*self.pairs, single(middle if plain else extreme)][-6:]
        if len(self.pairs) < 6 or self.high <= self.low:
            return 0.0
        return self.short.novelty(self.pairs, span, self.seen)

    def long_novelty(self, y: float, span: float) -> float:
        self.dozen += y / 12
        if self.seen % 12 != 11:
            return 0.0
        self.dozens = [*self.dozens, single(self.dozen)][-12:]
        self.dozen = 0.0
        if len(self.dozens) < 12 or self.high <= self.low:
            return 0.0
        return self.long.novelty(self.dozens, span, self.seen)

    def judge(self, point: Point) -> None:
        total = 0.0
        for bits in point.parts[:5]:
            total += bits
        if self.seen < self.warm_up:
            point.status = 1
            point.parts = [0.0] * 6
            return
        like = tail_bin(total * (1 - t.RECURRENCE_SLACK_SHARE) - t.RECURRENCE_SLACK)
        often = t.RECURRENCE_SHARE * sum(m >= like for m in self.maxima)
        recurrence = t.RECURRENCE_WEIGHT * log2_near(1 + often)
        point.parts[5] = -min(recurrence, total)
        point.score = max(0.0, total - recurrence)
        point.calibration_size = self.points[0]
        reached = self.points[max(tail_bin(total) - 1, 0)]
        point.p_value = (1 + reached) / (1 + point.calibration_size)
        blocks_reached = sum(m >= tail_bin(total) for m in self.maxima)
        point.block_p_value = (1 + blocks_reached) / (1 + len(self.maxima))
        self.points = [count + (place <= tail_bin(total)) for place, count in enumerate(self.points)]
        if self.points[0] == 65_535:
            self.points = [count // 2 for count in self.points]
        if self.opens(point.score):
            youth = t.YOUTH_WEIGHT * log2_near(1 + t.YOUTH_POINTS / self.seen)
            point.anomaly_score = 1 - exp2(-max(point.score - youth, point.score / 4) / 16)
        self.block.append(total)
        if len(self.block) == 64:
            self.maxima.append(tail_bin(max(0.0, *self.block)))
            self.block = []

    def opens(self, bits: float) -> bool:
        reach = clip(int(t.EPISODE_SHARE * self.seen), t.EPISODE_POINTS_MIN, t.EPISODE_POINTS_MAX)
        self.peaks = [p for p in self.peaks if p[1] + reach >= self.seen and p[0] >= bits]
        if bits <= 0:
            return False
        if len(self.peaks) == KEPT_PEAKS:
            self.peaks[-1] = (self.peaks[-1][0], self.seen)
            return False
        self.peaks.append((single(bits), self.seen))
        return len(self.peaks) == 1
