"""The bound on bytes in flight, shared by both transports.

Owns: counting. A lease grows as a request is received and decompressed, and is given back when the request
was answered. At the bound a lease refuses to grow: the client is told to retry, nobody waits holding memory.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from driftlock.collector import metrics
from driftlock.collector.answers import OverloadedError


class Budget:
    """`held` is the sum of all leases, at most `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held = 0

    def lease(self) -> Lease:
        return Lease(self)

    def _change(self, by: int) -> None:
        self.held += by
        metrics.INFLIGHT.inc(by)


class Lease:
    """What one request holds; use it as a context."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def grow(self, count: int) -> None:
        """Raises OverloadedError at the bound."""
        if self._budget.held + count > self._budget.bytes_max:
            raise OverloadedError("too many bytes in flight, try again")
        self._budget._change(count)
        self.held += count

    def settle(self, count: int) -> None:
        """Hold exactly `count` from now on: after an estimate, or after a copy went."""
        if count > self.held:
            self.grow(count - self.held)
        else:
            self._budget._change(count - self.held)
            self.held = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(0)
