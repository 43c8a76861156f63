"""Keeps one child alive: starts it, starts it again with growing pauses when it dies, ends it on request.

Owns the restart policy. Must not know what the child is: a `Service` launches it and says how it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from driftlock.errors import DriftlockError
from driftlock.runtime.process import Child

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that runs as a child process."""

    @property
    def name(self) -> str: ...

    @property
    def end_steps(self) -> Sequence[tuple[signal.Signals, float]]:
        """Signals and how many seconds each is given; after the last comes SIGKILL."""
        ...

    async def launch(self) -> Child:
        """Start it and return once it is ready. Leaves nothing running when it raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The pause before the n-th start in a row: first, doubled each time, at most `longest_s`.

    A child that stayed up for `steady_s` counts as healthy: the next pause is the first again.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    steady_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** min(failures, 30))


class Keeper:
    """One service, kept alive between `start` and `stop`."""

    def __init__(
        self,
        service: Service,
        *,
        backoff: Backoff | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = service
        self.child: Child | None = None
        self.restarts = 0
        self._backoff = backoff or Backoff()
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Launch it, then watch it. Raises what the first launch raises."""
        await self._launch()
        self._task = asyncio.create_task(self._watch(), name=f"keep {self.service.name}")

    async def stop(self) -> None:
        """Stop watching and end the child by its steps. Safe to call twice, and before `start`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.child is not None:
            clock = asyncio.get_running_loop().time
            began = clock()
            code = await self.child.end(self.service.end_steps)
            log.debug("%s ended after %.2f s (%s)", self.service.name, clock() - began, _how(code))
            self.child = None
            self._on_change()

    async def _launch(self) -> None:
        self.child = await self.service.launch()
        self._on_change()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            assert self.child is not None
            began = clock()
            code = await self.child.wait()
            if clock() - began >= self._backoff.steady_s:
                failures = 0
            log.warning("%s ended (%s); starting it again", self.service.name, _how(code))
            failures = await self._relaunch(failures)

    async def _relaunch(self, failures: int) -> int:
        """Try until it is up again; returns the failures in a row so far."""
        while True:
            await asyncio.sleep(self._backoff.pause_s(failures))
            failures += 1
            try:
                await self._launch()
            except (DriftlockError, OSError) as fault:
                log.error("%s does not start: %s", self.service.name, fault)
            else:
                self.restarts += 1
                return failures


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
