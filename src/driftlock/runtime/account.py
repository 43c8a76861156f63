"""The unprivileged account that PostgreSQL and NATS run as when Driftlock itself runs as root.

PostgreSQL refuses to run as root, and initdb wants an entry in the user database. Anyone else runs the
servers as themselves: then there is no account here, only None.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from driftlock.errors import StartError

ACCOUNT_NAME = "driftlock"
_FALLBACK = "nobody"  # where no user can be added, say in a container with a read-only /etc


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int


def service_account(folder: Path) -> Account | None:
    """The account for the servers whose data lies in `folder`; None when we are not root.

    The owner of an existing folder stays it; else the user `driftlock`, made when missing; else nobody.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and (uid := folder.stat().st_uid) != 0:
        return _of(pwd.getpwuid(uid))
    entry = _look_up(ACCOUNT_NAME) or _create() or _look_up(_FALLBACK)
    if entry is None or entry.pw_uid == 0:
        raise StartError(
            "PostgreSQL does not run as root, and no unprivileged user could be made or found.",
            hint=f"Create one (useradd --system {ACCOUNT_NAME}) or start Driftlock as an ordinary user.",
        )
    return _of(entry)


def check_reach(path: Path, account: Account | None) -> None:
    """Raise StartError when the account cannot pass through a folder on the way to `path`.

    Judged by mode bits: where access lists say otherwise, the servers' own refusal tells.
    """
    if account is None:
        return
    for folder in [path, *path.parents]:
        state = folder.stat()
        bit = 0o100 if state.st_uid == account.uid else 0o010 if state.st_gid == account.gid else 0o001
        if not state.st_mode & bit:
            raise StartError(
                f"The servers run as the user {account.name}, who cannot enter {folder}.",
                hint=f"Choose another --data-dir, or let that user pass (chmod o+x {folder}).",
            )


def give(path: Path, account: Account | None, mode: int) -> None:
    """Make `path` the account's, with these permissions."""
    path.chmod(mode)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _create() -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd:
        argv = [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent"]
        argv += ["--shell", "/usr/sbin/nologin", ACCOUNT_NAME]
        subprocess.run(argv, check=False, capture_output=True, timeout=10)
    return _look_up(ACCOUNT_NAME)  # also when another start made it meanwhile


def _look_up(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _of(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
