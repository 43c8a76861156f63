"""The clock of a stream that has none but its own lines.

Owns how far one line's time moves the clock. It is the latest time seen, in whole seconds, so one line
stamped years ahead would stop it for all that follow: no session would fall silent any more. So a leap of
more than a day, or of 24 times the silence that ends a session, waits for three lines in a row beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SECOND_NS = 1_000_000_000
LEAP_NS = 86_400 * SECOND_NS
LEAP_SILENCES = 24
LEAP_LINES = 3

Int64s = npt.NDArray[np.int64]


class Clock:
    """Whole seconds in nanoseconds since 1970; 0 before any time is known. Never goes back."""

    def __init__(self, idle_ns: int) -> None:
        self._leap_ns = max(LEAP_NS, LEAP_SILENCES * idle_ns)
        self.now_ns = 0
        self._ahead = 0  # lines in a row that were far ahead
        self._ahead_ns = 0  # the earliest of them

    def at(self, times_ns: Int64s) -> Int64s:
        """The clock at each of these lines, which have their times or 0; moves it on."""
        seconds = times_ns // SECOND_NS * SECOND_NS
        clocks = np.maximum.accumulate(np.maximum(seconds, self.now_ns))
        if not len(clocks) or not clocks[-1]:
            return clocks
        if not self.now_ns:  # nothing tells whether the first time known is a wrong one
            first = int(np.flatnonzero(clocks)[0])
            self.now_ns = int(clocks[first])
            clocks[first:] = self.at(times_ns[first:])
            return clocks
        if self._ahead == 0 and not self._leaps(clocks):
            self.now_ns = int(clocks[-1])
            return clocks
        for row, second in enumerate(seconds.tolist()):
            self._hear(second)
            clocks[row] = self.now_ns
        return clocks

    def move(self, time_ns: int) -> int:
        """Moves the clock to a time that a person gives, however far ahead; returns it."""
        self.now_ns = max(self.now_ns, time_ns // SECOND_NS * SECOND_NS)
        return self.now_ns

    def _leaps(self, clocks: Int64s) -> bool:
        return bool((np.diff(clocks, prepend=self.now_ns) > self._leap_ns).any())

    def _hear(self, second: int) -> None:
        if not second:
            return
        if self.now_ns and second - self.now_ns > self._leap_ns:
            self._ahead_ns = min(second, self._ahead_ns) if self._ahead else second
            self._ahead += 1
            if self._ahead < LEAP_LINES:
                return
            second = self._ahead_ns
        self._ahead = 0
        self.now_ns = max(self.now_ns, second)

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        return [self.now_ns, self._ahead, self._ahead_ns]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self.now_ns, self._ahead, self._ahead_ns = state
