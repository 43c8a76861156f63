"""Joins what several requests have for one partition into one message of the log.

Owns: the wait of parts while an append to their partition is under way, and the fate they share. Must not
know transports or OTLP's insides: requests of one kind may be concatenated, as protobuf defines merging.

A request of many streams is cut into a small message for each partition, and a message costs the log and the
detector much the same whatever it holds. So a part is appended at once when its partition is idle, and else
together with all that came meanwhile: messages grow with the load, and a lone request waits for nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import TelemetryLog
from driftlock.errors import UnavailableError
from driftlock.signals.otlp import Kind

# Detectors score a message at one go: a larger one would hold up their other partitions for long.
JOINED_BYTES_MAX = 512 * 1024


# While several requests wait, a partition gets a message so often at most. A client that waits for its answer
# before it sends again never waits for this.
SPACING_S = 0.02


@dataclass(slots=True)
class _Request:
    """A request that waits for `left` parts; `done` tells its end, once."""

    left: int
    deadline_s: float
    done: asyncio.Future[None]

    def part_appended(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def part_failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Lane:
    """What waits for one partition and kind; `task` runs while there is anything. `appended_s` is when an
    append was last begun."""

    waiting: deque[tuple[bytes, _Request]] = field(default_factory=deque)
    appended_s: float = -math.inf
    task: asyncio.Task[None] | None = None

    def take(self) -> list[tuple[bytes, _Request]]:
        """The next parts in order: at least one, together at most `JOINED_BYTES_MAX`."""
        taken = [self.waiting.popleft()]
        size = len(taken[0][0])
        while self.waiting and size + len(self.waiting[0][0]) <= JOINED_BYTES_MAX:
            size += len(self.waiting[0][0])
            taken.append(self.waiting.popleft())
        return taken


class Joiner:
    """Appends parts for one tenant. What waits is bounded by whoever bounds the requests in flight."""

    def __init__(
        self,
        log: TelemetryLog,
        *,
        tenant: str,
        timeout_s: float,
        now_ns: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._log = log
        self._tenant = tenant
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._new_id = new_id
        self._waiting = 0
        self._lanes: dict[tuple[int, Kind], _Lane] = {}

    async def append(self, kind: Kind, parts: Sequence[tuple[int, bytes]]) -> None:
        """Append the parts of one request, each to its partition, in order within each.

        Raises UnavailableError, after the timeout at the latest: some parts may then be in the log.
        """
        loop = asyncio.get_running_loop()
        request = _Request(len(parts), loop.time() + self._timeout_s, loop.create_future())
        for partition, payload in parts:
            lane = self._lanes.setdefault((partition, kind), _Lane())
            lane.waiting.append((payload, request))
            if lane.task is None:
                lane.task = loop.create_task(self._run(lane, partition, kind))
        self._waiting += 1
        try:
            await request.done
        finally:
            self._waiting -= 1

    async def _run(self, lane: _Lane, partition: int, kind: Kind) -> None:
        loop = asyncio.get_running_loop()
        while lane.waiting:
            early_s = lane.appended_s + SPACING_S - loop.time()
            if early_s > 0 and self._waiting > 1:
                await asyncio.sleep(early_s)
            lane.appended_s = loop.time()
            taken = lane.take()
            try:
                await self._append(taken, partition, kind)
            except Exception as error:
                # Whatever it is, it is the answer to those who wait; nobody else hears of it.
                if isinstance(error, UnavailableError):
                    # The log was away for all the time that those behind may wait, too, or nearly.
                    taken += lane.waiting
                    lane.waiting.clear()
                for _, request in taken:
                    request.part_failed(error)
            else:
                for _, request in taken:
                    request.part_appended()
        lane.task = None

    async def _append(self, taken: list[tuple[bytes, _Request]], partition: int, kind: Kind) -> None:
        payload = taken[0][0] if len(taken) == 1 else b"".join(part for part, _ in taken)
        envelope = Envelope(kind=kind, tenant=self._tenant, received_ns=self._now_ns(), payload=payload)
        left_s = min(request.deadline_s for _, request in taken) - asyncio.get_running_loop().time()
        await self._log.append(partition, envelope, message_id=self._new_id(), timeout_s=max(left_s, 0.001))
