"""Lulls: silences so long that the episode before them is over, by the times of a stream's own events.

Owns the latest time heard, and an episode that a lull ended until a verdict tells it. Which events a lull
lies before depends on the events alone, not on how they come in calls. Must not know who judges them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.episode import EPISODE_SILENT_NS, Episode
from driftlock.core.verdict import Verdict

Int64s = npt.NDArray[np.int64]


class Lulls:
    """The lulls of one stream of blocks. Not thread-safe."""

    def __init__(self) -> None:
        self._heard_ns = 0
        self._ended: Episode | None = None

    def before(self, times_ns: Int64s) -> list[int]:
        """The rows of the events, of these (0: time not known), that come after a lull."""
        heard = np.maximum.accumulate(np.concatenate([[self._heard_ns], times_ns]))
        self._heard_ns = int(heard[-1])
        silent = (heard[:-1] > 0) & (np.diff(heard) > EPISODE_SILENT_NS)
        return [int(row) for row in np.flatnonzero(silent)]

    def end(self, episode: Episode | None) -> None:
        """Takes the episode that was open, if any: it is over."""
        self._ended = episode or self._ended

    def told(self, verdicts: list[Verdict]) -> list[Verdict]:
        """The verdicts on what came after a lull: the first of no episode tells the one that is over."""
        free = next((row for row, each in enumerate(verdicts) if each.episode is None), None)
        if self._ended is not None and free is not None:
            verdicts[free] = msgspec.structs.replace(verdicts[free], episode=self._ended)
            self._ended = None
        return verdicts

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        return [self._heard_ns, None if self._ended is None else msgspec.structs.astuple(self._ended)]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._heard_ns, ended = state
        self._ended = None if ended is None else Episode(*ended)
