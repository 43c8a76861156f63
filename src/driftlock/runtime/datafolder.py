"""The data folder: whose it is, that only one Driftlock uses it, and what is kept where.

DRIFTLOCK          marks the folder as ours, with the layout's version
lock               held (flock) by the running supervisor
connection.json    secrets and ports of the embedded servers, readable by the owner alone
children.json      processes of the last start, to find what a killed supervisor left running
bin/               copies of the servers' programs, where the account cannot reach the originals
logs/              what the servers print
postgres/, nats/   the servers' own data
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from driftlock.errors import StartError

LAYOUT = "1"
FREE_BYTES_MIN = 256 * 1024 * 1024  # PostgreSQL writes its log in 16 MiB files; below this a start is in vain

_MARK = "DRIFTLOCK"


def default_data_dir() -> Path:
    """/var/lib/driftlock for root, else the XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/driftlock")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "driftlock"


class DataFolder:
    """An opened data folder: ours, locked, with room. Made by `opened`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.copies = path / "bin"
        self.children = path / "children.json"
        self._connection = path / "connection.json"

    def connection(self) -> dict[str, Any]:
        """What was kept by `keep_connection`; empty at first."""
        try:
            loaded = json.loads(self._connection.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as cause:
            raise StartError(f"{self._connection} is damaged.", hint="Restore it from a backup.") from cause
        return loaded if isinstance(loaded, dict) else {}

    def keep_connection(self, values: dict[str, Any]) -> None:
        """Keep secrets and ports, whole or not at all, for the owner's eyes."""
        part = self._connection.with_suffix(".part")
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._connection)


@contextlib.contextmanager
def opened(path: Path, *, free_bytes_min: int = FREE_BYTES_MIN) -> Iterator[DataFolder]:
    """Make or open the data folder and hold its lock.

    Raises StartError: in use, not ours, not writable, or its disk is full.
    """
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - keep symbolic links as they were given
    with told_plainly(path):
        _make(path)
        with _locked(path):
            _check_layout(path)
            _check_room(path, free_bytes_min)
            folder = DataFolder(path)
            folder.logs.mkdir(mode=0o700, exist_ok=True)
            yield folder


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a folder into a sentence for a person."""
    try:
        yield
    except OSError as cause:
        sentence = disk_fault(cause.errno, path)
        if sentence is None:
            raise
        raise sentence from cause


def disk_fault(number: int | None, path: Path) -> StartError | None:
    """The sentence for an errno that a person can act on; None for any other."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StartError(
            f"The disk that holds {path} is full.", hint="Free some space, or choose another --data-dir."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StartError(
            f"The data folder {path} cannot be written.",
            hint="Make it writable for this user, or choose another --data-dir.",
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return StartError(f"{path} is not a folder.", hint="Choose another --data-dir.")
    return None


def new_secret() -> str:
    """128 bits and more, of letters and digits: it stands in URLs and configuration files as it is."""
    return secrets.token_hex(20)


def _make(path: Path) -> None:
    fresh = _is_new(path)
    if fresh:
        path.chmod(0o711)  # the servers' account must pass through; what is secret has modes of its own
    mark = path / _MARK
    if mark.exists():
        return
    if (path / "PG_VERSION").exists():
        raise StartError(
            f"{path} is a PostgreSQL data folder, not one of Driftlock's.",
            hint="Choose another --data-dir; to use a PostgreSQL of your own, give --database-url.",
        )
    if any(entry.name not in {"lock", "lost+found"} for entry in path.iterdir()):
        raise StartError(
            f"{path} is not empty and not a data folder of Driftlock.", hint="Choose an empty --data-dir."
        )
    mark.write_text(LAYOUT + "\n")


def _is_new(path: Path) -> bool:
    """Make the folder where there is none; whether there was none."""
    try:
        fresh = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as cause:
        number = getattr(cause, "errno", None)
        if disk_fault(number, path) is not None:
            raise
        # a name that is too long or holds NUL, a loop of links, a file system that takes no folders
        reason = os.strerror(number) if number else str(cause)
        raise StartError(
            f"The data folder {str(path)!r} cannot be made: {reason}.", hint="Choose another --data-dir."
        ) from cause
    return fresh


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (path / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            file.seek(0)
            holder = file.read(32).strip()
            raise StartError(
                f"Another Driftlock{f' (process {holder})' if holder else ''} already runs on {path}.",
                hint="Stop that one, or choose another --data-dir.",
            ) from cause
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _check_layout(path: Path) -> None:
    layout = (path / _MARK).read_text().strip()
    if layout != LAYOUT:
        raise StartError(
            f"{path} has layout {layout[:20] or 'none'}; this Driftlock reads layout {LAYOUT}.",
            hint="Start it with the version of Driftlock that wrote it.",
        )


def _check_room(path: Path, free_bytes_min: int) -> None:
    probe = path / ".probe"
    probe.write_bytes(b"x" * 4096)
    probe.unlink()
    free = shutil.disk_usage(path).free
    if free < free_bytes_min:
        raise StartError(
            f"The disk that holds {path} is full: {free // 2**20} MiB are free, "
            f"Driftlock needs {free_bytes_min // 2**20} MiB.",
            hint="Free some space, choose another --data-dir, or lower --disk-free-bytes-min.",
        )
