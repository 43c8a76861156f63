"""Blocks of time: what comes to a stream in an interval of its clock is a unit, also if nothing comes.

Owns the block being filled, and which blocks are units. Knows no coders, and no clock but the one handed in.
Blocks are as long as each other and begin at multiples of their length since 1970. An event belongs to the
block of its time; one that is late, since its block is over, goes into the open block and is counted, and so
does one whose time is not known. Clock and later events close a block; what an event's time may be worth is
the caller's to say. Which units come out does not depend on how events come in calls.

- The first block began before anybody looked, and the last one may have more to come: they are no units. The
  same holds for the block in which nobody listened for a while (`interrupt`).
- Of blocks without events in a row only the first `EMPTY_BLOCKS_MAX` are units, the rest is passed over: a
  pause or a leap of the clock costs no more than that, and a silence of hours is no reason to call silence
  usual. It is told when it begins.
- Of a block's events the first `BLOCK_EVENTS_MAX` are kept, and after them the first of each template that is
  not among them: presence and sets see all, order and counts the beginning, and the volume is exact.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.coder_numbers import NO_CAUSE, NumberBits
from driftlock.core.log_units import Int64s, Units
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import TEMPLATES_MAX, IdArray

EMPTY_BLOCKS_MAX = 3
"""As many as make an episode quiet. With ten of them among 2,000 scores the next silence of a steady stream
would have p = .0055; with three it is told as the first one was."""
BLOCK_EVENTS_MAX = 1_024
"""4 KiB of ids in an open block, and 40,960 events in a baseline of the fewest units."""
NONE_OPEN = -1


class TimeBlockAssembler:
    """Cuts a stream of events into blocks of `block_ns`. Not thread-safe."""

    def __init__(self, block_ns: int) -> None:
        self._block_ns = block_ns
        self._number = NONE_OPEN
        self._partial = False
        self._ids = np.zeros(0, np.int32)
        self._held = np.zeros(TEMPLATES_MAX, np.bool_)  # templates among `_ids`
        self._volume = 0
        self._number_bits, self._number_cause = 0.0, NO_CAUSE  # of the strangest number in the open block
        self._first = self._last = 0  # events: the open block's first, and the stream's last
        self._empty = 0  # blocks without events in a row before the open one
        self.late_events = 0
        self.passed_over = 0
        """Blocks without events that were no units."""

    @property
    def pending(self) -> IdArray:
        """The ids in the open block."""
        return self._ids

    @property
    def waits_for_clock(self) -> bool:
        """Whether time alone completes a unit: not before the first event, nor in a long silence."""
        silent = self._volume == 0 and self._empty >= EMPTY_BLOCKS_MAX
        return self._number != NONE_OPEN and not silent

    def add(
        self, ids: IdArray, numbers: NumberBits, positions: Int64s, times_ns: Int64s, *, now_ns: int
    ) -> Units | None:
        """Takes events, each with its strangest number (time 0: not known), after the clock `now_ns` (0: not
        known); returns the blocks that they complete, if any. Events before any time is known belong to no
        block."""
        own = np.where(times_ns > 0, times_ns // self._block_ns, NONE_OPEN)
        least = max(self._number, self._number_at(now_ns))
        blocks = np.maximum.accumulate(np.maximum(own, least))
        self.late_events += int(np.count_nonzero((own != NONE_OPEN) & (own < blocks)))
        done = _Done(self._block_ns)
        row = int(np.searchsorted(blocks, NONE_OPEN, side="right"))
        cuts = np.flatnonzero(np.diff(blocks[row:])) + row + 1
        for low, high in pairwise([row, *cuts.tolist(), len(blocks)] if row < len(blocks) else []):
            self._move_to(int(blocks[low]), done)
            self._take(ids[low:high], numbers.part(slice(low, high)), positions[low:high])
        return done.units()

    def move(self, now_ns: int) -> Units | None:
        """Lets the clock close blocks; returns them, if any."""
        done = _Done(self._block_ns)
        if self._number != NONE_OPEN:
            self._move_to(self._number_at(now_ns), done)
        return done.units()

    def interrupt(self, now_ns: int) -> None:
        """Nobody listened up to now: what is open is no unit, nor is what is left of the present block."""
        if self._number != NONE_OPEN:
            self._empty = 0 if self._volume else self._empty
            self._open(max(self._number, self._number_at(now_ns)), partial=True)

    def flush(self) -> None:
        """Ends the input: the open block is no unit."""
        self._open(NONE_OPEN, partial=False)
        self._empty = 0

    def _number_at(self, now_ns: int) -> int:
        return now_ns // self._block_ns if now_ns > 0 else NONE_OPEN

    def _move_to(self, number: int, done: _Done) -> None:
        if number <= self._number:
            return
        if self._number != NONE_OPEN:
            self._close(done)
            self._pass(self._number + 1, number, done)
        self._open(number, partial=self._number == NONE_OPEN)

    def _close(self, done: _Done) -> None:
        if self._volume:
            self._empty = 0
            if not self._partial:
                number = (self._number_bits, self._number_cause)
                done.add(self._number, self._ids, self._volume, self._first, self._last, number)
        elif not self._partial:
            self._pass(self._number, self._number + 1, done)

    def _pass(self, low: int, high: int, done: _Done) -> None:
        """Blocks without events, from `low` to before `high`."""
        judged = min(high - low, max(EMPTY_BLOCKS_MAX - self._empty, 0))
        for number in range(low, low + judged):
            done.add(number, self._ids[:0], 0, self._last, self._last)
        self._empty += high - low
        self.passed_over += high - low - judged

    def _open(self, number: int, *, partial: bool) -> None:
        self._held[self._ids] = False
        self._ids, self._volume = self._ids[:0], 0
        self._number_bits, self._number_cause = 0.0, NO_CAUSE
        self._number, self._partial = number, partial

    def _take(self, ids: IdArray, numbers: NumberBits, positions: Int64s) -> None:
        strangest = int(numbers.bits.argmax())
        if numbers.bits[strangest] > self._number_bits:
            self._number_bits = float(numbers.bits[strangest])
            self._number_cause = int(numbers.causes[strangest])
        if not self._volume:
            self._first = int(positions[0])
        self._last = int(positions[-1])
        self._volume += len(ids)
        room = max(BLOCK_EVENTS_MAX - len(self._ids), 0)
        self._keep(ids[:room])
        more = ids[room:]
        more = more[~self._held[more]]
        if len(more):
            _, where = np.unique(more, return_index=True)
            self._keep(more[np.sort(where)])

    def _keep(self, ids: IdArray) -> None:
        self._ids = np.concatenate([self._ids, ids])
        self._held[ids] = True

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        block = [self._number, self._partial, self._volume, self._first, self._last]
        number = [self._number_bits, self._number_cause]
        return [pack_array(self._ids), block, [self._empty, self.late_events, self.passed_over], number]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._ids = unpack_array(state[0])
        self._held[self._ids] = True
        self._number, self._partial, self._volume, self._first, self._last = state[1]
        self._empty, self.late_events, self.passed_over = state[2]
        self._number_bits, self._number_cause = state[3]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._ids.nbytes + self._held.nbytes + 100


class _Done:
    """Blocks that are complete, as they come."""

    def __init__(self, block_ns: int) -> None:
        self._block_ns = block_ns
        self._ids: list[IdArray] = []
        self._rows: list[tuple[int, int, int, int]] = []
        self._numbers: list[tuple[float, int]] = []

    def add(
        self,
        number: int,
        ids: IdArray,
        volume: int,
        first: int,
        last: int,
        strangest: tuple[float, int] = (0.0, NO_CAUSE),
    ) -> None:
        self._ids.append(ids)
        self._numbers.append(strangest)
        self._rows.append((number, volume, first, last))

    def units(self) -> Units | None:
        if not self._rows:
            return None
        numbers, volumes, first, last = np.array(self._rows, np.int64).T.copy()
        begin = numbers * self._block_ns
        bounds = np.concatenate([[0], np.cumsum([len(ids) for ids in self._ids])]).astype(np.int64)
        span = (first, last, begin, begin + (self._block_ns - 1))
        bits, causes = zip(*self._numbers, strict=True)
        strangest = NumberBits(np.array(bits, np.float32), np.array(causes, np.int32))
        return Units.new(_names(begin), np.concatenate(self._ids), bounds, span, strangest, volumes)


def _names(begin_ns: npt.NDArray[np.int64]) -> list[str]:
    seconds = begin_ns.astype("datetime64[ns]").astype("datetime64[s]")
    return [f"block {text}Z" for text in np.datetime_as_string(seconds).tolist()]
