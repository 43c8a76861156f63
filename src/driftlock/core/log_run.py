"""The hot path of a log stream: many units scored and learned by one kernel, equal to one after another.

Owns no state and no rule of its own: it calls the coders' kernels in the order of `LogModel.assess` and
`LogModel.learn`, on their arrays. It stops before a unit that needs more than that: one whose p-value reaches
the threshold (a decision is due, perhaps an explanation, before it is learned), and one for which a table
would grow, fade or be swept clean. The caller then takes that unit by the plain methods and calls again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core import (
    calibration,
    calibration_hours,
    coder,
    coder_calls,
    coder_context,
    coder_count,
    coder_numbers,
    coder_presence,
    coder_set,
    coder_volume,
    counters,
    logarithm,
)
from driftlock.core.calibration import Scores, count_at_least, slack_of
from driftlock.core.calibration_hours import ADDED, DAYS, HELD, HOUR_DAYS_MIN, HOURS, LAST_DAY, NEXT, NO_HOUR
from driftlock.core.coder import UNITS_REMEMBERED_MAX, tally
from driftlock.core.coder_calls import PAIRS_MAX, UNKNOWN, Callers, call_bits, distinct_calls, learn_calls
from driftlock.core.coder_context import (
    CHUNK_SYMBOLS,
    END,
    NOTES,
    ORDERS,
    WORST,
    WORST_AT,
    follow_gains,
    follow_steps,
    learn_again,
    learn_order,
    order_bits,
    step_bits,
)
from driftlock.core.coder_count import count_bits, learn_counts
from driftlock.core.coder_numbers import Levels, NumberBits, follow_levels, number_bits
from driftlock.core.coder_presence import learn_presence, presence_bits
from driftlock.core.coder_set import learn_set, set_bits
from driftlock.core.coder_volume import learn_volume, volume_bits
from driftlock.core.counters import SWEPT_PER_SLOT, sweep
from driftlock.core.fingerprint import fingerprint

COUNT_WEIGHT = 0.5
SET_WEIGHT = 0.5
GATE_P = 0.075

# what the kernel counts, in the order of `Tallies`
PRESENCE_UNITS, COUNT_UNITS, ORDER_UNITS, SET_UNITS, CALL_UNITS = 0, 1, 2, 3, 4
ORDER_TAKEN, ORDER_SWEPT, SET_TAKEN, SET_SWEPT, CALL_TAKEN, CALL_SWEPT = 5, 6, 7, 8, 9, 10
TEACHER, SCORES = 11, 14  # of each ring: scores held, where the next goes, scores ever added
TALLIES = 17

# the columns of `Found.bits`
SCORE, SURPRISE, PRESENCE, COUNT, SET, CALL, NUMBER, WINDOW = 0, 1, 2, 3, 4, 5, 6, 7
BITS = 8

# why the kernel stopped
FINISHED, NEEDS_ROOM, REACHES_THRESHOLD = 0, 1, 2

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


class Table(NamedTuple):
    """A counter table's arrays, and the size at which it no longer grows."""

    keys: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int32]
    links: npt.NDArray[np.uint32]
    slots_max: int


class Learned(NamedTuple):
    """What the coders hold. `marks` are zeros, scratch; `ends` adds the end of a unit as a symbol,
    `operations` are empty where no event tells who called it, and `volumes` where units have none."""

    hashes: npt.NDArray[np.uint64]
    ends: bool
    df: Ids
    marks: Ids
    histogram: npt.NDArray[np.uint16]
    order: Table
    order_gains: Floats
    order_steps: npt.NDArray[np.int32]
    sets: Table
    operations: Callers
    calls: Table
    levels: Levels
    volumes: Ids


class Ranked(NamedTuple):
    """The teacher's last scores and the calibration sets, rings that grow to their largest size elsewhere,
    and the threshold of p-values. What is named for hours is `CalibrationByHour`'s. Unless it `follows`, the
    coders of order and numbers take no note of units, as when each of a baseline is scored without itself."""

    teacher: Scores
    teacher_max: int
    calibration: Scores
    calibration_max: int
    hours: Scores
    hours_max: int
    hour_tallies: Ints
    hour_least: int
    threshold: float
    follows: bool = True


