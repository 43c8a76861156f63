"""A child is kept alive with growing pauses, ended by its steps, and never left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from driftlock.errors import StartError
from driftlock.runtime.keeper import Backoff, Keeper
from driftlock.runtime.process import Child, Program, spawn
from support.waiting import until

FAST = Backoff(first_s=0.01, longest_s=0.02)


class Python:
    """A service that runs a line of Python."""

    name = "python"
    end_steps: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 5.0),)

    def __init__(self, code: str, *, failures: int = 0) -> None:
        self.code = code
        self.failures = failures
        self.launched: list[int] = []

    async def launch(self) -> Child:
        child = spawn(Program(name="python", argv=[sys.executable, "-c", self.code]))
        self.launched.append(child.pid)
        if 1 < len(self.launched) <= 1 + self.failures:
            await child.end([])
            raise StartError("not this time")
        return child


SLEEP = "import time; time.sleep(600)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);" + SLEEP
)


async def test_a_killed_child_is_started_again_and_reaped() -> None:
    service = Python(SLEEP)
    keeper = Keeper(service, backoff=FAST)
    await keeper.start()
    first = service.launched[0]
    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.restarts == 1)
    assert not psutil.pid_exists(first)
    assert keeper.child is not None
    assert keeper.child.pid != first
    await keeper.stop()
    assert [pid for pid in service.launched if psutil.pid_exists(pid)] == []


async def test_starts_that_fail_are_tried_again() -> None:
    service = Python(SLEEP, failures=3)
    keeper = Keeper(service, backoff=FAST)
    await keeper.start()
    os.kill(service.launched[0], signal.SIGKILL)
    await until(lambda: keeper.restarts == 1)
    assert len(service.launched) == 5
    await keeper.stop()


async def test_a_deaf_child_is_killed_after_its_steps(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = spawn(Program(name="deaf", argv=[sys.executable, "-c", DEAF], log=said))
    await until(lambda: said.read_text() == "deaf\n")
    assert await child.end([(signal.SIGTERM, 0.2)]) == -signal.SIGKILL


async def test_the_first_start_must_succeed() -> None:
    class Never(Python):
        async def launch(self) -> Child:
            raise StartError("no")

    keeper = Keeper(Never(SLEEP))
    with pytest.raises(StartError):
        await keeper.start()
    await keeper.stop()


async def test_stop_may_come_twice_and_before_the_start() -> None:
    keeper = Keeper(Python(SLEEP))
    await keeper.stop()
    await keeper.start()
    await keeper.stop()
    await keeper.stop()
    assert keeper.child is None


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [Backoff(first_s=0.1, longest_s=5).pause_s(n) for n in (0, 1, 2, 5, 6, 1000)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 3.2, 5, 5])
