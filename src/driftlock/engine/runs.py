"""Which messages of the log may be fed to the engine together, and where the rows of a batch came from.

Owns the cut into runs. Must not know streams or findings. A run is fed like its messages one after another,
with one decoding and one call a stream: many small messages then cost little more than a large one. How a
partition's messages are cut depends on how fast they come, so it may not change any result; a run therefore
ends where the engine's clock, which moves in whole seconds, moves on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from driftlock.engine.settings import SWEEP_NS

ROW_BITS = 22
"""An event's position is its message's position in the high bits and its row in the low 22: a message of
at most 4 MiB cannot hold more records."""

RUN_BYTES_MAX = 256 * 1024
"""What is fed at one go keeps an owner's loop from its other partitions: so much takes about 10 ms."""


class Message(Protocol):
    """A message of the log."""

    @property
    def kind(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def received_ns(self) -> int: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def position(self) -> int: ...


MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Origins:
    """Of the rows of a batch: `positions` of each, and the engine's time at each message, by its position."""

    positions: npt.NDArray[np.int64]
    received_ns: dict[int, int]

    @classmethod
    def of(cls, positions: Sequence[int], rows: npt.NDArray[np.int64], received_ns: Sequence[int]) -> Origins:
        """Of messages at `positions`, with so many `rows` each, one after another."""
        first = np.cumsum(rows) - rows
        base = np.array(positions, np.int64) << ROW_BITS
        places = np.arange(rows.sum(), dtype=np.int64) + np.repeat(base - first, rows)
        return cls(places, dict(zip(positions, received_ns, strict=True)))

    def last_active(self, rows: npt.NDArray[np.int64]) -> int:
        """When a stream with these rows last became active: its first row in the last of its messages."""
        places = self.positions[rows]
        if len(self.received_ns) == 1:
            return int(places[0])
        message = places[-1] >> ROW_BITS << ROW_BITS
        return int(places[np.searchsorted(places, message)])

    def parts(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """A stream's rows, message by message."""
        cuts = np.flatnonzero(np.diff(self.positions[rows] >> ROW_BITS)) + 1
        yield from np.split(rows, cuts)

    def message_of(self, place: int) -> tuple[int, int]:
        """Position and time of the message that an event came with."""
        position = place >> ROW_BITS
        return position, self.received_ns[position]


def second_of(now_ns: int) -> int:
    """The engine's clock at a time: the beginning of its second."""
    return now_ns // SWEEP_NS * SWEEP_NS


def runs(messages: Sequence[MessageT], *, now_ns: int) -> Iterator[list[MessageT]]:
    """Cuts consecutive messages into runs; `now_ns` is the engine's time before them.

    Only logs of one tenant and one second of the clock share a run, and at most `RUN_BYTES_MAX` of them.
    """
    run: list[MessageT] = []
    size = 0
    for message in messages:
        then_ns, now_ns = now_ns, max(now_ns, message.received_ns)
        together = (
            run
            and message.kind == run[0].kind == "logs"
            and message.tenant == run[0].tenant
            and second_of(now_ns) == second_of(then_ns)
            and size + len(message.payload) <= RUN_BYTES_MAX
        )
        if run and not together:
            yield run
            run, size = [], 0
        run.append(message)
        size += len(message.payload)
    if run:
        yield run
