"""A role as a child process of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from driftlock.errors import StartError
from driftlock.runtime.process import Child, Program, spawn
from driftlock.runtime.roles import READY_FD, Role

READY_S = 300.0  # a detector's first start compiles for a minute, on a busy machine for longer
_LOOK_S = 0.05


class RoleProcess:
    """A `Service`: `python -m driftlock ROLE`. Ready when it said so and its ports answer."""

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
        """Start it and wait until it is ready. Raises StartError when it ends or stays silent."""
        if self._before is not None:
            mark_process_dead(self._before, str(self._metrics))  # type: ignore[no-untyped-call]
        word, its_end = os.pipe()
        with _closing(word):
            with _closing(its_end):
                child = spawn(self._program(its_end))
            self._before = child.pid
            try:
                async with asyncio.timeout(READY_S):
                    await _readable(word)
                    if not os.read(word, 1):  # it closed its end without a word: it is gone
                        raise self._gone(await child.wait())
                    await self._listens(child)
            except BaseException as fault:
                await child.end(self.end_steps)
                if isinstance(fault, TimeoutError):
                    raise StartError(f"The {self.name} was not ready after {READY_S:.0f} s.") from fault
                raise
        return child

    async def _listens(self, child: Child) -> None:
        for host, port in self._addresses:
            while not await _answers(host, port):
                if child.returncode is not None:
                    raise self._gone(child.returncode)
                await asyncio.sleep(_LOOK_S)

    def _gone(self, code: int) -> StartError:
        return StartError(
            f"The {self.name} did not start (exit code {code}).", hint="Its own message stands above."
        )

    def _program(self, its_end: int) -> Program:
        env = {
            **self._env,
            "DRIFTLOCK_CONFIG": os.devnull,  # the supervisor read the file; its word is final
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics),
            READY_FD: str(its_end),
        }
        return Program(
            name=self._role,
            argv=[sys.executable, "-m", "driftlock", self._role],
            death_signal=signal.SIGTERM,
            env=env,
            pass_fds=[its_end],
        )


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return True
