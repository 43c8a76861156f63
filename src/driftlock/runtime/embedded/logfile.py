"""The log files of the embedded servers: bounded, and read for the reason of a failed start."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

LOG_BYTES_MAX = 16 * 1024 * 1024  # a file, and as much again for the one before it
_TAIL_BYTES_MAX = 64 * 1024

_FAULTS = (
    ("No space left on device", errno.ENOSPC),
    ("Disk quota exceeded", errno.EDQUOT),
    ("Read-only file system", errno.EROFS),
    ("Permission denied", errno.EACCES),
)


def tail(path: Path, *, since: int = 0) -> str:
    """What was written after byte `since`, at most its last 64 KiB; empty when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(since, size), size - _TAIL_BYTES_MAX))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def fault_in(said: str) -> int | None:
    """The errno that a server's words stand for, when they name one that a person can act on."""
    return next((number for words, number in _FAULTS if words in said), None)


def bound(path: Path, *, bytes_max: int = LOG_BYTES_MAX) -> bool:
    """Move a grown log to `.1` and empty it in place: its writer appends, and keeps its open file.

    Lines written in between can be lost. Returns whether it did so.
    """
    try:
        if path.stat().st_size <= bytes_max:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True
