"""How many streams a partition holds, in which phase, with how many bytes: kept as changes come in."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable

from driftlock.core.verdict import Phase
from driftlock.engine.engine import StreamStatus


class Census:
    """Running totals over the streams of one partition."""

    def __init__(self) -> None:
        self._known: dict[uuid.UUID, tuple[Phase, int]] = {}
        self.phases: Counter[Phase] = Counter()
        self.state_bytes = 0

    def update(self, statuses: Iterable[StreamStatus], removed: Iterable[uuid.UUID] = ()) -> None:
        """Takes in the present status of changed streams and forgets removed ones."""
        for stream_id in removed:
            self._forget(stream_id)
        for status in statuses:
            self._forget(status.key.id)
            self._known[status.key.id] = status.warm_up.phase, status.state_bytes
            self.phases[status.warm_up.phase] += 1
            self.state_bytes += status.state_bytes

    def _forget(self, stream_id: uuid.UUID) -> None:
        known = self._known.pop(stream_id, None)
        if known is not None:
            self.phases[known[0]] -= 1
            self.state_bytes -= known[1]
