"""One child process that never outlives us: spawned in its own session, with a parent-death signal.

Owns: spawning, waiting, ending by steps, and telling apart "our child" from a stranger with the same pid.
Must not know: what the program is, or whether to start it again (`keeper` decides that).

The parent-death signal (prctl(2), PR_SET_PDEATHSIG) is Linux only and fires when the *thread* that forked
ends, so children are spawned from the main thread alone. Where it is missing, `leftovers` still ends what
an earlier supervisor left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from driftlock.runtime.account import Account

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05  # only where pidfd_open(2) is missing
_ORPHANED = 125  # exit code of a child whose parent died before the signal was armed

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, as whom, and how it learns that we died. `log` is appended to; None inherits ours."""

    name: str
    argv: Sequence[str]
    death_signal: signal.Signals = signal.SIGTERM
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    account: Account | None = None
    log: Path | None = None
    pass_fds: Sequence[int] = ()


class Child:
    """A running program. Made by `spawn`, in the main thread."""

    def __init__(self, program: Program, popen: subprocess.Popen[bytes]) -> None:
        self.program = program
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for the signal that ended it. Reaps it when it has ended."""
        return self._popen.poll()

    def send(self, sig: signal.Signals) -> None:
        """Send a signal unless it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(sig)

    async def wait(self) -> int:
        """Wait for its end and reap it."""
        while (code := self.returncode) is None:
            await _changed(self.pid)
        return code

    async def end(self, steps: Sequence[tuple[signal.Signals, float]]) -> int:
        """End it: each step sends a signal and waits its seconds; SIGKILL when the steps are used up."""
        for sig, seconds in steps:
            self.send(sig)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self.wait()
        self.send(signal.SIGKILL)
        return await self.wait()


def spawn(program: Program) -> Child:
    """Start the program in its own session, armed with its parent-death signal.

    Raises OSError when it cannot be executed.
    """
    assert threading.current_thread() is threading.main_thread(), "the parent-death signal is per thread"
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | None = None
        if program.log is not None:
            out = stack.enter_context(program.log.open("ab", buffering=0))
        who = program.account
        popen = subprocess.Popen(
            list(program.argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=program.cwd,
            env={**os.environ, **program.env},
            pass_fds=tuple(program.pass_fds),
            start_new_session=True,  # Ctrl-C at the terminal reaches the supervisor alone
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
            preexec_fn=_armed(program.death_signal),  # noqa: PLW1509 - no thread of ours holds a lock here
        )
    return Child(program, popen)


def become_subreaper() -> None:
    """Have orphaned grandchildren handed to this process, so that it can reap them (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _armed(sig: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def arm() -> None:  # runs in the child after it became `user`, which would have cleared the signal
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(_ORPHANED)

    return arm


async def _changed(pid: int) -> None:
    """Return when the process has ended, or after a moment."""
    if not hasattr(os, "pidfd_open"):
        await asyncio.sleep(_POLL_S)
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # ended already, or a kernel without it
        await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
