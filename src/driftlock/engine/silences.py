"""Silences that were told and go on: which series each is about, and what it becomes when they report again.

Owns no judgement: who is silent, and since when, is the core's `SilenceWatch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from driftlock.core.episode import Episode


@dataclass(slots=True)
class _Open:
    episode: Episode
    stream: int
    told_ns: int
    places: set[int]


class OpenSilences:
    """Episodes of silence. Each is open until all its series, its units, reported again."""

    def __init__(self) -> None:
        self._of: dict[int, _Open] = {}  # by series that is silent still

    def begin(self, episode: Episode, *, stream: int, told_ns: int, places: set[int]) -> None:
        """A silence was told, with a finding at `told_ns`, of the series at these places of the bank."""
        opened = _Open(episode, stream, told_ns, places)
        self._of |= dict.fromkeys(places, opened)

    def heard(self, place: int, now_ns: int) -> tuple[int, Episode, int] | None:
        """A series reports again: stream, episode and time of the finding, if it was the last to do so."""
        opened = self._of.pop(place, None)
        if opened is None:
            return None
        opened.places.discard(place)
        if opened.places:
            return None
        over = msgspec.structs.replace(opened.episode.ended(), last_time_ns=now_ns)
        return opened.stream, over, opened.told_ns

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        every = {id(opened): opened for opened in self._of.values()}
        return [
            [list(msgspec.structs.astuple(o.episode)), o.stream, o.told_ns, sorted(o.places)]
            for o in every.values()
        ]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._of = {}
        for episode, stream, told_ns, places in state:
            self.begin(Episode(*episode), stream=stream, told_ns=told_ns, places=set(places))
