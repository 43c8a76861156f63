"""Processes that an earlier supervisor left running when it was killed, and their end.

Linux's parent-death signal has told them to end already; this waits for them, and presses on. A process
counts as left over only when pid and start time are the recorded ones, so a stranger is never touched.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from driftlock.runtime.process import Child

log = logging.getLogger(__name__)

PATIENCE_S = 15.0  # roles drain for seconds, PostgreSQL writes a last checkpoint
_LOOK_S = 0.05


def record(path: Path, children: Iterable[Child]) -> None:
    """Write down who runs now. Whole or not at all."""
    rows = []
    for child in children:
        try:
            began = psutil.Process(child.pid).create_time()
        except psutil.Error:
            continue
        rows.append({"name": child.program.name, "pid": child.pid, "began": began})
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows))
    part.rename(path)


async def end_leftovers(path: Path) -> list[str]:
    """Wait until every recorded process has ended; returns the names of those that still ran.

    They are asked at once (PostgreSQL by SIGINT, its fast shutdown), and killed when patience ends.
    """
    running = [(str(row["name"]), process) for row in _read(path) if (process := _same(row)) is not None]
    for name, process in running:
        log.info("%s (process %d) of an earlier start still runs; ending it", name, process.pid)
        _send(process, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while any(_alive(process) for _, process in running):
        if loop.time() > deadline:
            for name, process in running:
                # never SIGKILL for a postmaster: SIGQUIT ends it at once and leaves its memory in order
                _send(process, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
            deadline = loop.time() + PATIENCE_S
        await asyncio.sleep(_LOOK_S)
    return [name for name, _ in running]


def _read(path: Path) -> list[dict[str, object]]:
    try:
        rows = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def _same(row: dict[str, object]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(str(row["pid"])))
        same = abs(process.create_time() - float(str(row["began"]))) < 0.05
    except (psutil.Error, KeyError, ValueError):
        return None
    return process if same and _alive(process) else None


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _send(process: psutil.Process, sig: signal.Signals) -> None:
    try:
        process.send_signal(sig)
    except psutil.Error:
        return
