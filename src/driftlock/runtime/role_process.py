"""A role as a child process of the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from driftlock.errors import StartError
from driftlock.runtime.process import Child, Program, spawn
from driftlock.runtime.roles import Role

READY_S = 60.0  # the first start compiles and imports; later ones take about a second
_LOOK_S = 0.05


class RoleProcess:
    """A `Service`: `python -m driftlock ROLE`. Ready when its ports answer; at once when it has none."""

    # the roles drain for as long as they may; what a killed one had not finished is replayed from the log
    end_steps: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 2.0),)

    def __init__(
        self,
        role: Role,
        *,
        number: int,
        env: Mapping[str, str],
        metrics: Path,
        addresses: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.name = f"{role} {number}" if number else role
        self._role = role
        self._env = env
        self._metrics = metrics
        self._addresses = addresses
        self._before: int | None = None

    async def launch(self) -> Child:
        """Start it and wait until it listens. Raises StartError when it ends or stays silent."""
        if self._before is not None:
            mark_process_dead(self._before, str(self._metrics))  # type: ignore[no-untyped-call]
        child = spawn(
            Program(
                name=self._role,
                argv=[sys.executable, "-m", "driftlock", self._role],
                death_signal=signal.SIGTERM,
                env={
                    **self._env,
                    "DRIFTLOCK_CONFIG": os.devnull,  # the supervisor read the file; its word is final
                    "PROMETHEUS_MULTIPROC_DIR": str(self._metrics),
                },
            )
        )
        self._before = child.pid
        try:
            await self._ready(child)
        except BaseException:
            await child.end(self.end_steps)
            raise
        return child

    async def _ready(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        for host, port in self._addresses:
            while not await _answers(host, port):
                if child.returncode is not None:
                    raise StartError(
                        f"The {self.name} did not start (exit code {child.returncode}).",
                        hint="Its own message stands above.",
                    )
                if loop.time() > deadline:
                    raise StartError(f"The {self.name} did not listen on port {port} in {READY_S:.0f} s.")
                await asyncio.sleep(_LOOK_S)


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return True
