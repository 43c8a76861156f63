"""Holds one PostgreSQL for a whole test run, so that parallel workers share it.

The first worker that needs it starts this program; it ends, and removes its folder, when the process that
leads the run ends. It runs the product's own supervision; only durability against power cuts is off.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

READY_S = 120


def shared_postgres(run_id: str, leader: int) -> dict[str, str]:
    """Its addresses: started by whoever asks first in this run, as `{"postgres": url}`."""
    folder = _folder(run_id)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # the servers' unprivileged account must pass
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready.json"
        if not ready.exists():
            pid = _start(folder, leader)
            deadline = time.monotonic() + READY_S
            while not ready.exists():
                if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
                    raise RuntimeError((folder / "holder.log").read_text()[-4000:])
                time.sleep(0.02)
        return dict(json.loads(ready.read_text()))


def end_shared(run_id: str) -> None:
    """End it, if this run started it, and wait for that."""
    folder = _folder(run_id)
    with contextlib.suppress(FileNotFoundError, psutil.Error, psutil.TimeoutExpired):
        holder = psutil.Process(int((folder / "holder.pid").read_text()))
        holder.terminate()
        holder.wait(20)


def _folder(run_id: str) -> Path:
    return Path(tempfile.gettempdir()) / f"driftlock-tests-{run_id}"


def _start(folder: Path, leader: int) -> int:
    log = os.open(folder / "holder.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    argv = [sys.executable, __file__, str(folder), str(leader)]
    actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
    os.close(log)
    return pid


async def hold(folder: Path, leader: int) -> None:
    from driftlock.runtime.datafolder import opened
    from driftlock.runtime.embedded import EmbeddedServers

    (folder / "holder.pid").write_text(str(os.getpid()))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with opened(folder / "data") as data:
        # connections: two workers, each with pools of its own
        servers = EmbeddedServers(data, nats=False, postgres_settings={"fsync": "off"})
        await servers.start()
        part = folder / "ready.part"
        part.write_text(json.dumps({"postgres": servers.database_url}))
        part.rename(folder / "ready.json")
        while not stop.is_set() and psutil.pid_exists(leader):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
        await servers.stop()
    shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1]), int(sys.argv[2])))
