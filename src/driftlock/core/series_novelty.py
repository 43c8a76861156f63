"""How far a point lies from all that a series remembers: Lempel and Ziv's idea carried to numbers.

Owns the dictionaries of values and shapes in a series' state, in compiled leaves; each scores before it
learns. Knows nothing of predictors, bits or alarms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftlock.core import series_tuning as tuned
from driftlock.core.lanes import LANES, least_place, nearest_long, nearest_short, nearest_value
from driftlock.core.series_kernel import Record, kernel
from driftlock.core.series_state import ENTRIES, LONG_BLOCKS, SHORT_BLOCKS

assert ENTRIES == LANES
assert (SHORT_BLOCKS, LONG_BLOCKS) == (6, 12), "the lengths of shapes that `lanes` searches"

SHORT_POINTS = 2  # a block of the short shape
LONG_POINTS = 12  # a block of the long shape


@kernel
def novelty(entries: Any, used: Any, y: float, span: float, now: int) -> float:
    """Distance of `y` to the nearest entry over `span`; remembers it when far, else moves its entry closer.

    Empty entries are infinite. What is forgotten is an empty entry, else the least recently used.
    """
    place, least = nearest_value(entries, np.float32(y))
    distance = np.float64(least)
    far = 0.0
    if distance < np.inf:
        far = distance / span if span > 0.0 else 0.0
    if distance == np.inf or far > tuned.VALUE_VIGILANCE:
        place = least_place(used)
        entries[place] = np.float32(y)
    else:
        entries[place] += tuned.ENTRY_RATE * (y - np.float64(entries[place]))
    used[place] = now
    return float(far)


@kernel
def shape_novelty(
    found: Any, entries: Any, used: Any, shape: Any, span: float, vigilance: float, now: int
) -> float:
    """As `novelty`, for a shape: root mean squared distance of its blocks. Entries lie as (block, entry).

    `found` is the place of the nearest entry and its squared distance, summed in single precision.
    """
    place, least = found
    distance = np.float64(least)
    far = 0.0 if distance == np.inf else math.sqrt(distance / len(shape)) / span
    is_new = distance == np.inf or far > vigilance
    if is_new:
        place = least_place(used)
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
def value_novelty(r: Record, y: float, level: float, span: float) -> float:
    """Novelty of the value in its running range, and again of its bent level."""
    plain = novelty(r.value_entry, r.value_used, y, span, r.seen + 1)
    bent_span = r.level_high - r.level_low
    return plain + novelty(r.level_entry, r.level_used, level, bent_span, r.seen + 1)


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
    found = nearest_short(r.short_entry, r.short_now)
    vigilance = tuned.SHORT_VIGILANCE
    return shape_novelty(found, r.short_entry, r.short_used, r.short_now, span, vigilance, r.seen + 1)


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
    found = nearest_long(r.long_entry, r.long_now)
    vigilance = tuned.LONG_VIGILANCE
    return shape_novelty(found, r.long_entry, r.long_used, r.long_now, span, vigilance, r.seen + 1)
