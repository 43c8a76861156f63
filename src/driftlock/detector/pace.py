"""When the owners of a process score, and how often each writes a checkpoint.

Owns the turn that the owners share, and the rule for a checkpoint's pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Self

CHECKPOINT_TIME_SHARE = 0.05
"""A checkpoint may take this share of an owner's time; when states are large it comes less often."""


class Turn:
    """Whose turn it is to score: one owner of a process at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.scored_s = 0.0
        """Seconds that all owners have scored."""

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._lock.release()

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Times what the holder scores."""
        started = perf_counter()
        try:
            yield
        finally:
            self.scored_s += perf_counter() - started


class CheckpointPace:
    """When an owner's next checkpoint is due. Times are those of one clock, in seconds."""

    def __init__(self, interval_s: float, *, now_s: float) -> None:
        self._interval_s = interval_s
        self._due_at_s = now_s + interval_s

    def due(self, now_s: float) -> bool:
        """Whether the pause is over."""
        return now_s >= self._due_at_s

    def hurry(self) -> None:
        """Makes the next checkpoint due at once."""
        self._due_at_s = 0.0

    def wrote(self, *, now_s: float, took_s: float, others_s: float) -> None:
        """Begins the pause after a checkpoint that took so long, of which others scored for `others_s`.

        Their time is no cost of the checkpoint: with it, a busy process would put off checkpoints, and what
        is told of streams with them, by minutes.
        """
        cost = max(took_s - others_s, 0.0)
        self._due_at_s = now_s + max(self._interval_s, cost / CHECKPOINT_TIME_SHARE)