class Found(NamedTuple):
    """One row a unit: bits by coder and of the window, templates (presence, count, call), its caller,
    calibration scores
    reached and held and whether they are its hour's, whether the students learned it, bits of its end; the
    symbols' shares, unit i's from `bounds[i] + i` on; scratch for the longest unit; and what each of the last
    units told the coder of order, row i modulo the rows that there are."""

    bits: Floats
    templates: Ids
    caller: Callers
    reached: Ints
    taught: npt.NDArray[np.bool_]
    end_bits: Floats
    shares: Floats
    distinct: Ids
    counts: Ids
    events: Ids
    symbols: npt.NDArray[np.uint64]
    places: Ids
    notes: Floats


def found_for(bounds: Ints, *, notes: int = 1) -> Found:
    """Empty results for units with these bounds, with the notes of so many."""
    units, longest = len(bounds) - 1, int(np.diff(bounds).max())
    return Found(
        np.empty((units, BITS)),
        np.empty((units, 3), np.int32),
        np.empty(units, np.uint32),
        np.empty((units, 3), np.int64),
        np.zeros(units, np.bool_),
        np.zeros(units),
        np.empty(int(bounds[-1]) + units),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(longest + 1, np.uint64),
        np.empty((longest + 1, 2 * ORDERS), np.int32),
        np.empty((notes, NOTES)),
    )


@numba.njit(cache=False)
def _fits(table: Table, taken: int, more: int) -> bool:
    """Whether so many slots can be taken with neither growth nor pruning, which are the table's own."""
    return taken + more <= len(table.keys) * 7 // 8


@numba.njit(cache=False)
def _took(table: Table, tallies: Ints, taken_at: int, swept_at: int, slots: int) -> None:
    """What `CounterTable.took` does."""
    tallies[taken_at] += slots
    if slots and len(table.keys) == table.slots_max and 2 * tallies[taken_at] > table.slots_max:
        count = SWEPT_PER_SLOT * slots
        sweep(table.keys, table.counts, table.links, tallies[taken_at], tallies[swept_at], count)
        tallies[swept_at] = (tallies[swept_at] + count) % len(table.keys)


@numba.njit(cache=False)
def _ring_add(ring: Scores, tallies: Ints, at: int, value: float) -> None:
    """What `Calibration.add` does in a ring that does not grow, with its tallies from `at` on."""
    ring[tallies[at + 1]] = np.float32(value)
    tallies[at + 1] = (tallies[at + 1] + 1) % len(ring)
    tallies[at] = min(tallies[at] + 1, len(ring))
    tallies[at + 2] += 1


@numba.njit(cache=False)
def _hour_uses(ranked: Ranked, hour: int) -> bool:
    """What `CalibrationByHour.uses` tells."""
    if hour == NO_HOUR or not ranked.hours_max:
        return False
    own = ranked.hour_tallies[hour % HOURS]
    return bool(own[HELD] >= ranked.hour_least and own[DAYS] >= HOUR_DAYS_MIN)


@numba.njit(cache=False)
def _hour_fits(ranked: Ranked, hour: int) -> bool:
    """Whether the hour's set takes another score without growing."""
    if hour == NO_HOUR or not ranked.hours_max:
        return True
    held = ranked.hour_tallies[hour % HOURS, HELD]
    return bool(held < ranked.hours.shape[1] or held == ranked.hours_max)


@numba.njit(cache=False)
def _hour_add(ranked: Ranked, hour: int, score: float) -> None:
    """What `CalibrationByHour.add` does for the hour's set, where that need not grow."""
    if hour == NO_HOUR or not ranked.hours_max:
        return
    own = ranked.hour_tallies[hour % HOURS]
    ranked.hours[hour % HOURS, own[NEXT]] = np.float32(score)
    own[NEXT] = (own[NEXT] + 1) % ranked.hours_max
    own[HELD] = min(own[HELD] + 1, ranked.hours_max)
    own[ADDED] += 1
    day = hour // HOURS + 1
    if own[LAST_DAY] != day:
        own[DAYS] = min(own[DAYS] + 1, HOUR_DAYS_MIN)
        own[LAST_DAY] = day


