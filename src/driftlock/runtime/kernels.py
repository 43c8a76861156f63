"""Sees to it that kernels are compiled once on a machine, however many processes ask at the same time."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import threading
from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE_S = 3.0


def compiled_kernels() -> None:
    """Compiles the kernels, or loads them if this or another process did so before.

    Also run by the set-up: `python -m driftlock.runtime.kernels`.
    """
    from driftlock.engine.kernels import compile_kernels

    slow = threading.Timer(
        PATIENCE_S, log.info, ["compiling the detection kernels; only the first start takes this minute"]
    )
    slow.daemon = True
    slow.start()
    lock = Path(tempfile.gettempdir()) / f"driftlock-kernels-{os.geteuid()}.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        compile_kernels()
    slow.cancel()


if __name__ == "__main__":
    compiled_kernels()
