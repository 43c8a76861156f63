"""Sees to it that an installation compiles its kernels once, however many processes ask at the same time."""

from __future__ import annotations

import fcntl
import hashlib
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
        PATIENCE_S,
        log.info,
        ["the detection kernels are being compiled; only the first start takes this minute"],
    )
    slow.daemon = True
    slow.start()
    handle = os.open(_lock_file(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        compile_kernels()
    finally:
        os.close(handle)
        slow.cancel()


def _lock_file() -> Path:
    """One for each installation and user: others compile into caches of their own, and are not waited for."""
    place = hashlib.blake2b(os.fsencode(Path(__file__).resolve().parent), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"driftlock-kernels-{os.geteuid()}-{place}.lock"


if __name__ == "__main__":
    compiled_kernels()