@numba.njit(cache=False)
def _symbols(ids: Ids, learned: Learned, symbols: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for i in range(len(ids)):
        symbols[i] = learned.hashes[ids[i]]
    if not learned.ends and len(ids):
        return symbols[: len(ids)]
    symbols[len(ids)] = END
    return symbols[: len(ids) + 1]


@numba.njit(cache=False)
def _learn_calls(
    learned: Learned, ids: Ids, callers: Callers, events: Ids, tallies: Ints, weight: int
) -> None:
    """What `CallCoder.learn` does for no more than `PAIRS_MAX` calls."""
    if not len(learned.operations):
        return
    calls = learned.calls
    if len(events):
        taken = learn_calls(
            calls.keys, calls.counts, calls.links, ids, callers, learned.operations, events, weight
        )
        _took(calls, tallies, CALL_TAKEN, CALL_SWEPT, taken)
    tallies[CALL_UNITS] += weight


@numba.njit(cache=False)
def _learn_students(
    learned: Learned,
    distinct: Ids,
    counts: Ids,
    symbols: npt.NDArray[np.uint64],
    places: Ids,
    volume: int,
    tallies: Ints,
    weight: int,
) -> None:
    """What the students' `learn` does; `places` are those of a unit just assessed."""
    order, sets = learned.order, learned.sets
    learn_counts(distinct, counts, learned.histogram, weight)
    if len(learned.volumes):
        learn_volume(learned.volumes, volume, weight)
    if weight > 0:
        taken = learn_again(order.keys, order.counts, order.links, symbols, places)
    else:
        taken = learn_order(order.keys, order.counts, order.links, symbols, 0, len(symbols), weight)
    _took(order, tallies, ORDER_TAKEN, ORDER_SWEPT, taken)
    taken = learn_set(sets.keys, sets.counts, sets.links, learned.hashes, distinct, weight)
    _took(sets, tallies, SET_TAKEN, SET_SWEPT, taken)
    tallies[COUNT_UNITS] += weight
    tallies[ORDER_UNITS] += weight
    tallies[SET_UNITS] += weight


def _unit_loop(sources: int) -> Any:
    @numba.njit(cache=True)
    def run_units(
        ids: Ids,
        bounds: Ints,
        volumes: Ints,
        known: Ids,
        taught: npt.NDArray[np.bool_],
        callers: Callers,
        numbers: NumberBits,
        hours: Ints,
        first: int,
        learned: Learned,
        ranked: Ranked,
        tallies: Ints,
        before: Floats,
        found: Found,
    ) -> tuple[int, int]:
        """Takes units from `first` on; returns the first one not taken, and why it was not.

        Unit i is `ids[bounds[i]:bounds[i + 1]]`, of `volumes[i]` events; its first `known[i]` were learned
        before, by the students too if `taught[i]`, and are taken back first. `callers` are as `find_callers`
        gives them, without columns where no event tells them; `numbers` are the units'. It ended in hour
        `hours[i]`. `before` has the scores of the blocks that share a window with the first unit, oldest
        first. Rows of `found` are filled up to the unit at which it stops, included if that reaches the
        threshold: it is then assessed and taken back, not learned.
        """
        assert sources >= 0  # closed over, so that the cache knows which sources made the kernel
        distinct, counts, symbols = found.distinct, found.counts, found.symbols
        order, sets, calls = learned.order, learned.sets, learned.calls
        for i in range(first, len(bounds) - 1):
            notes = found.notes[i % len(found.notes)]
            unit = ids[bounds[i] : bounds[i + 1]]
            signs = len(unit) + (1 if learned.ends or not len(unit) else 0)
            called = callers[0, bounds[i] : bounds[i] + (len(unit) if callers.shape[1] else 0)]
            then = callers[1, bounds[i] : bounds[i] + (known[i] if callers.shape[1] else 0)]
            # a call may have had another caller then, so the part known may have had more of them
            pairs_then = distinct_calls(unit[: known[i]], then, learned.operations, found.events)
            pairs = distinct_calls(unit, called, learned.operations, found.events)
            pairs_most = max(pairs, pairs_then)
            if (
                signs > CHUNK_SYMBOLS
                or pairs_most > PAIRS_MAX
                or (pairs_most and not _fits(calls, tallies[CALL_TAKEN], 2 * pairs_most))
                or max(tallies[PRESENCE_UNITS], tallies[ORDER_UNITS]) + 1 >= UNITS_REMEMBERED_MAX
                or not _fits(order, tallies[ORDER_TAKEN], 2 * ORDERS * signs)
                or not _fits(sets, tallies[SET_TAKEN], 1)
                or tallies[TEACHER] == len(ranked.teacher) < ranked.teacher_max
                or tallies[SCORES] == len(ranked.calibration) < ranked.calibration_max
                or not _hour_fits(ranked, hours[i])
            ):
                return i, NEEDS_ROOM
            if known[i]:
                old = unit[: known[i]]
                size = tally(old, learned.marks, distinct, counts)
                learn_presence(distinct[:size], learned.df, -1)
                tallies[PRESENCE_UNITS] -= 1
                if taught[i]:
                    said = _symbols(old, learned, symbols)
                    held, times = distinct[:size], counts[:size]
                    volume = volumes[i] if len(old) == len(unit) else len(old)
                    _learn_students(learned, held, times, said, found.places, volume, tallies, -1)
                    if callers.shape[1]:
                        size = distinct_calls(old, then, learned.operations, found.events)
                        _learn_calls(learned, old, then, found.events[:size], tallies, -1)
                    pairs = distinct_calls(unit, called, learned.operations, found.events)
            size = tally(unit, learned.marks, distinct, counts)
            held, times = distinct[:size], counts[:size]
            said = _symbols(unit, learned, symbols)
            shares = found.shares[bounds[i] + i : bounds[i] + i + len(said)]
            presence, presence_template = presence_bits(
                held, learned.df, learned.marks, tallies[PRESENCE_UNITS]
            )
            mean, total = order_bits(
                order.keys, order.counts, order.links, said, learned.order_gains, shares, notes, found.places
            )
            if learned.ends:
                found.end_bits[i] = shares[-1] * len(said)
            step = 0.0
            if len(unit):
                step = step_bits(learned.order_steps, notes[WORST], 0)
                shares[int(notes[WORST_AT])] += step
            count, count_template = count_bits(held, times, learned.histogram)
            count *= COUNT_WEIGHT
            if len(learned.volumes) and len(unit):
                much = volume_bits(learned.volumes, volumes[i])
                if much > count:
                    count, count_template = much, -1
            novel = SET_WEIGHT * set_bits(sets.keys, sets.counts, learned.hashes, held, tallies[SET_UNITS])
            call, at_event = 0.0, -1
            if pairs:
                call, at_event = call_bits(
                    calls.keys, calls.counts, unit, called, learned.operations, found.events[:pairs]
                )
            number = number_bits(learned.levels, numbers.bits[i])
            score = presence + mean + step + count + novel + call + number
            window = score
            for back in range(1, len(before) + 1):
                at = i - back
                window += found.bits[at, SCORE] if at >= first else before[len(before) - (first - at)]
            of_hour = _hour_uses(ranked, hours[i])
            if of_hour:
                own = ranked.hour_tallies[hours[i] % HOURS]
                size = own[HELD]
                near = window - slack_of(own[ADDED], size)
                reached = count_at_least(ranked.hours[hours[i] % HOURS], size, near)
            else:
                size = tallies[SCORES]
                near = window - slack_of(tallies[SCORES + 2], size)
                reached = count_at_least(ranked.calibration, size, near)
            row = found.bits[i]
            row[SCORE], row[SURPRISE], row[PRESENCE] = score, total, presence
            row[COUNT], row[SET], row[CALL] = count, novel, call
            row[NUMBER], row[WINDOW] = number, window
            found.templates[i, 0], found.templates[i, 1] = presence_template, count_template
            found.templates[i, 2] = unit[at_event] if at_event >= 0 else -1
            found.caller[i] = called[at_event] if at_event >= 0 else UNKNOWN
            found.reached[i, 0], found.reached[i, 1], found.reached[i, 2] = reached, size, of_hour
            if (1 + reached) / (1 + size) <= ranked.threshold:
                return i, REACHES_THRESHOLD
            beyond = count_at_least(ranked.teacher, tallies[TEACHER], presence)
            suspicion = (1 + beyond) / (1 + tallies[TEACHER])
            _ring_add(ranked.teacher, tallies, TEACHER, presence)
            learn_presence(held, learned.df, 1)
            tallies[PRESENCE_UNITS] += 1
            if ranked.follows:
                follow_levels(learned.levels, numbers.bits[i])
            if suspicion > GATE_P:
                found.taught[i] = True
                if ranked.follows:
                    follow_gains(learned.order_gains, notes)
                    follow_steps(learned.order_steps, notes[WORST])
                _learn_students(learned, held, times, said, found.places, volumes[i], tallies, 1)
                _learn_calls(learned, unit, called, found.events[:pairs], tallies, 1)
            _ring_add(ranked.calibration, tallies, SCORES, window)
            _hour_add(ranked, hours[i], window)
        return len(bounds) - 1, FINISHED

    return run_units


run_units = _unit_loop(
    fingerprint(
        calibration,
        calibration_hours,
        coder,
        coder_calls,
        coder_context,
        coder_count,
        coder_numbers,
        coder_presence,
        coder_set,
        coder_volume,
        counters,
        logarithm,
    )
)
