"""PostgreSQL as a child: makes its data folder, starts it, knows when it is ready.

Owns the embedded server's settings and the reading of its refusals. It never deletes PostgreSQL's locks or
data: a start that meets an older postmaster, still recovering or shutting down, waits and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftlock.errors import StartError
from driftlock.runtime.account import Account, give
from driftlock.runtime.datafolder import disk_fault, told_plainly
from driftlock.runtime.embedded.logfile import fault_in, tail
from driftlock.runtime.ports import LOOPBACK
from driftlock.runtime.process import Child, Program, spawn

log = logging.getLogger(__name__)

MAJOR = "18"
SUPERUSER = "driftlock"
DATABASE = "driftlock"
CONNECTIONS_MAX = 200

READY_S = 120.0  # crash recovery replays at most the log since the last checkpoint
OLD_ONE_S = 30.0  # how long an older postmaster may take to leave
_RETRY_S = 0.2
_LOOK_S = 0.02
_INITDB_S = 120.0

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a path may be too long for a socket; loopback with a password serves
    "max_connections": str(CONNECTIONS_MAX),
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
    "synchronous_commit": "on",  # anomalies and the log position stand or fall together, also on power loss
    "random_page_cost": "1.1",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "tcp_keepalives_idle": "30",
}


class Postgres:
    """A `Service`: one PostgreSQL over one folder, on one port for its lifetime."""

    name = "PostgreSQL"
    # SIGINT is the fast shutdown, SIGQUIT the immediate one (recovers at the next start; nothing is lost)
    end_steps: Sequence[tuple[signal.Signals, float]] = ((signal.SIGINT, 1.5), (signal.SIGQUIT, 0.3))

    def __init__(
        self,
        folder: Path,
        *,
        install: Path,
        account: Account | None,
        port: int,
        password: str,
        log_file: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.log_file = log_file
        self._bin = install / "bin"
        self._account = account
        self._password = password
        self._settings = {**_SETTINGS, **(settings or {}), "port": str(port)}

    def url(self, database: str = DATABASE) -> str:
        return address(self.port, self._password, database)

    async def prepare(self) -> None:
        """Make the data folder when there is none; refuse one that is not ours.

        initdb works beside and is renamed when whole, so a start killed midway leaves nothing to trip over.
        Raises StartError.
        """
        with told_plainly(self.folder):
            if not self.folder.exists():
                self.folder.mkdir(mode=0o700)
                give(self.folder, self._account, 0o700)
            if self.data.exists():
                self._check_version()
                return
            part = self.folder / "data.part"
            if part.exists():
                shutil.rmtree(part)  # an initdb that was cut off: no server ever ran on it
            await self._initdb(part)
            part.rename(self.data)

    async def launch(self) -> Child:
        """Start it and wait until it takes connections, as our own child. Raises StartError."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + OLD_ONE_S
        while True:
            mark = self.log_file.stat().st_size if self.log_file.exists() else 0
            child = spawn(self._server())
            try:
                if await self._ready(child, loop.time() + READY_S):
                    return child
            except BaseException:
                await child.end([(signal.SIGINT, 5.0)])
                raise
            said = tail(self.log_file, since=mark)
            if not _older_one_runs(said) or loop.time() > patience:
                raise self._refusal(said)
            log.info("an older PostgreSQL on %s is still ending; waiting for it", self.data)
            await asyncio.sleep(_RETRY_S)

    async def _ready(self, child: Child, deadline: float) -> bool:
        """True once postmaster.pid names our child and says ready; False when the child ended."""
        loop = asyncio.get_running_loop()
        while child.returncode is None:
            lines = self._pid_file()
            if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready":
                return True
            if loop.time() > deadline:
                raise StartError(
                    f"PostgreSQL was not ready after {READY_S:.0f} s.", hint=f"See {self.log_file}."
                )
            await asyncio.sleep(_LOOK_S)
        return False

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _server(self) -> Program:
        options = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        return self._program("postgres", ["-D", str(self.data), *options], cwd=self.data)

    def _program(self, name: str, options: Sequence[str], *, cwd: Path) -> Program:
        return Program(
            name=name,
            argv=[str(self._bin / name), *options],
            death_signal=signal.SIGINT,
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=cwd,
            account=self._account,
            log=self.log_file,
        )

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise StartError(
                f"{self.data} is not a PostgreSQL data folder.", hint="Move it away, or restore it."
            ) from None
        if version != MAJOR:
            raise StartError(
                f"{self.data} was written by PostgreSQL {version[:10]}; Driftlock brings PostgreSQL {MAJOR}.",
                hint="Use that PostgreSQL with --database-url, or choose another --data-dir.",
            )
        if self._account is not None and self.data.stat().st_uid != self._account.uid:
            raise StartError(
                f"{self.data} does not belong to the user {self._account.name}.",
                hint=f"Give it back (chown -R {self._account.name}), or choose another --data-dir.",
            )
        if self._account is None and self.data.stat().st_uid != os.geteuid():
            raise StartError(
                f"{self.data} belongs to another user.", hint="Start Driftlock as the user who made it."
            )

    async def _initdb(self, target: Path) -> None:
        secret = self.folder / ".password"
        secret.write_text(self._password)
        give(secret, self._account, 0o600)
        mark = self.log_file.stat().st_size if self.log_file.exists() else 0
        child = spawn(self._program("initdb", self._initdb_options(target, secret), cwd=self.folder))
        try:
            async with asyncio.timeout(_INITDB_S):
                code = await child.wait()
        except BaseException:
            await child.end([(signal.SIGTERM, 5.0)])
            raise
        finally:
            secret.unlink(missing_ok=True)
        if code != 0:
            raise self._refusal(tail(self.log_file, since=mark))

    def _initdb_options(self, target: Path, secret: Path) -> list[str]:
        options = ["-D", str(target), "-U", SUPERUSER, f"--pwfile={secret}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--no-instructions"]
        return [*options, "--no-sync"] if self._settings.get("fsync") == "off" else options

    def _refusal(self, said: str) -> StartError:
        """PostgreSQL's last words as one sentence."""
        if "could not bind" in said or "could not create any TCP/IP sockets" in said:
            return StartError(f"Port {self.port}, which the embedded PostgreSQL uses, is taken.")
        return disk_fault(fault_in(said), self.folder) or StartError(
            f"PostgreSQL did not start: {_last_words(said)}", hint=f"See {self.log_file}."
        )


def address(port: int, password: str, database: str = DATABASE) -> str:
    """The URL of an embedded PostgreSQL."""
    return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{port}/{database}"


def _older_one_runs(said: str) -> bool:
    return 'lock file "postmaster.pid" already exists' in said or "pre-existing shared memory block" in said


def _last_words(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if "FATAL" in line or "PANIC" in line or "error:" in line]
    return (told or lines or ["it said nothing"])[-1][:300]
