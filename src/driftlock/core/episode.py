"""Episodes: what an alarm began goes on as one event, until the stream has been quiet again.

Owns when an episode of lines grows and when it is over, and the numbers of any episode. Decides on no alarm,
and keeps no verdicts: an episode is named by the first and last event of the verdict that raised its alarm.

An episode grows with every block that is suspicious: its p-value reaches the threshold, or would if the
episode's own blocks, all of them strange, were not in the calibration set. Without that an outage of more
than αn blocks would seem to be over while it lasts. It is over after so many quiet blocks in a row. Chance
prolongs it little: of stationary blocks a share α is suspicious.
"""

from __future__ import annotations

from typing import Any

import msgspec

from driftlock.core.calibration_hours import HOURS, NO_HOUR, Rank

EPISODE_SILENT_NS = 3_600 * 1_000_000_000
"""When nothing came for so long, the episode of a stream of lines is over."""
BLOCKS_QUIET = 3
"""So many quiet blocks in a row end an episode of lines."""
OWN_BLOCKS_MAX = 500
"""So many of an episode's blocks are left out of the comparison at most: what lasts longer becomes usual."""


class Episode(msgspec.Struct, frozen=True):
    """How far the event goes that an alarm told of.

    `key`, `first` and `last` are those of the alarm's verdict. `units` are suspicious, the alarm's among
    them; `last_event` and `last_time_ns` are where and when the last of them ended. `peak_score` and
    `lowest_p` are the extremes so far. Once `open` is false, nothing of it changes any more.
    """

    key: str
    first: int
    last: int
    open: bool
    units: int
    last_event: int
    last_time_ns: int
    peak_score: float
    lowest_p: float

    @classmethod
    def begun(cls, key: str, first: int, last: int, *, time_ns: int, score: float, p_value: float) -> Episode:
        """The episode of an alarm."""
        return cls(key, first, last, True, 1, last, time_ns, score, p_value)

    def grown(self, last: int, *, time_ns: int, score: float, p_value: float) -> Episode:
        """With one more suspicious unit."""
        return msgspec.structs.replace(
            self,
            units=self.units + 1,
            last_event=last,
            last_time_ns=time_ns,
            peak_score=max(self.peak_score, score),
            lowest_p=min(self.lowest_p, p_value),
        )

    def ended(self) -> Episode:
        """As it stays."""
        return msgspec.structs.replace(self, open=False)

    @property
    def is_news(self) -> bool:
        """Whether this is to be told: it has doubled, or is over. So a long episode is told of seldom."""
        return not self.open or self.units & (self.units - 1) == 0


class BlockEpisodes:
    """The open episode of a stream of blocks, if any."""

    def __init__(self, p_value_threshold: float) -> None:
        self._threshold = p_value_threshold
        self._episode: Episode | None = None
        self._quiet = 0
        self._own = 0
        self._own_of_hour = [0] * HOURS

    @property
    def open(self) -> bool:
        """Whether a block that alarms now would belong to an episode already told."""
        return self._episode is not None

    def begin(self, episode: Episode, hour: int) -> Episode:
        """Takes the episode of a block that ended in `hour`. None may be open."""
        assert self._episode is None, "an alarm within an episode is its growth"
        self._episode = episode
        self._count(hour)
        return episode

    def take(self, last: int, *, time_ns: int, score: float, rank: Rank, hour: int) -> Episode | None:
        """A block that is no alarm: the open episode as it stands with it; None where it is not of it."""
        if self._episode is None:
            return None
        if self._suspicious(rank, hour):
            self._quiet = 0
            self._episode = self._episode.grown(last, time_ns=time_ns, score=score, p_value=rank.p_value)
            self._count(hour)
            return self._episode
        self._quiet += 1
        return self.end() if self._quiet == BLOCKS_QUIET else None

    def end(self) -> Episode | None:
        """Ends the open episode, if any, and returns it as it stays."""
        episode = self._episode
        self._episode, self._quiet, self._own, self._own_of_hour = None, 0, 0, [0] * HOURS
        return None if episode is None else episode.ended()

    def _suspicious(self, rank: Rank, hour: int) -> bool:
        own = self._own_of_hour[hour % HOURS] if rank.of_hour else self._own
        others = Rank(max(rank.reached - own, 0), max(rank.size - own, 0), rank.of_hour)
        return min(rank.p_value, others.p_value) <= self._threshold

    def _count(self, hour: int) -> None:
        """Of the episode's own blocks, so many are in each calibration set."""
        self._own = min(self._own + 1, OWN_BLOCKS_MAX)
        if hour != NO_HOUR:
            row = hour % HOURS
            self._own_of_hour[row] = min(self._own_of_hour[row] + 1, OWN_BLOCKS_MAX)

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return 1_000 if self._episode is not None else 400

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        episode = None if self._episode is None else list(msgspec.structs.astuple(self._episode))
        return [episode, self._quiet, self._own, self._own_of_hour]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        episode, self._quiet, self._own, own_of_hour = state
        self._episode = None if episode is None else Episode(*episode)
        self._own_of_hour = list(own_of_hour)
