"""The open episodes of many series: from the bank's columns to what an alarm's event has become.

Owns who they belong to; when they open, grow and end is the bank's. Keeps nothing of series without an open
episode.
"""

from __future__ import annotations

from typing import Any

import msgspec

from driftlock.core.episode import Episode
from driftlock.core.series import SeriesVerdicts


class SeriesEpisodes:
    """Episodes by series. Whoever tells of alarms hands in each row with an `episode`, in order."""

    def __init__(self) -> None:
        self._open: dict[int, Episode] = {}

    def __contains__(self, series: int) -> bool:
        return series in self._open

    def follow(
        self,
        series: int,
        verdicts: SeriesVerdicts,
        index: int,
        *,
        key: str,
        event: int,
        time_ns: int,
        alarm: bool,
    ) -> Episode | None:
        """The episode that row `index` belongs to, a point of `series` with the number `event`.

        `alarm`: it was told of. None when the row is of an episode whose beginning was not.
        """
        if verdicts.episode[index] < 0:
            return self.end(series)
        score, p_value = float(verdicts.score[index]), float(verdicts.p_value[index])
        episode = self._open.get(series)
        if episode is not None:
            episode = episode.grown(event, time_ns=time_ns, score=score, p_value=p_value)
        elif alarm:
            episode = Episode.begun(key, event, event, time_ns=time_ns, score=score, p_value=p_value)
        else:
            return None
        self._open[series] = episode
        return episode

    def end(self, series: int) -> Episode | None:
        """Ends the open episode of a series, if any, and returns it as it stays."""
        episode = self._open.pop(series, None)
        return None if episode is None else episode.ended()

    def state(self) -> dict[int, list[Any]]:
        """What `load` restores exactly."""
        return {series: list(msgspec.structs.astuple(episode)) for series, episode in self._open.items()}

    def load(self, state: dict[int, list[Any]]) -> None:
        """Takes over a state made by `state`."""
        self._open = {series: Episode(*saved) for series, saved in state.items()}
